{-# LANGUAGE OverloadedStrings #-}

-- | Mode warm: the program is started once and kept. For each request it reads a line, {"id": …, "event": …, "context": …, "shim": 1}, and
-- writes one, {"id": …, "value": …} or {"id": …, "error": …}. At the end of its input it ends.
module Main (main) where

import Control.Monad (unless)
import Data.Aeson (FromJSON (parseJSON), Value, eitherDecodeStrict, pairs, withObject, (.:), (.=))
import Data.Aeson.Encoding (Encoding, encodingToLazyByteString)
import qualified Data.ByteString as B
import qualified Data.ByteString.Lazy as L
import Data.Foldable (traverse_)
import Data.Text (Text)
import qualified Data.Text as T
import Data.Text.Encoding (encodeUtf8)
import System.Exit (ExitCode (ExitFailure), exitWith)
import System.IO (hFlush, isEOF, stderr, stdout)

import Answer (Answer (logged, value), answer)

data Request = Request Text Value

instance FromJSON Request where
  parseJSON = withObject "line" $ \line -> Request <$> line .: "id" <*> line .: "event"

main :: IO ()
main = do
  ended <- isEOF
  unless ended $ do
    line <- B.getLine
    either refuse serve (eitherDecodeStrict line)
    main

serve :: Request -> IO ()
serve (Request number event) = case answer event of
  Left failure -> reply (pairs ("id" .= number <> "error" .= failure))
  Right given -> do
    traverse_ say (logged given)
    reply (pairs ("id" .= number <> "value" .= value given))

-- | The next request comes only after the reply has arrived, so it is flushed.
reply :: Encoding -> IO ()
reply envelope = L.putStr (encodingToLazyByteString envelope <> "\n") >> hFlush stdout

-- | Without an id nobody can be answered.
refuse :: String -> IO ()
refuse reason = say ("the line can't be read: " <> T.pack reason) >> exitWith (ExitFailure 2)

-- | Writes a line to standard error, which is the log. As bytes: where no locale is set, GHC would write ASCII only.
say :: Text -> IO ()
say = B.hPutStr stderr . encodeUtf8 . (<> "\n")

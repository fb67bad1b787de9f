{-# LANGUAGE OverloadedStrings #-}

-- | Mode oneshot: the program is started for each event. It reads one line, {"event": …, "context": …, "shim": 1}, writes its answer as
-- JSON, and ends. What it fails it tells with an errorType and an exit code other than 0.
module Main (main) where

import Data.Aeson (ToJSON, eitherDecodeStrict, encode, withObject, (.:))
import Data.Aeson.Types (parseEither)
import qualified Data.ByteString as B
import qualified Data.ByteString.Lazy as L
import Data.Foldable (traverse_)
import Data.Text (Text)
import qualified Data.Text as T
import Data.Text.Encoding (encodeUtf8)
import System.Exit (ExitCode (ExitFailure), exitWith)
import System.IO (hFlush, stderr, stdout)

import Answer (Answer (logged, value), answer)

main :: IO ()
main = do
  line <- B.getContents
  case eitherDecodeStrict line >>= parseEither (withObject "line" (.: "event")) of
    Left reason -> say ("the line can't be read: " <> T.pack reason) >> exitWith (ExitFailure 2)
    Right event -> either fail' succeed (answer event)
  where
    succeed given = traverse_ say (logged given) >> reply (value given)
    fail' failure = reply failure >> exitWith (ExitFailure 1)

-- | Flushes here, where an answer that can't be written is a failure: at the program's end nobody would notice.
reply :: ToJSON a => a -> IO ()
reply given = L.putStr (encode given <> "\n") >> hFlush stdout

-- | Writes a line to standard error, which is the log. As bytes: where no locale is set, GHC would write ASCII only.
say :: Text -> IO ()
say = B.hPutStr stderr . encodeUtf8 . (<> "\n")

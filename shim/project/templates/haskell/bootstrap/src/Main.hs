{-# LANGUAGE OverloadedStrings #-}

-- | Mode bootstrap: the program asks Lambda's Runtime API for an event, posts its answer or its failure, and asks again, until it is ended.
module Main (main) where

import Control.Monad (forever, unless)
import Data.Aeson (ToJSON, eitherDecode, encode)
import Data.Bifunctor (first)
import qualified Data.ByteString as B
import qualified Data.ByteString.Lazy as L
import Data.Foldable (traverse_)
import Data.Text (Text)
import qualified Data.Text as T
import Data.Text.Encoding (encodeUtf8)
import Network.HTTP.Client
import Network.HTTP.Types (RequestHeaders, methodPost, statusCode, statusIsSuccessful)
import System.Environment (getEnv)
import System.IO (stderr)

import Answer (Answer (logged, value), Failure (Failure, errorType), answer)

main :: IO ()
main = do
  address <- getEnv "AWS_LAMBDA_RUNTIME_API"
  api <- parseRequest ("http://" <> address)
  -- Nobody knows when the next event comes, so there is no limit of time. The API is on this machine: no proxy leads there.
  manager <- newManager (managerSetProxy noProxy defaultManagerSettings {managerResponseTimeout = responseTimeoutNone})
  forever (serveNext manager api)

serveNext :: Manager -> Request -> IO ()
serveNext manager api = do
  next <- httpLbs (at "next") manager
  unless (statusIsSuccessful (responseStatus next)) (fail ("the Runtime API has no next event: " <> show (responseStatus next)))
  number <- maybe (fail "the event has no id") pure (lookup "Lambda-Runtime-Aws-Request-Id" (responseHeaders next))
  case event next >>= answer of
    Right given -> do
      traverse_ say (logged given)
      post (at (number <> "/response")) [] (value given)
    Left failure -> post (at (number <> "/error")) [("Lambda-Runtime-Function-Error-Type", "Function." <> encodeUtf8 (errorType failure))] failure
  where
    at place = api {path = "/2018-06-01/runtime/invocation/" <> place}
    event = first unreadable . eitherDecode . responseBody
    unreadable reason = Failure "EventUnknown" ("the event can't be read: " <> T.pack reason)

    post :: ToJSON a => Request -> RequestHeaders -> a -> IO ()
    post place headers given = do
      let json = ("Content-Type", "application/json")
      said <- httpLbs place {method = methodPost, requestHeaders = json : headers, requestBody = RequestBodyLBS (encode given)} manager
      -- What the API refuses, such as an answer that is too large, it has told the caller itself.
      unless (statusIsSuccessful (responseStatus said)) $
        say (T.pack (show (statusCode (responseStatus said))) <> " to what was posted: " <> T.pack (show (L.take 1000 (responseBody said))))

-- | Writes a line to standard error, which is the log. As bytes: where no locale is set, GHC would write ASCII only.
say :: Text -> IO ()
say = B.hPutStr stderr . encodeUtf8 . (<> "\n")

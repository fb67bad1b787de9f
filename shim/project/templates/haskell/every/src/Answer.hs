{-# LANGUAGE OverloadedStrings #-}

-- | What the function does: it lists the objects of an S3 event, and counts the text of a web request. Change it to what yours shall do.
module Answer (Answer (..), Failure (..), answer) where

import Control.Monad (when)
import Data.Aeson (FromJSON (parseJSON), ToJSON (toJSON), Value, object, pairs, withObject, withText, (.!=), (.:), (.:!), (.:?), (.=))
import qualified Data.Aeson as Aeson
import Data.Aeson.Encoding (encodingToLazyByteString)
import qualified Data.Aeson.KeyMap as KeyMap
import Data.Aeson.Types (Parser, parseEither, parseMaybe)
import Data.Bifunctor (first)
import Data.ByteString (ByteString)
import qualified Data.ByteString.Base64 as Base64
import qualified Data.ByteString.Char8 as B
import qualified Data.ByteString.Lazy as L
import Data.Int (Int64)
import Data.Maybe (isJust)
import Data.Text (Text)
import qualified Data.Text as T
import Data.Text.Encoding (decodeUtf8, decodeUtf8', encodeUtf8)
import Network.HTTP.Types (urlDecode)

-- | What the caller gets, and what is told to the log.
data Answer = Answer {value :: Value, logged :: [Text]}

-- | What the caller is told instead. Lambda calls an error by its type, on which Step Functions match.
data Failure = Failure {errorType :: Text, errorMessage :: Text}

instance ToJSON Failure where
  toJSON failure = object ["errorType" .= errorType failure, "errorMessage" .= errorMessage failure]

answer :: Value -> Either Failure Answer
answer event
  | isFromS3 event = listed <$> known s3Objects
  | isWebRequest event = counted <$> known textSent
  | otherwise = Left (unknown "the event is neither an S3 event nor a web request")
  where
    known parser = first unknown (parseEither parser event)
    unknown = Failure "EventUnknown" . T.pack

-- * S3 events

data Object = Object {bucket :: Text, key :: Text, bytes :: Int64}

instance FromJSON Object where
  parseJSON = withObject "record" $ \record -> do
    s3 <- record .: "s3"
    named <- s3 .: "bucket"
    stored <- s3 .: "object"
    size <- stored .:! "size" .!= 0 -- a deletion has none
    when (size < 0) (fail "a size is negative")
    Key decoded <- stored .: "key"
    name <- named .: "name"
    pure (Object name decoded size)

instance ToJSON Object where
  toJSON stored = object ["bucket" .= bucket stored, "key" .= key stored, "bytes" .= bytes stored]

newtype Key = Key Text

-- | S3 encodes a key as a browser does a form: + is a blank, %XX a byte, and the bytes are UTF-8.
instance FromJSON Key where
  parseJSON = withText "key" (either (const (fail "a key is not UTF-8")) (pure . Key) . decodeUtf8' . urlDecode True . encodeUtf8)

isFromS3 :: Value -> Bool
isFromS3 event = case parseMaybe (withObject "event" (.: "Records")) event of
  Just records -> not (null records) && all (KeyMap.member "s3") (records :: [Aeson.Object])
  Nothing -> False

s3Objects :: Value -> Parser [Object]
s3Objects = withObject "event" $ \event -> do
  objects <- event .: "Records"
  when (total objects > toInteger (maxBound :: Int64)) (fail "the sizes have too large a sum")
  pure objects

total :: [Object] -> Integer
total = sum . map (toInteger . bytes)

listed :: [Object] -> Answer
listed objects = Answer (object ["objects" .= objects, "bytes" .= total objects]) (map line objects)
  where
    line stored = "s3://" <> bucket stored <> "/" <> key stored <> " has " <> T.pack (show (bytes stored)) <> " bytes"

-- * Web requests

isWebRequest :: Value -> Bool
isWebRequest event = isJust (parseMaybe http event)
  where
    http :: Value -> Parser Aeson.Object
    http = withObject "event" $ \fields -> fields .: "requestContext" >>= (.: "http")

-- | The text of a request without a body is empty.
textSent :: Value -> Parser ByteString
textSent = withObject "event" $ \event -> do
  body <- encodeUtf8 <$> event .:? "body" .!= ""
  encoded <- event .:? "isBase64Encoded" .!= False
  if encoded then either (const (fail "the body is no base64")) pure (Base64.decode body) else pure body

-- | Counts as wc does.
counted :: ByteString -> Answer
counted text = Answer response []
  where
    response = object ["statusCode" .= (200 :: Int), "headers" .= object ["content-type" .= type_], "body" .= decodeUtf8 (L.toStrict counts)]
    type_ = "application/json" :: Text
    -- Lambda wants the body of a response as a text, so this is JSON within JSON.
    counts = encodingToLazyByteString (pairs ("lines" .= B.count '\n' text <> "words" .= wordsOf text <> "bytes" .= B.length text))
    wordsOf = length . filter (not . B.null) . B.splitWith isBlank
    -- Those of ASCII. isSpace knows one more, whose byte is a part of letters in UTF-8.
    isBlank letter = letter == ' ' || (letter >= '\t' && letter <= '\r')

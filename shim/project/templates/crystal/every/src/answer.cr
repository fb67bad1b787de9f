# What the function does: an event comes in, an answer or an exception goes out. How it is asked, and how it replies, is in main.cr.
require "base64"
require "json"
require "uri"

# The event is none of those that are answered.
class EventUnknown < Exception
end

# What is read of an event; the rest of it is passed over.
struct Event
  include JSON::Serializable

  @[JSON::Field(key: "Records")]
  getter records = [] of Record
  @[JSON::Field(key: "requestContext")]
  getter request_context : RequestContext?
  getter body = ""
  @[JSON::Field(key: "isBase64Encoded")]
  getter? is_base64_encoded = false

  struct Record
    include JSON::Serializable

    getter s3 : Entity
  end

  struct Entity
    include JSON::Serializable

    getter bucket : Bucket
    getter object : Stored
  end

  struct Bucket
    include JSON::Serializable

    getter name : String
  end

  struct Stored
    include JSON::Serializable

    getter key : String
    getter size = 0_i64 # of an object that was deleted none is told
  end

  struct RequestContext
    include JSON::Serializable

    getter http : Request?
  end

  # A function URL and an HTTP API tell of the request here.
  struct Request
    include JSON::Serializable
  end
end

# Tells which objects an S3 event is about, or counts the text that a web request brings. What is written to *log* is the function's log.
def answer(event : Event, log : IO)
  if !event.records.empty?
    tell(event.records.map(&.s3), log)
  elsif event.request_context.try(&.http)
    count(text(event))
  else
    raise EventUnknown.new("the event is neither an S3 event nor a web request")
  end
end

# Which objects these are, and how many bytes they have together.
def tell(entities : Array(Event::Entity), log : IO)
  objects = entities.map do |entity|
    {bucket: entity.bucket.name, key: decode(entity.object.key), bytes: entity.object.size}
  end
  objects.each { |object| log.puts "s3://#{object[:bucket]}/#{object[:key]} has #{object[:bytes]} bytes" }
  {objects: objects, bytes: objects.sum(0_i128, &.[:bytes])}
end

# S3 writes keys as a browser writes a form: a blank is a plus sign, and other bytes are %XX.
def decode(key : String) : String
  decoded = URI.decode_www_form(key)
  raise EventUnknown.new("a key is no UTF-8, once decoded") unless decoded.valid_encoding? && !key.matches?(/%(?![0-9A-Fa-f]{2})/)
  decoded
end

# What was sent, which is base64 if it may be no text.
def text(event : Event) : Bytes
  return event.body.to_slice unless event.is_base64_encoded?
  decoded = Base64.decode(event.body) rescue Bytes.empty
  # Crystal decodes more than base64 is; what it encodes is nothing else.
  raise EventUnknown.new("the body is no base64") unless Base64.strict_encode(decoded) == event.body
  decoded
end

# The lines, words and bytes of a text, as wc counts them.
def count(text : Bytes)
  words = 0
  blank = true
  text.each do |byte|
    before = blank
    blank = byte.unsafe_chr.ascii_whitespace?
    words += 1 if before && !blank
  end
  counts = {lines: text.count('\n'.ord), words: words, bytes: text.size}
  {statusCode: 200, headers: {"content-type": "application/json"}, body: counts.to_json}
end

# What is told of an exception: its name, which the caller can match on, and what it says.
def failure(error : Exception)
  if error.is_a?(JSON::ParseException)
    {errorType: "EventUnknown", errorMessage: "the event is neither an S3 event nor a web request: #{error.message}"}
  else
    {errorType: error.class.name.gsub("::", "."), errorMessage: error.message.to_s}
  end
end

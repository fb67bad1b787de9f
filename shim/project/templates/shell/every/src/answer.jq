# What the function does: it lists the objects of an S3 event, and counts the text of a web request. Change it to what yours shall do.
#
# `answer` takes an event and gives {"value": …}, the answer, and for each line of the log {"log": "…"}; or it fails with `fail`.
# It is written for jq 1.6 and later ones, so an `if` has an `else`, and nothing takes a text apart by `join` or a regular expression for all
# places: the one of jq 1.6 would need minutes for megabytes.

def fail($error; $message): error({errorType: $error, errorMessage: $message});
def unknown($message): fail("EventUnknown"; $message);

# The input, if it is of that type. (A parameter $type would hide the function type.)
def expect($kind; $name): if type == $kind then . else unknown("\($name) is not of type \($kind)") end;

# What an object has by that name, if it is of that type.
def member($name; $kind): .[$name] | expect($kind; $name);

# Larger ones have lost digits: numbers are doubles here.
def whole($name):
  if type == "number" and . == floor and . >= 0 and . <= 9007199254740991 then . + 0
  else unknown("\($name) is no whole number from 0 to 2^53 - 1") end;

# --- Keys: S3 encodes them as a browser does a form. + is a blank, %XX a byte, and the bytes are UTF-8.

# The bytes of the input, a code point, in UTF-8.
def utf8:
  def tail($left): if $left == 0 then empty else (. / pow(64; $left - 1) | floor) % 64 + 128, tail($left - 1) end;
  if . < 128 then .
  elif . < 2048 then 192 + (. / 64 | floor), tail(1)
  elif . < 65536 then 224 + (. / 4096 | floor), tail(2)
  else 240 + (. / 262144 | floor), tail(3) end;

def digit: if . > 96 then . - 87 elif . > 64 then . - 55 else . - 48 end;

def key_bytes:
  def plain: explode[] | if . == 43 then 32 else utf8 end;
  split("%")
  | (.[0] // "" | plain),
    (.[1:][] | if test("^[0-9A-Fa-f]{2}") then (.[:2] | explode | map(digit) | .[0] * 16 + .[1]), (.[2:] | plain) else 37, plain end);

# The text of bytes. `needs` is how many more a character needs, and `least` the first code point that needs so many.
def utf8_text(bytes):
  def refuse: unknown("a key is not UTF-8 once decoded");
  [ foreach (bytes, null) as $byte ({needs: 0};
      if .needs > 0 then
        if $byte == null or $byte < 128 or $byte > 191 then refuse
        else {needs: (.needs - 1), point: (.point * 64 + $byte - 128), least} end
      elif $byte == null then {}
      elif $byte < 128 then {needs: 0, point: $byte, least: 0}
      elif $byte < 192 then refuse
      elif $byte < 224 then {needs: 1, point: ($byte - 192), least: 128}
      elif $byte < 240 then {needs: 2, point: ($byte - 224), least: 2048}
      elif $byte < 248 then {needs: 3, point: ($byte - 240), least: 65536}
      else refuse end;
      select(.needs == 0)
      | if .point < .least or .point > 1114111 or (.point >= 55296 and .point < 57344) then refuse else .point end)
  ] | implode;

# --- S3 events

def object:
  expect("object"; "a record") | member("s3"; "object")
  | {
      bucket: (member("bucket"; "object") | member("name"; "string")),
      key: (member("object"; "object") | member("key"; "string") | utf8_text(key_bytes)),
      bytes: (.object | if has("size") then .size else 0 end | whole("size")) # a deletion has none
    };

def list_objects:
  map(object) as $objects
  | ($objects[] | {log: "s3://\(.bucket)/\(.key) has \(.bytes) bytes"}),
    {value: {objects: $objects, bytes: ($objects | map(.bytes) | add | whole("the sum of the sizes"))}};

# --- Web requests

def count(generator): reduce generator as $each (0; . + 1);

# Words are what stands between white space, which the six of ASCII are.
def words: split(" ")[] | split("\n")[] | split("\t")[] | split("\r")[] | split("\u000b")[] | split("\f")[] | select(. != "");

def counts($bytes): {lines: (split("\n") | length - 1 | if . < 0 then 0 else . end), words: count(words), bytes: $bytes};

# How many bytes the input has once decoded from base64. (What is no UTF-8 gets another length in a text of jq, but no other lines or words.)
def base64_bytes:
  (rtrimstr("=") | rtrimstr("=")) as $digits
  | if length % 4 != 0 or ($digits | test("[^A-Za-z0-9+/]")) then unknown("the body is no base64")
    else $digits | length * 3 / 4 | floor end;

def count_body:
  (if .body == null then "" else .body end | expect("string"; "body")) as $body
  | (.isBase64Encoded // false | expect("boolean"; "isBase64Encoded"))
  | if . then $body | base64_bytes as $bytes | @base64d | counts($bytes)
    else $body | counts(utf8bytelength) end
  # Lambda wants the body of a response as a text, so this is JSON within JSON.
  | {value: {statusCode: 200, headers: {"content-type": "application/json"}, body: tojson}};

# ---

def is_from_s3: .Records | type == "array" and length > 0 and all(.[]; type == "object" and has("s3"));
def is_web_request: .requestContext | type == "object" and (.http | type) == "object";

def answer:
  if type != "object" then unknown("the event is neither an S3 event nor a web request")
  elif is_from_s3 then .Records | list_objects
  elif is_web_request then count_body
  else unknown("the event is neither an S3 event nor a web request") end;

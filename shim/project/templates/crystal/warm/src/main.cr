# One process serves many invocations: each is a line of JSON with an id, and its answer is a line that bears the same id. At the end of its
# input it ends. STDERR is the function's log.
require "./answer"

struct Line
  include JSON::Serializable

  getter id : String
end

struct Request
  include JSON::Serializable

  getter event : Event
end

# The id of a line, whatever its event is. What is no JSON ends the program, with an exception, and shim starts another. But half a character
# ("\ud800") is JSON, and so are many levels, though Crystal does not take them by itself: they are the event's mistake.
def id_of(line : String) : String
  pull = JSON::PullParser.new(line.gsub(HALF, "\\ufffd"))
  pull.max_nesting = 1000
  Line.new(pull).id
end

# A half is what begins with a backslash and u, but for a whole pair; another escape is none.
HALF = /(?:\\ud[89ab]..\\ud[c-f]..|\\[^u]|\\u(?!d[89a-f]))(*SKIP)(*FAIL)|\\u..../i

STDIN.each_line do |line|
  id = id_of(line)
  begin
    reply = {id: id, value: answer(Request.from_json(line).event, STDERR)}.to_json
  rescue error
    reply = {id: id, error: failure(error)}.to_json
  end
  STDOUT.puts reply
  STDOUT.flush # else it would wait in a buffer, and shim for it
end

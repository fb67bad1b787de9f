# It is started for each invocation: one line of JSON comes in, and what is written to STDOUT is the answer. With an exit code that is not 0 it
# is the failure. STDERR is the function's log.
require "./answer"

struct Request
  include JSON::Serializable

  getter event : Event
end

code = 0
begin
  reply = answer(Request.from_json(STDIN.gets || "").event, STDERR).to_json
rescue error
  STDERR.puts error.message # for the log; the caller is told by the reply
  reply = failure(error).to_json
  code = 1
end
STDOUT.puts reply
STDOUT.flush # raises where the reply can't be written, which Crystal does not by itself at the end
exit code

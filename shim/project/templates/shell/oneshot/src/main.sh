#!/bin/sh
# Mode oneshot: the program is started for each event. It reads one line, {"event": …, "context": …, "shim": 1}, writes its answer as JSON,
# and ends. What it fails it tells with an errorType and an exit code other than 0. jq does all of it; where Lambda has none, the package's
# bin/ is on the PATH. answer.jq lies beside this file.
exec jq -s -c -L "$(dirname "$0")" '
  include "answer";

  # Ends with these lines of log. Only the words that come with the exit code are written to standard error by every jq as they are.
  def finish($log; $code): $log | map(. + "\n") | add // "" | halt_error($code);

  if length == 1 and (.[0] | type == "object" and has("event")) then .[0].event
  else finish(["the input is not one object with an event"]; 2) end
  | [try answer catch if type == "object" then {failure: .} else error end]
  | map(select(has("log")) | .log) as $log
  | (.[] | select(has("value")) | .value, finish($log; 0)),
    (.[] | select(has("failure")) | .failure, finish($log; 1))
'

#!/bin/sh
# Mode warm: the program is started once and kept. For each request it reads a line, {"id": …, "event": …, "context": …, "shim": 1}, and
# writes one, {"id": …, "value": …} or {"id": …, "error": …}. At the end of its input it ends. One jq does it all; where Lambda has none,
# the package's is on the PATH. answer.jq lies beside this file.

# jq has one output for all, and what it can't read ends it.
replies_and_log() {
    # With --raw-input a request is one line. Otherwise jq would take one that was cut off for the beginning of a longer one, and wait.
    jq --null-input --raw-input --raw-output --unbuffered -L "$(dirname "$0")" '
      include "answer";

      def failure: if type == "object" then {failure: .} else error end;

      # In jq 1.6 a try catches what fails after it, too, unless it stands in brackets. What can not be parsed fromjson would quote in full.
      def parsed: [try fromjson catch error("a line is no JSON: \(split(" (while parsing")[0])")] | .[0];

      inputs
      | parsed
      | if type == "object" and (.id | type) == "string" and has("event") then . else error("a line is no request") end
      | .id as $id
      | .event
      | (try answer catch failure)
      | if has("log") then .log | split("\n")[] | "log \(.)"
        elif has("value") then {id: $id, value} | tojson
        else {id: $id, error: .failure} | tojson end
    '
    echo "end $?"
}

# A shell reads a pipe byte by byte: a reply of 1 MB takes it 0.2 s.
replies_and_log | while IFS= read -r line; do
    case $line in
    '{'*) printf '%s\n' "$line" || exit 1 ;;
    'log '*) printf '%s\n' "${line#log }" >&2 ;;
    'end '*) exit "${line#end }" ;;
    esac
done

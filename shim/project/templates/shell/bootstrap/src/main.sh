#!/bin/sh
# Mode bootstrap: the program asks Lambda's Runtime API for an event, posts its answer or its failure, and asks again, until it is ended.
# Lambda has no jq, and its curl, where it has one, may be older than 7.84: the package brings both along. answer.jq lies beside this file.
set -u
here=$(dirname "$0")
PATH=$here:$PATH # for both, where this is the bootstrap of an OS-only runtime
invocation=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation

# Events and answers may have 6 MB, which is too much for an argument.
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM

# Takes an event, and writes its answer or its failure. Returns 0 or 1; any other code says that jq itself failed.
answer() {
    jq --raw-input --slurp --compact-output -L "$here" '
      include "answer";

      # Ends with these lines of log. Only the words that come with the exit code are written to standard error by every jq as they are.
      def finish($log; $code): $log | map(. + "\n") | add // "" | halt_error($code);

      # In jq 1.6 a try catches what fails after it, too, unless it stands in brackets. What can not be parsed fromjson would quote in full.
      def event: [try fromjson catch unknown("the event can not be read: \(split(" (while parsing")[0])")] | .[0];

      [try (event | answer) catch if type == "object" then {failure: .} else error end]
      | map(select(has("log")) | .log) as $log
      | (.[] | select(has("value")) | .value, finish($log; 0)),
        (.[] | select(has("failure")) | .failure, finish($log; 1))
    '
}

# ask CURL'S OPTIONS … URL. The API is on this machine: no proxy leads there, and it needs no leave to be sent a large body.
ask() {
    curl --silent --show-error --noproxy '*' --header Expect: "$@"
}

# post PATH CURL'S OPTIONS …: posts the result. What the API refuses, such as a result that is too large, it has told the caller itself.
post() {
    path=$1 && shift
    said=$(ask --fail-with-body --header 'Content-Type: application/json' "$@" --data-binary "@$folder/result" "$invocation/$path") ||
        echo "$path: $said" >&2
}

# Without a limit of time: nobody knows when the next event comes.
while id=$(ask --fail --output "$folder/event" --write-out '%header{Lambda-Runtime-Aws-Request-Id}' "$invocation/next"); do
    answer <"$folder/event" >"$folder/result"
    case $? in
    0) post "$id/response" ;;
    1) post "$id/error" --header "Lambda-Runtime-Function-Error-Type: Function.$(jq -r .errorType "$folder/result")" ;;
    *) exit 1 ;;
    esac
done
exit 1

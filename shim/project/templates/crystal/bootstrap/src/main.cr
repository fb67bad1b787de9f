# It asks Lambda's Runtime API for an invocation, posts its answer or its failure, and asks again. STDOUT and STDERR are the function's log.
require "http/client"
require "./answer"

INVOCATIONS = "/2018-06-01/runtime/invocation"

host, _, port = ENV["AWS_LAMBDA_RUNTIME_API"].rpartition(':')
api = HTTP::Client.new(host, port.to_i) # without a read_timeout: nobody knows when the next invocation comes

loop do
  invocation = api.get("#{INVOCATIONS}/next")
  abort "there is no next invocation: #{invocation.status} #{invocation.body}" unless invocation.success?
  id = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
  headers = HTTP::Headers{"Content-Type" => "application/json"}
  begin
    path, body = "response", answer(Event.from_json(invocation.body), STDERR).to_json
  rescue error
    told = failure(error)
    path, body = "error", told.to_json
    headers["Lambda-Runtime-Function-Error-Type"] = "Function.#{told[:errorType]}"
  end
  posted = api.post("#{INVOCATIONS}/#{id}/#{path}", headers, body)
  # What is refused here, such as an answer that is too large, Lambda has told the caller itself.
  STDERR.puts "#{path}: #{posted.status} #{posted.body}" unless posted.success?
end

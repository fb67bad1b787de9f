//! Mode bootstrap: the program speaks Lambda's Runtime API. It asks for the next invocation, posts
//! a response or an error, and asks again, until it is ended.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

mod answer;
mod http;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use serde_json::Value;

use answer::{answer, Failure};
use http::Client;

fn main() -> ExitCode {
    // Only an error ends it, and then Lambda starts another.
    if let Err(error) = serve() {
        eprintln!("{{name}}: the Runtime API: {error}");
    }
    ExitCode::FAILURE
}

fn serve() -> Result<(), Box<dyn Error>> {
    let address = env::var("AWS_LAMBDA_RUNTIME_API");
    let address = address.map_err(|_| "AWS_LAMBDA_RUNTIME_API is not set")?;
    let mut runtime_api = Client::connect(address)?;
    // What costs time once, such as reading a model, belongs here.
    loop {
        serve_next(&mut runtime_api)?;
    }
}

fn serve_next(runtime_api: &mut Client) -> Result<(), Box<dyn Error>> {
    let next = runtime_api.get("/2018-06-01/runtime/invocation/next")?;
    if next.status != 200 {
        return Err(format!("the next invocation: {next}").into());
    }
    let id = next
        .header("Lambda-Runtime-Aws-Request-Id")
        .ok_or("the invocation has no id")?;
    let path = format!("/2018-06-01/runtime/invocation/{id}");
    let posted = match answer_to(&next.body) {
        Ok(value) => runtime_api.post(&format!("{path}/response"), &[], &value.to_string())?,
        Err(failure) => {
            let error_type = format!("Function.{}", failure.error_type);
            let headers = [("Lambda-Runtime-Function-Error-Type", error_type.as_str())];
            let error = failure.to_json().to_string();
            runtime_api.post(&format!("{path}/error"), &headers, &error)?
        }
    };
    if posted.status != 202 {
        // A response that is too large, for example: the caller has been told.
        eprintln!("{{name}}: {id}: {posted}");
    }
    Ok(())
}

fn answer_to(event: &[u8]) -> Result<Value, Failure> {
    answer(&serde_json::from_slice(event)?)
}

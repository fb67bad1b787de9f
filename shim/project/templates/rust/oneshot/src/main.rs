//! Mode oneshot: the program is started for each event. It reads one line,
//! `{"event": …, "context": …, "shim": 1}`, writes its answer as JSON, and ends. A failure is an
//! answer with an `errorType`, and an exit code other than 0.

mod answer;

use std::collections::HashMap;
use std::error::Error;
use std::io::{stdin, stdout, BufRead, Write};
use std::process::ExitCode;

use serde_json::value::RawValue;
use serde_json::Value;

use answer::{answer, Failure};

fn main() -> ExitCode {
    serve().unwrap_or_else(|error| {
        eprintln!("{{name}}: {error}");
        ExitCode::FAILURE
    })
}

fn serve() -> Result<ExitCode, Box<dyn Error>> {
    let mut line = Vec::new();
    stdin().lock().read_until(b'\n', &mut line)?;
    let request: HashMap<String, &RawValue> = serde_json::from_slice(&line)?;
    let event = request.get("event").ok_or("the line has no event")?;
    let (reply, code) = match answer_to(event) {
        Ok(value) => (value, ExitCode::SUCCESS),
        Err(failure) => (failure.to_json(), ExitCode::FAILURE),
    };
    let mut stdout = stdout();
    writeln!(stdout, "{reply}")?;
    stdout.flush()?; // what could not be written is a failure
    Ok(code)
}

fn answer_to(event: &RawValue) -> Result<Value, Failure> {
    answer(&serde_json::from_str(event.get())?)
}

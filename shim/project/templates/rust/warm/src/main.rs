//! Mode warm: the program is kept. For each line
//! `{"id": …, "event": …, "context": …, "shim": 1}` it writes one, `{"id": …, "value": …}` or
//! `{"id": …, "error": …}`, until its input ends. What costs time once, such as reading a model,
//! belongs before the loop.

mod answer;

use std::collections::HashMap;
use std::error::Error;
use std::io::{stdin, stdout, BufRead, Write};
use std::process::ExitCode;

use serde_json::value::RawValue;
use serde_json::{json, Value};

use answer::{answer, Failure};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{{name}}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let mut stdout = stdout();
    for line in stdin().lock().split(b'\n') {
        let line = line?;
        // The event is read by itself, so that one that can't be read has an id to be refused with.
        let request: HashMap<String, &RawValue> = serde_json::from_slice(&line)?;
        let id = request.get("id").ok_or("the line has no id")?;
        let id: String = serde_json::from_str(id.get())?;
        let event = request.get("event").ok_or("the line has no event")?;
        let reply = match answer_to(event) {
            Ok(value) => json!({"id": id, "value": value}),
            Err(failure) => json!({"id": id, "error": failure.to_json()}),
        };
        writeln!(stdout, "{reply}")?;
        stdout.flush()?; // the next line comes only after the reply
    }
    Ok(())
}

fn answer_to(event: &RawValue) -> Result<Value, Failure> {
    answer(&serde_json::from_str(event.get())?)
}

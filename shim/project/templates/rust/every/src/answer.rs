//! What the function does, in whatever way it is asked: it lists the objects of an S3 event, and
//! counts the text of a web request. Change it to what yours shall do.

use std::borrow::Cow;

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use serde_json::{json, Value};

/// Why there is no answer. The caller gets both. Step Functions match on the type, which is one
/// word.
pub struct Failure {
    pub error_type: &'static str,
    pub message: String,
}

impl Failure {
    /// As Lambda wants to have it.
    pub fn to_json(&self) -> Value {
        json!({"errorType": self.error_type, "errorMessage": self.message})
    }
}

/// What is wrong with an event.
impl From<&str> for Failure {
    fn from(message: &str) -> Failure {
        Failure {
            error_type: "EventUnknown",
            message: message.to_string(),
        }
    }
}

/// JSON that can't be read: half a surrogate pair, a number like 1e400, more than 127 levels.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::from(format!("the event can't be read: {error}").as_str())
    }
}

pub fn answer(event: &Value) -> Result<Value, Failure> {
    if let Some(records) = s3_records(event) {
        list_objects(records)
    } else if event["requestContext"]["http"].is_object() {
        count_body(event)
    } else {
        Err("the event is neither an S3 event nor a web request".into())
    }
}

fn s3_records(event: &Value) -> Option<&Vec<Value>> {
    let records = event["Records"].as_array()?;
    let are_from_s3 = !records.is_empty() && records.iter().all(|each| each.get("s3").is_some());
    are_from_s3.then_some(records)
}

fn list_objects(records: &[Value]) -> Result<Value, Failure> {
    let mut objects = Vec::new();
    let mut sum = 0_u64;
    for record in records {
        let (bucket, key, bytes) = read_object(&record["s3"])?;
        eprintln!("s3://{bucket}/{key} has {bytes} bytes"); // standard error is the log
        objects.push(json!({"bucket": bucket, "key": key, "bytes": bytes}));
        sum = sum
            .checked_add(bytes)
            .ok_or("the sum of the sizes is too large")?;
    }
    Ok(json!({"objects": objects, "bytes": sum}))
}

fn read_object(s3: &Value) -> Result<(&str, String, u64), Failure> {
    let bucket = s3["bucket"]["name"]
        .as_str()
        .ok_or("a record has no name of a bucket")?;
    let key = s3["object"]["key"].as_str().ok_or("a record has no key")?;
    let bytes = match s3["object"].get("size") {
        None => 0, // a deletion has none
        Some(size) => size.as_u64().ok_or("a size is no count of bytes")?,
    };
    // S3 encodes a key as a browser does a form.
    let key = key.replace('+', " ");
    let key = percent_decode_str(&key).decode_utf8();
    let key = key.map_err(|_| "a key is not UTF-8")?;
    Ok((bucket, key.into_owned(), bytes))
}

fn count_body(event: &Value) -> Result<Value, Failure> {
    let body = match &event["body"] {
        Value::Null => "",
        Value::String(body) => body,
        _ => return Err("the body is no text".into()),
    };
    let text = match event.get("isBase64Encoded") {
        None | Some(Value::Bool(false)) => Cow::from(body.as_bytes()),
        Some(Value::Bool(true)) => Cow::from(decode_base64(body).ok_or("the body is no base64")?),
        _ => return Err("isBase64Encoded is neither true nor false".into()),
    };
    // Lambda wants the body of a response as a text, so this is JSON within JSON.
    let counts = count_text(&text).to_string();
    let headers = json!({"content-type": "application/json"});
    Ok(json!({"statusCode": 200, "headers": headers, "body": counts}))
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    // The library would take several texts on end, each with its own padding.
    let is_one = !text.trim_end_matches('=').contains('=');
    BASE64.decode(text.as_bytes()).ok().filter(|_| is_one)
}

/// Counts as wc does.
fn count_text(text: &[u8]) -> Value {
    let lines = text.iter().filter(|&&byte| byte == b'\n').count();
    let words = text.split(|byte| matches!(byte, b' ' | b'\t'..=b'\r'));
    let words = words.filter(|word| !word.is_empty()).count();
    json!({"lines": lines, "words": words, "bytes": text.len()})
}

//! As much of HTTP/1.1 as Lambda's Runtime API needs: requests one after the other over a
//! connection that is kept, without encryption, since it does not leave the machine. There is no
//! time limit: the next invocation may come tomorrow.

use std::fmt;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// A header, whose name has no case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(
            formatter,
            "{} {}",
            self.status,
            String::from_utf8_lossy(&self.body)
        )
    }
}

pub struct Client {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: String) -> Result<Client> {
        let stream = BufReader::new(TcpStream::connect(&address)?);
        Ok(Client { address, stream })
    }

    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.send(&format!("GET {path}"), &[], "")
    }

    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], json: &str) -> Result<Response> {
        self.send(&format!("POST {path}"), headers, json)
    }

    fn send(&mut self, what: &str, headers: &[(&str, &str)], json: &str) -> Result<Response> {
        let mut request = format!("{what} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let length = json.len();
        request +=
            &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}");

        let sent = self.stream.get_mut().write_all(request.as_bytes());
        let received = receive(&mut self.stream);
        // A body may be refused before all of it was sent: then there is a response.
        if received.is_err() {
            sent?;
        }
        let (response, is_last) = received?;
        if is_last {
            self.stream = BufReader::new(TcpStream::connect(&self.address)?);
        }
        Ok(response)
    }
}

/// A response, and whether it is the last over this connection.
fn receive(stream: &mut impl BufRead) -> Result<(Response, bool)> {
    let first = read_line(stream)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| invalid("the response is no HTTP"))?;
    let mut response = Response {
        status,
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid("a header has no colon"))?;
        response
            .headers
            .push((name.to_string(), value.trim().to_string()));
    }
    let connection = response.header("Connection").unwrap_or_default();
    let mut is_last = first.starts_with("HTTP/1.0") || connection.eq_ignore_ascii_case("close");
    if response.header("Transfer-Encoding").is_some() {
        response.body = read_chunks(stream)?; // chunks are the only encoding in use
    } else if let Some(length) = response.header("Content-Length") {
        let length = length
            .parse()
            .map_err(|_| invalid("a length is no number"))?;
        response.body = read_exactly(stream, length)?;
    } else {
        stream.read_to_end(&mut response.body)?;
        is_last = true;
    }
    Ok((response, is_last))
}

/// Each chunk has its length before it, in hexadecimal digits, and a line's end behind it. The last
/// has no bytes; more headers may follow.
fn read_chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length =
            u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk has no length"))?;
        if length == 0 {
            while !read_line(stream)?.is_empty() {}
            return Ok(body);
        }
        body.extend(read_exactly(stream, length)?);
        read_line(stream)?;
    }
}

fn read_exactly(stream: &mut impl BufRead, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line)
        .trim_end_matches('\r')
        .to_string())
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

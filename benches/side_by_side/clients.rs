//! HTTP clients for `registry.py`, which builds this with `rustc -O`: a program of its own, so that the measuring costs
//! little beside what is measured. Every client is a thread with a connection, which reads 256 KiB at once.
//!
//!     clients once <address> <path> <how many> <file>       all ask at the same moment, for one answer each
//!     clients for <seconds> <address> <path> <how many>     each asks again and again
//!
//! `once` prints the seconds from the first question to the last byte, the median and the largest seconds to the first byte of
//! a body, and how many failed; the first client keeps what it got in `<file>`. `for` prints answers per second.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["once", address, path, count, file] => once(address, path, number(count), file),
        ["for", seconds, address, path, count] => again(number(seconds), address, path, number(count)),
        _ => panic!("usage: see the head of clients.rs"),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn once(address: &str, path: &str, count: usize, file: &str) {
    let start = Arc::new(Barrier::new(count + 1));
    let clients = crowd(address, path, count, |client, number| {
        let file = (number == 0).then(|| File::create(file).expect("a file for the bytes"));
        let start = Arc::clone(&start);
        move || {
            start.wait();
            client?.ask(file.as_ref())
        }
    });
    start.wait();
    let began = Instant::now();
    let mut firsts: Vec<_> = clients.into_iter().filter_map(finished).collect();
    let seconds = began.elapsed().as_secs_f64();
    let failed = count - firsts.len();
    firsts.sort();
    let first = |at: usize| firsts.get(at).map_or(0.0, Duration::as_secs_f64);
    println!("{seconds} {} {} {failed}", first(firsts.len() / 2), first(firsts.len().saturating_sub(1)));
}

fn again(seconds: usize, address: &str, path: &str, count: usize) {
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds as u64);
    let clients = crowd(address, path, count, |client, _| {
        move || {
            let mut client = client?;
            let mut answers = 0;
            while Instant::now() < end {
                client.ask(None)?;
                answers += 1;
            }
            Ok(answers)
        }
    });
    let answers: Vec<u64> = clients.into_iter().filter_map(finished).collect();
    assert_eq!(answers.len(), count, "clients failed");
    println!("{}", answers.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64());
}

/// `count` connected clients, each on a thread that does what `work` makes for it.
fn crowd<T, W>(address: &str, path: &str, count: usize, work: impl Fn(Result<Client>, usize) -> W) -> Vec<JoinHandle<Result<T>>>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    let start = |number| {
        let work = work(Client::connect(address, path), number);
        thread::Builder::new().stack_size(64 << 10).spawn(work).expect("a thread")
    };
    (0..count).map(start).collect()
}

fn finished<T>(client: JoinHandle<Result<T>>) -> Option<T> {
    let result = client.join().expect("a client does not panic");
    result.inspect_err(|error| eprintln!("{error}")).ok()
}

struct Client {
    connection: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: &str, path: &str) -> Result<Self> {
        let connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(300)))?;
        Ok(Self {
            connection,
            request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Asks once: the time to the first byte of the body, all of which is written to `file`. Errors: not a whole 200.
    fn ask(&mut self, file: Option<&File>) -> Result<Duration> {
        let wrong = |text: String| Error::new(ErrorKind::InvalidData, text);
        let asked = Instant::now();
        self.connection.write_all(self.request.as_bytes())?;
        let mut held = 0;
        let body = loop {
            let read = self.connection.read(&mut self.buffer[held..])?;
            held += read;
            if let Some(end) = self.buffer[..held].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if read == 0 {
                return Err(wrong("no head of an answer".to_owned()));
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..body]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
        let (true, Some(length)) = (head.starts_with("http/1.1 200 "), length) else {
            return Err(wrong(format!("not a 200 with a length: {head}")));
        };
        let mut first = (held > body).then(|| asked.elapsed());
        let mut part = body..held;
        let mut left = length;
        loop {
            let got = part.len() as u64;
            left = left.checked_sub(got).ok_or_else(|| wrong("more bytes than announced".to_owned()))?;
            if let Some(mut file) = file {
                file.write_all(&self.buffer[part])?;
            }
            if left == 0 {
                return Ok(first.unwrap_or_else(|| asked.elapsed()));
            }
            let read = self.connection.read(&mut self.buffer)?;
            if read == 0 {
                return Err(wrong(format!("{left} of {length} bytes are missing")));
            }
            first.get_or_insert_with(|| asked.elapsed());
            part = 0..read;
        }
    }
}

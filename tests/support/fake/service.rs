//! A service made of one function: what it answers to each request, and what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: String,
    /// As sent: a path with its query, or a whole URL where the service stands as a proxy.
    pub(crate) target: String,
    /// Header fields in order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The value of a header field, named in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What is sent back.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// How much of the body is sent before the connection is closed.
    cut: Option<usize>,
    /// Nothing at all is sent.
    hangs_up: bool,
}

impl Said {
    /// A status and a body.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: String::new(),
            body: body.into(),
            cut: None,
            hangs_up: false,
        }
    }

    /// Adds a header field.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Announces the whole body and closes the connection after `bytes` of it.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Closes the connection instead of answering.
    pub(crate) fn hang_up() -> Self {
        Self {
            hangs_up: true,
            ..Self::new(200, "")
        }
    }
}

type Answers = dyn Fn(&Asked) -> Said + Send + Sync;

/// A running service; stops when dropped.
#[derive(Debug)]
pub(crate) struct FakeService {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl FakeService {
    /// Serves on a free port of 127.0.0.1, one request per connection.
    pub(crate) fn run(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let service = Self {
            address: listener.local_addr().expect("bound"),
            log: Arc::default(),
            stop: Arc::default(),
        };
        let (log, stop) = (Arc::clone(&service.log), Arc::clone(&service.stop));
        let answer: Arc<Answers> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        service
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().expect("no panic").clone()
    }
}

impl Drop for FakeService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &Answers) {
    let Some(asked) = stream.try_clone().ok().and_then(read) else {
        return;
    };
    let said = answer(&asked);
    let is_head = asked.method == "HEAD";
    log.lock().expect("no panic").push(asked);
    if said.hangs_up {
        return;
    }
    // A HEAD's length is what its headers say.
    let length = match said
        .headers
        .to_ascii_lowercase()
        .contains("content-length:")
    {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", said.body.len()),
    };
    let head = format!(
        "HTTP/1.1 {} Said\r\nConnection: close\r\n{length}{}\r\n",
        said.status, said.headers
    );
    let body = match is_head {
        true => &[][..],
        false => &said.body[..said.cut.unwrap_or(said.body.len())],
    };
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

fn read(stream: TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut asked = Asked {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => asked
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = asked.header("content-length").map_or(Ok(0), str::parse);
    asked.body = vec![0; length.ok()?];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

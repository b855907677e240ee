//! A site of fixed files, as a web server would serve them: for what lies upstream when nothing goes wrong there.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The files by path; they may change while the site is up.
type Files = Arc<Mutex<BTreeMap<String, Arc<[u8]>>>>;

/// A running site. It ends with the test process.
#[derive(Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    files: Files,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// A site without files.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let files = Files::default();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared, log) = (Arc::clone(&files), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (files, log) = (Arc::clone(&shared), Arc::clone(&log));
                // A client that hangs up is no business of the test.
                std::thread::spawn(move || drop(serve(stream, &files, &log)));
            }
        });
        Self {
            address,
            files,
            requests,
        }
    }

    /// Puts a file at `path`, which starts with `/`.
    pub(crate) fn put(&self, path: &str, content: impl Into<Arc<[u8]>>) {
        self.files
            .lock()
            .expect("no holder panics")
            .insert(path.to_owned(), content.into());
    }

    /// Puts every file of `folder` (not of its subfolders) below `path`.
    pub(crate) fn put_folder(&self, path: &str, folder: &Path) {
        for entry in std::fs::read_dir(folder).expect("a folder that can be listed") {
            let file = entry.expect("a folder that can be listed").path();
            if file.is_file() {
                let name = file
                    .file_name()
                    .and_then(|name| name.to_str())
                    .expect("UTF-8 names");
                self.put(&format!("{path}/{name}"), super::corpus::read(&file));
            }
        }
    }

    /// Its URL with `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The paths that were asked for, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

fn serve(stream: TcpStream, files: &Files, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut condition = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("if-none-match")
            {
                condition = Some(value.trim().to_owned());
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        log.lock().expect("no holder panics").push(path.to_owned());
        let path = percent_encoding::percent_decode_str(path.split('?').next().unwrap_or_default())
            .decode_utf8_lossy()
            .into_owned();
        let found = files.lock().expect("no holder panics").get(&path).cloned();
        let Some(content) = found else {
            writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let etag = format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(&content));
        if condition.as_deref() == Some(&etag) {
            writer.write_all(
                format!("HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n").as_bytes(),
            )?;
            continue;
        }
        writer.write_all(
            format!(
                "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {}\r\n\r\n",
                content.len()
            )
            .as_bytes(),
        )?;
        writer.write_all(&content)?;
    }
}

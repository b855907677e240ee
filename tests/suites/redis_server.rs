//! A real redis server on a free loopback port, and the few words of its protocol that tests need.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::tools;

/// A running server; killed when dropped.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server with these extra arguments. `None`: there is no redis-server on this machine, and nobody insists.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        // The port is free now; somebody may take it before the server does.
        (0..5).find_map(|_| Self::start_on(free_port(), arguments))
    }

    /// Starts a server on a known port.
    pub(crate) fn start_on(port: u16, arguments: &[&str]) -> Option<Self> {
        let program = tools::find("redis-server")?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        // A file, because sentinels insist on one.
        let file = dir.path().join("redis.conf");
        let config = format!("port {port}\nbind 127.0.0.1\n");
        let mut lines: Vec<&str> = config.lines().collect();
        let sentinel = arguments.contains(&"--sentinel");
        if !sentinel {
            lines.extend(["save \"\"", "appendonly no"]);
        }
        let (flags, extra): (Vec<&str>, Vec<&str>) = arguments
            .iter()
            .copied()
            .partition(|text| text.starts_with("--"));
        lines.extend(extra);
        std::fs::write(&file, lines.join("\n") + "\n").expect("written");
        let mut child = Command::new(program)
            .arg(&file)
            .args(flags)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let log = BufReader::new(child.stdout.take().expect("piped"));
        let ready = if sentinel {
            "Sentinel ID is"
        } else {
            "Ready to accept"
        };
        let mut lines = log.lines().map_while(Result::ok);
        let started = lines.by_ref().any(|line| line.contains(ready));
        // Somebody must go on reading, or the server blocks when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self {
            child,
            port,
            _dir: dir,
        };
        started.then_some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Sends one command and returns the first `at_most` bytes of the raw answer, up to what one line or value needs.
    pub(crate) fn command(&self, words: &[&[u8]]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        let mut text = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            text.extend_from_slice(word);
            text.extend_from_slice(b"\r\n");
        }
        stream.write_all(&text).expect("sent");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("half closed");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Stops the process without ending it (`STOP`), or lets it go on (`CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

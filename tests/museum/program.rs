//! One server of charts in a process: ours (`chartgate chartmuseum`) or the real ChartMuseum, started with the same flags.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::http::{Call, Reply};
use crate::support::port::Port;
use crate::support::{pause, tools};

/// Long enough for a debug build on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Which program a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The program under test.
    Chartgate,
    /// ChartMuseum 0.13.1, the newest that Go's module proxy has.
    Old(PathBuf),
    /// A ChartMuseum that knows what 0.16.5 knows; see `CHARTGATE_CHARTMUSEUM`.
    New(PathBuf),
}

impl Which {
    /// The ChartMuseum to compare with: the one of `CHARTGATE_CHARTMUSEUM`, or 0.13.1 where the tools are installed.
    pub(crate) fn rival() -> Option<Self> {
        let program = match std::env::var_os("CHARTGATE_CHARTMUSEUM") {
            Some(path) => PathBuf::from(path),
            None => tools::chartmuseum()?,
        };
        let help = Command::new(&program)
            .arg("--help")
            .output()
            .unwrap_or_else(|error| panic!("running {}: {error}", program.display()));
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.contains("--storage-local-rootdir"), "{help}");
        Some(if help.contains("--per-chart-limit") {
            Self::New(program)
        } else {
            Self::Old(program)
        })
    }

    /// Whether this is the program under test.
    pub(crate) fn is_ours(&self) -> bool {
        *self == Self::Chartgate
    }

    /// A command with its flags and a clean environment.
    fn command(&self, flags: &[&str]) -> Command {
        let mut command = match self {
            Self::Chartgate => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_chartgate"));
                command.arg("chartmuseum");
                command
            }
            Self::Old(path) | Self::New(path) => Command::new(path),
        };
        command.args(flags).stdin(Stdio::null());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it to its end, for flags with which it does not serve.
    #[track_caller]
    pub(crate) fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().expect("running the program")
    }
}

/// A running server. Dropping it kills it; a test whose server of ours panicked fails.
#[derive(Debug)]
pub(crate) struct Program {
    which: Which,
    child: Option<Child>,
    /// Where clients go.
    pub(crate) http: SocketAddr,
    log: Arc<Mutex<String>>,
    _port: Port,
}

impl Program {
    /// Serves `folder` and waits until it listens.
    #[track_caller]
    pub(crate) fn on_folder(which: &Which, folder: &Path, flags: &[&str]) -> Self {
        let folder = folder.to_str().expect("a UTF-8 path");
        let mut all = vec!["--storage", "local", "--storage-local-rootdir", folder];
        all.extend_from_slice(flags);
        Self::start(which, &all, &[])
    }

    /// Starts it with all of its flags but the port, and these environment variables; waits until it listens.
    #[track_caller]
    pub(crate) fn start(which: &Which, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let reserved = Port::reserve();
        let http = reserved.address;
        let port = http.port().to_string();
        let mut all = vec!["--port", &port, "--listen-host", "127.0.0.1"];
        all.extend_from_slice(flags);
        let mut child = which
            .command(&all)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting the program");
        let log = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("a pipe was asked for");
        let stderr = child.stderr.take().expect("a pipe was asked for");
        keep_lines(stdout, &log);
        keep_lines(stderr, &log);
        let mut program = Self {
            which: which.clone(),
            child: Some(child),
            http,
            log,
            _port: reserved,
        };
        program.wait_listening();
        program
    }

    #[track_caller]
    fn wait_listening(&mut self) {
        let start = Instant::now();
        while TcpStream::connect_timeout(&self.http, Duration::from_secs(5)).is_err() {
            let child = self.child.as_mut().expect("running");
            if let Some(status) = child.try_wait().expect("asking for the exit status") {
                // What it said last may still be on its way through the pipe.
                pause(Duration::from_millis(50));
                panic!("{:?} ended with {status}:\n{}", self.which, self.log());
            }
            assert!(
                start.elapsed() < START,
                "{:?} does not listen after {START:?}:\n{}",
                self.which,
                self.log()
            );
            pause(Duration::from_millis(5));
        }
    }

    /// Sends `call`.
    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> Reply {
        call.try_send(self.http).unwrap_or_else(|error| {
            panic!(
                "{:?} did not answer {call:?}: {error}\n{}",
                self.which,
                self.log()
            )
        })
    }

    /// `GET path`
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(&Call::get(path))
    }

    /// `http://127.0.0.1:<port>` and `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Everything it has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no writer panics").clone()
    }

    /// Asks it to end (SIGTERM) and waits until it did.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        let mut child = self.child.take().expect("running");
        let status = Command::new("kill")
            .arg(child.id().to_string())
            .status()
            .expect("running kill");
        assert!(status.success(), "kill failed");
        crate::support::until("the program to end", START, || {
            child.try_wait().expect("asking for the exit status")
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if !self.which.is_ours() {
            return;
        }
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(10).collect();
            for line in tail.iter().rev() {
                eprintln!("  {line}");
            }
        } else {
            assert!(!log.contains("panicked at"), "the program panicked:\n{log}");
        }
    }
}

/// Reads a pipe to its end into `log`.
fn keep_lines(pipe: impl std::io::Read + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("no writer panics");
            log.push_str(&line);
            log.push('\n');
        }
    });
}

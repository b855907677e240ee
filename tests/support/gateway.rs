//! The built program with a configuration of its own, on free ports, in a folder that goes away with it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Call, Reply};
use super::port::Port;
use super::until;

/// Long enough for a debug build that parses the largest index on a busy machine.
const START: Duration = Duration::from_secs(90);

const CONFIG_FILE: &str = "gateway.yaml";

/// One gateway. Dropping it kills it, and fails the test if the program ever panicked.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Option<Child>,
    /// Where clients go.
    pub(crate) http: SocketAddr,
    /// Where operators go.
    pub(crate) admin: SocketAddr,
    folder: TempDir,
    log: Arc<Mutex<String>>,
    hopeless: Vec<&'static str>,
    /// Its ports stay its own while it is down. A successor listens on its predecessor's.
    _ports: Vec<Port>,
}

impl Gateway {
    /// Starts the program with `config`, which needs no listeners and no `data_dir`, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(config: Value) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(folder, config)
    }

    /// The same in a folder that may hold files which the configuration names, relative to it.
    #[track_caller]
    pub(crate) fn start_in(folder: TempDir, config: Value) -> Self {
        let mut gateway = Self::prepare(folder, config);
        gateway.run();
        gateway.wait_ready();
        gateway
    }

    /// The same where these tenants will never have an index: it waits for all others.
    #[track_caller]
    pub(crate) fn start_despite(hopeless: &[&'static str], config: Value) -> Self {
        let mut gateway = Self::prepare(tempfile::tempdir().expect("a temporary folder"), config);
        gateway.hopeless = hopeless.to_vec();
        gateway.run();
        gateway.wait_ready();
        gateway
    }

    /// Writes the configuration and starts nothing.
    pub(crate) fn prepare(folder: TempDir, mut config: Value) -> Self {
        let ports = vec![Port::reserve(), Port::reserve()];
        let (http, admin) = (ports[0].address, ports[1].address);
        let keys = config.as_object_mut().expect("a mapping");
        let server = keys.entry("server").or_insert_with(|| json!({}));
        server["http"] = json!(http.to_string());
        server["admin"] = json!(admin.to_string());
        keys.entry("data_dir")
            .or_insert_with(|| json!(folder.path().join("data")));
        let gateway = Self {
            child: None,
            http,
            admin,
            folder,
            log: Arc::default(),
            hopeless: Vec::new(),
            _ports: ports,
        };
        gateway.configure(&config);
        gateway
    }

    /// Replaces the configuration file. JSON is YAML, so no test needs to indent.
    pub(crate) fn configure(&self, config: &Value) {
        let text = serde_json::to_string_pretty(config).expect("a configuration");
        std::fs::write(self.config_file(), text).expect("writing the configuration");
    }

    /// Starts the process.
    pub(crate) fn run(&mut self) {
        let folder = self.folder.path().to_owned();
        self.spawn(&folder, &[]);
    }

    fn spawn(&mut self, folder: &Path, arguments: &[&str]) {
        assert!(self.child.is_none(), "already running");
        let mut child = Command::new(env!("CARGO_BIN_EXE_chartgate"))
            .args(["serve", "--config", CONFIG_FILE])
            .args(arguments)
            .current_dir(folder)
            .env_remove("HTTP_PROXY")
            .env_remove("HTTPS_PROXY")
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting the program");
        let stderr = child.stderr.take().expect("a pipe was asked for");
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = log.lock().expect("no writer panics");
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.child = Some(child);
    }

    /// Waits until `/readyz` says 200, or waits itself only for tenants that are known to be hopeless.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        let waiting = format!(
            "waiting for the first index of `{}`\n",
            self.hopeless.join("`, `")
        );
        let hopeless = !self.hopeless.is_empty();
        self.wait_for("/readyz", |reply| {
            reply.status == 200 || (hopeless && reply.status == 503 && reply.text() == waiting)
        });
    }

    /// Waits until `/readyz` says 200, also of a gateway that was started despite hopeless tenants.
    #[track_caller]
    pub(crate) fn wait_all_ready(&mut self) {
        self.hopeless.clear();
        self.wait_ready();
    }

    /// Waits until it listens, ready or not.
    #[track_caller]
    pub(crate) fn wait_alive(&mut self) {
        self.wait_for("/healthz", |reply| reply.status == 200);
    }

    #[track_caller]
    fn wait_for(&mut self, path: &str, good: impl Fn(&Reply) -> bool) {
        let start = std::time::Instant::now();
        loop {
            if let Ok(reply) = Call::get(path).try_send(self.admin)
                && good(&reply)
            {
                return;
            }
            let child = self.child.as_mut().expect("running");
            if let Some(status) = child.try_wait().expect("asking for the exit status") {
                panic!("the program ended with {status}:\n{}", self.log());
            }
            assert!(
                start.elapsed() < START,
                "no good answer from {path} after {START:?}:\n{}",
                self.log()
            );
            super::pause(Duration::from_millis(10));
        }
    }

    /// Kills it with SIGKILL, as the power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing the program");
            child.wait().expect("waiting for the program");
        }
    }

    /// Asks it to end (SIGTERM) and waits until it did, well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let child = self.child.as_mut().expect("running");
        let status = until("the program to end", START, || {
            child.try_wait().expect("asking for the exit status")
        });
        assert!(status.success(), "it ended with {status}:\n{}", self.log());
        self.child = None;
    }

    /// Kills it and starts it again on the same files.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.run();
        self.wait_ready();
    }

    /// Waits until the process has ended by itself; its exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("running");
        super::until("the program to end", Duration::from_secs(30), || {
            child.try_wait().expect("asking for the exit status")
        })
        .code()
    }

    /// A second process with the same configuration that asks this one for its sockets. It owns no folder.
    pub(crate) fn successor(&self) -> Self {
        let mut successor = Self {
            child: None,
            http: self.http,
            admin: self.admin,
            folder: tempfile::tempdir().expect("a temporary folder"),
            log: Arc::default(),
            hopeless: self.hopeless.clone(),
            _ports: Vec::new(),
        };
        successor.spawn(self.folder.path(), &["--upgrade"]);
        successor
    }

    /// Sends a signal by its name, such as `HUP` or `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("running kill");
        assert!(status.success(), "kill -s {name} failed");
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// `GET path`
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        Call::get(path).send(self.http)
    }

    /// `call` sent to the clients' listener.
    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> Reply {
        call.send(self.http)
    }

    /// `GET path` on the admin listener.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Reply {
        Call::get(path).send(self.admin)
    }

    /// Refreshes an upstream now; the answer of the admin API.
    #[track_caller]
    pub(crate) fn refresh(&self, upstream: &str) -> Reply {
        Call::new("POST", &format!("/upstreams/{upstream}/refresh"))
            .body("")
            .send(self.admin)
    }

    /// The merged index of a tenant (`""` for the root tenant), as JSON.
    #[track_caller]
    pub(crate) fn index(&self, tenant: &str) -> Value {
        self.get(&format!("{}/index.yaml", slashed(tenant)))
            .expect(200)
            .json()
    }

    /// What became of the entries that a tenant does not show.
    #[track_caller]
    pub(crate) fn report(&self, tenant: &str) -> Value {
        self.admin(&format!("/tenants{}/report", slashed(tenant)))
            .expect(200)
            .json()
    }

    /// What the admin API says about one upstream.
    #[track_caller]
    pub(crate) fn upstream(&self, name: &str) -> Value {
        let all = self.admin("/upstreams").expect(200).json();
        let list = all.get("upstreams").unwrap_or(&all);
        list.get(name)
            .cloned()
            .or_else(|| {
                list.as_array()?
                    .iter()
                    .find(|one| one["name"] == name)
                    .cloned()
            })
            .unwrap_or_else(|| panic!("no upstream `{name}` in {all}"))
    }

    /// The URL of a tenant, as helm wants it.
    pub(crate) fn url(&self, tenant: &str) -> String {
        format!("http://{}{}", self.http, slashed(tenant))
    }

    /// Everything it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no writer panics").clone()
    }

    /// Waits until the log has a line with all of `words`.
    #[track_caller]
    pub(crate) fn wait_log(&self, words: &[&str]) {
        until(
            &format!("a log line with {words:?}"),
            Duration::from_secs(10),
            || {
                self.log()
                    .lines()
                    .any(|line| words.iter().all(|word| line.contains(word)))
                    .then_some(())
            },
        );
    }

    /// The folder of the configuration.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join(CONFIG_FILE)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = File::open(format!("/proc/{}/status", self.pid())).expect("a running process");
        BufReader::new(status)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let kilobytes = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?;
                kilobytes.trim().parse::<u64>().ok()
            })
            .expect("VmRSS of a running process")
            * 1024
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        let log = self.log();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            eprintln!("last lines of the gateway's log:");
            for line in tail.iter().rev() {
                eprintln!("  {line}");
            }
        } else {
            assert!(!log.contains("panicked at"), "the gateway panicked:\n{log}");
        }
    }
}

fn slashed(tenant: &str) -> String {
    match tenant.trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

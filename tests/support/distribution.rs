//! A real registry (distribution), and the clients that fill it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use chartgate::auth::bcrypt_line;
use tempfile::TempDir;

use super::tools;

/// A running registry on a free port of 127.0.0.1; killed when dropped.
#[derive(Debug)]
pub(crate) struct Distribution {
    child: Child,
    address: String,
    home: TempDir,
}

impl Distribution {
    /// Starts an empty one, for everybody. `None`: it is not installed, and nobody insists.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), "")
    }

    /// Starts an empty one that wants this user (htpasswd, so a Basic challenge).
    pub(crate) fn start_for(user: &str, password: &str) -> Option<Self> {
        let home = tempfile::tempdir().expect("a temporary folder");
        let file = home.path().join("users");
        std::fs::write(&file, bcrypt_line(user, password).expect("a line")).expect("writable");
        let file = file.display();
        let auth = format!("auth: {{htpasswd: {{realm: a registry, path: {file}}}}}\n");
        Self::start_in(home, &auth)
    }

    fn start_in(home: TempDir, auth: &str) -> Option<Self> {
        let program = tools::find("distribution/registry")?;
        let file = home.path().join("config.yml");
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:0\", secret: none}}\n{auth}",
            home.path().join("data").display()
        );
        std::fs::write(&file, config).expect("writable");
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a registry starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = log.lines().map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            rest.split(['"', ' ']).next().map(str::to_owned)
        });
        // Somebody must go on reading, or the server blocks when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self {
            child,
            address: address.expect("it says where it listens"),
            home,
        })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A folder that lives as long as the registry; the home of the clients.
    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Runs a client program (`crane/crane`, `oras/oras`, `helm4`) that must succeed; its standard output. `{}` in an argument
    /// stands for the registry's address.
    #[track_caller]
    pub(crate) fn client(&self, program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
        let program = tools::find(program)?;
        let output = self.run(&program, arguments);
        assert!(
            output.status.success(),
            "{} {arguments:?} failed: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Some(output.stdout)
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let home = self.home.path();
        Command::new(program)
            .args(
                arguments
                    .iter()
                    .map(|text| text.replace("{}", &self.address)),
            )
            .current_dir(home)
            .env("HOME", home)
            .env("DOCKER_CONFIG", home.join("docker"))
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data-helm"))
            .env_remove("HTTP_PROXY")
            .env_remove("HTTPS_PROXY")
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .output()
            .expect("running a client")
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The engines themselves, containerd and docker, each with files and a socket of its own. They pull, push and log in; no container runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{tools, until};

const START: Duration = Duration::from_secs(60);

/// A running daemon; killed when dropped.
#[derive(Debug)]
struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    /// Starts a program whose log goes to `log` in its folder.
    fn start(folder: TempDir, command: &mut Command) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).expect("writable");
        let child = command
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("starting a daemon");
        Self { child, folder }
    }

    /// Waits until `probe` succeeds.
    #[track_caller]
    fn wait(&mut self, probe: impl Fn(&Path) -> Output) {
        let (child, folder) = (&mut self.child, self.folder.path());
        until("a daemon to listen", START, || {
            if let Some(status) = child.try_wait().expect("asking for the exit status") {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                panic!("the daemon ended with {status}:\n{log}");
            }
            probe(folder).status.success().then_some(())
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Politely: docker's daemon has a containerd of its own to end.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

/// Whether a daemon can work here at all: it mounts what it unpacks. Says so where it cannot, because nothing can be installed
/// against that.
fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).status();
    let may = tried.is_ok_and(|status| status.success());
    if !may {
        println!("NOT RUN: daemons of containers need the right to mount, which is not given here");
    }
    may
}

fn clean(command: &mut Command, environment: &[(&'static str, String)]) {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
}

/// containerd with `ctr`.
#[derive(Debug)]
pub(crate) struct Containerd {
    daemon: Daemon,
    ctr: PathBuf,
}

impl Containerd {
    /// Starts one without images. `None`: it is not installed and nobody insists, or it cannot work here.
    pub(crate) fn start() -> Option<Self> {
        let (program, ctr) = (tools::find("containerd")?, tools::find("ctr")?);
        if !may_mount() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let plugins = [
            "grpc.v1.cri",
            "snapshotter.v1.btrfs",
            "snapshotter.v1.zfs",
            "snapshotter.v1.aufs",
            "snapshotter.v1.devmapper",
            "internal.v1.opt",
        ];
        let plugins = plugins.map(|name| format!("\"io.containerd.{name}\""));
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [{}]\n[grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n",
            at("root"),
            at("state"),
            plugins.join(", "),
            at("socket"),
            at("ttrpc"),
        );
        std::fs::write(folder.path().join("config.toml"), config).expect("writable");
        let mut command = Command::new(program);
        command.args(["--config", "config.toml"]);
        let mut daemon = Daemon::start(folder, &mut command);
        daemon.wait(|folder| {
            ctr_command(&ctr, folder)
                .arg("version")
                .output()
                .expect("ctr")
        });
        Some(Self { daemon, ctr })
    }

    /// Where `--hosts-dir` may be, among other files.
    pub(crate) fn folder(&self) -> &Path {
        self.daemon.folder.path()
    }

    /// Writes `hosts.toml` for a registry (or `_default`); what `--hosts-dir` then wants.
    pub(crate) fn hosts(&self, registry: &str, text: &str) -> String {
        let hosts = self.folder().join("certs.d");
        let folder = hosts.join(registry);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("hosts.toml"), text).expect("writable");
        hosts.display().to_string()
    }

    /// Runs `ctr`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = ctr_command(&self.ctr, self.folder());
        clean(&mut command, &[]);
        command.args(arguments).output().expect("running ctr")
    }

    /// Runs a command of `ctr` that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "ctr {arguments:?} failed: {}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The digest that an image name stands for.
    #[track_caller]
    pub(crate) fn digest(&self, image: &str) -> String {
        let listed = self.ok(&["images", "ls"]);
        listed
            .lines()
            .find(|line| line.starts_with(&format!("{image} ")))
            .and_then(|line| {
                line.split_whitespace()
                    .find(|word| word.starts_with("sha256:"))
            })
            .unwrap_or_else(|| panic!("no `{image}` in {listed}"))
            .to_owned()
    }
}

fn ctr_command(ctr: &Path, folder: &Path) -> Command {
    let mut command = Command::new(ctr);
    command
        .arg("--address")
        .arg(folder.join("socket"))
        .current_dir(folder)
        .env("HOME", folder);
    command
}

/// Docker's daemon with `docker`.
#[derive(Debug)]
pub(crate) struct Docker {
    daemon: Daemon,
    docker: PathBuf,
}

impl Docker {
    /// Starts one without images. `None`: it is not installed and nobody insists, or it cannot work here.
    pub(crate) fn start(
        arguments: &[&str],
        environment: &[(&'static str, String)],
    ) -> Option<Self> {
        let (program, docker) = (tools::find("dockerd")?, tools::find("docker")?);
        if !may_mount() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(program);
        clean(&mut command, environment);
        for (name, value) in [
            ("--data-root", folder.path().join("data")),
            ("--exec-root", folder.path().join("exec")),
            ("--pidfile", folder.path().join("pid")),
        ] {
            command.arg(name).arg(value);
        }
        command
            .args(["--host", &host(folder.path())])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--storage-driver=vfs"])
            .args(arguments);
        let mut daemon = Daemon::start(folder, &mut command);
        daemon.wait(|folder| {
            docker_command(&docker, folder)
                .arg("info")
                .output()
                .expect("docker")
        });
        Some(Self { daemon, docker })
    }

    /// The folder of its files, and the home of `docker`.
    pub(crate) fn folder(&self) -> &Path {
        self.daemon.folder.path()
    }

    /// Runs `docker`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        docker_command(&self.docker, self.folder())
            .args(arguments)
            .output()
            .expect("running docker")
    }

    /// Runs a command of `docker` that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "docker {arguments:?} failed: {}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs a command of `docker` that must fail; what it says about it.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            !output.status.success(),
            "docker {arguments:?} did not fail"
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn host(folder: &Path) -> String {
    format!("unix://{}", folder.join("socket").display())
}

fn docker_command(docker: &Path, folder: &Path) -> Command {
    let mut command = Command::new(docker);
    command
        .args(["--host", &host(folder)])
        .current_dir(folder)
        .env("HOME", folder)
        .env("DOCKER_CONFIG", folder.join("config"));
    command
}

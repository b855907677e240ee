//! Clients of registries: programs that are not ours, in a home of their own, so that tests do not meet.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::tools;

/// A client program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Crane,
    Oras,
    Skopeo,
    Podman,
    Buildah,
    Helm3,
    Helm4,
}

impl Program {
    fn find(self) -> Option<PathBuf> {
        tools::find(match self {
            Self::Crane => "crane/crane",
            Self::Oras => "oras/oras",
            Self::Skopeo => "skopeo",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
            Self::Helm3 => "helm3",
            Self::Helm4 => "helm4",
        })
    }
}

/// Client programs with one home. Images, logins and settings of one are not seen by others.
#[derive(Debug)]
pub(crate) struct Clients {
    home: TempDir,
    programs: Vec<(Program, PathBuf)>,
    environment: Vec<(&'static str, String)>,
}

impl Clients {
    /// These programs. `None`: one is missing, and nobody insists.
    pub(crate) fn with(programs: &[Program]) -> Option<Self> {
        let programs = programs
            .iter()
            .map(|program| Some((*program, program.find()?)))
            .collect::<Option<_>>()?;
        let home = tempfile::tempdir().expect("a temporary folder");
        let settings = home.path().join(".config/containers");
        std::fs::create_dir_all(&settings).expect("a folder");
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        std::fs::write(settings.join("policy.json"), policy).expect("writable");
        // Its other kind of locks is one for the whole machine.
        let engine = "[engine]\nlock_type = \"file\"\nevents_logger = \"none\"\n";
        std::fs::write(home.path().join("containers.conf"), engine).expect("writable");
        // podman wants the file that it is told about.
        std::fs::write(home.path().join("logins.json"), "{}").expect("writable");
        let clients = Self {
            home,
            programs,
            environment: Vec::new(),
        };
        clients.registries("");
        Some(clients)
    }

    /// Reaches names through this proxy, and believes certificates of this authority.
    pub(crate) fn through(mut self, proxy: &str, authority: &Path) -> Self {
        self.environment = through(proxy, authority);
        self
    }

    /// The folder that commands run in.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `registries.conf` of podman, buildah and skopeo.
    pub(crate) fn registries(&self, text: &str) {
        let file = self.home.path().join(".config/containers/registries.conf");
        std::fs::write(file, text).expect("writable");
    }

    /// Lets podman, buildah and skopeo speak plain HTTP with these addresses.
    pub(crate) fn plain_http(&self, addresses: &[&str]) {
        self.registries(&plain_http(addresses));
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, program: Program, arguments: &[&str]) -> Output {
        let home = self.home.path();
        let path = self.programs.iter().find(|(found, _)| *found == program);
        let (_, path) = path.expect("a program that this test asked for");
        let mut command = Command::new(path);
        if matches!(program, Program::Podman | Program::Buildah) {
            command
                .arg("--root")
                .arg(home.join("images"))
                .arg("--runroot")
                .arg(home.join("run"))
                .args(["--storage-driver", "vfs"]);
        }
        if program == Program::Podman {
            command.arg("--tmpdir").arg(home.join("libpod"));
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(home)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("DOCKER_CONFIG", home.join("docker"))
            .env("REGISTRY_AUTH_FILE", home.join("logins.json"))
            .env("CONTAINERS_CONF", home.join("containers.conf"))
            .env_remove("CONTAINERS_REGISTRIES_CONF")
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("running a client")
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, program: Program, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{program:?} {arguments:?} failed: {error}"
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs a command that must fail; what it says about it.
    #[track_caller]
    pub(crate) fn fails(&self, program: Program, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(
            !output.status.success(),
            "{program:?} {arguments:?} did not fail: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The value of `Authorization` for a user and a password, as clients write it.
pub(crate) fn basic(user: &str, password: &str) -> String {
    super::fake::basic(user, password)
}

/// Lines of `registries.conf`.
pub(crate) fn plain_http(addresses: &[&str]) -> String {
    addresses.iter().fold(String::new(), |mut text, address| {
        let _ = writeln!(
            text,
            "[[registry]]\nlocation = \"{address}\"\ninsecure = true"
        );
        text
    })
}

/// What Go programs want in their environment to go through a proxy and believe an authority.
pub(crate) fn through(proxy: &str, authority: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("HTTP_PROXY", proxy.to_owned()),
        ("HTTPS_PROXY", proxy.to_owned()),
        ("SSL_CERT_FILE", authority.display().to_string()),
    ]
}

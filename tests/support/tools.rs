//! Programs that are not ours: helm 3 and helm 4, each with a home of its own, its push plugin, and servers.

#![allow(
    dead_code,
    reason = "a kit: not every program is in use at every moment"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Where `program` is, or `None` (with a note) where it is missing. With `CHARTGATE_TOOLS=1` a missing program fails the test.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("CHARTGATE_TOOLS_DIR")
        .map(PathBuf::from)
        .into_iter()
        .chain(
            // `<target>/<profile>/chartgate` -> `<target>/tools`
            Path::new(env!("CARGO_BIN_EXE_chartgate"))
                .ancestors()
                .nth(2)
                .map(|target| target.join("tools")),
        );
    let mut candidates: Vec<PathBuf> = folders
        .flat_map(|folder| [folder.join(program).join("helm"), folder.join(program)])
        .collect();
    if let Some(path) = std::env::var_os("PATH") {
        candidates.extend(std::env::split_paths(&path).map(|folder| folder.join(program)));
    }
    let found = candidates.into_iter().find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CHARTGATE_TOOLS").is_none_or(|value| value != "1"),
            "`{program}` is missing; `make tools` installs it"
        );
        eprintln!("did not run: `{program}` is missing; `make tools` installs it");
    }
    found
}

/// An S3 server: `minio server FOLDER`.
pub(crate) fn minio() -> Option<PathBuf> {
    find("minio/minio")
}

/// A server of Google Cloud Storage's API.
pub(crate) fn fake_gcs_server() -> Option<PathBuf> {
    find("fake-gcs-server/fake-gcs-server")
}

/// A server of Azure Blob Storage's API.
pub(crate) fn azurite() -> Option<PathBuf> {
    find("azurite/node_modules/.bin/azurite-blob")
}

/// etcd itself.
pub(crate) fn etcd() -> Option<PathBuf> {
    find("etcd")
}

/// The helm plugin that pushes charts, as a program: `helm-cm-push CHART REPOSITORY`.
pub(crate) fn cm_push() -> Option<PathBuf> {
    find("cm-push/helm-cm-push")
}

/// The real ChartMuseum.
pub(crate) fn chartmuseum() -> Option<PathBuf> {
    find("chartmuseum-0.13.1/chartmuseum")
}

/// A helm binary with its own configuration and cache, so that tests do not meet.
#[derive(Debug)]
pub(crate) struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// `helm3` or `helm4`, where installed.
    pub(crate) fn find(program: &str) -> Option<Self> {
        Some(Self {
            program: find(program)?,
            home: tempfile::tempdir().expect("a temporary folder"),
        })
    }

    /// The folder that commands run in; `pull` writes here.
    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Installs a plugin: `program` runs as `helm NAME`, and fetches URLs with `protocol`. helm 4 takes a plugin in this form
    /// for a command or for a downloader, not for both.
    pub(crate) fn install_plugin(&self, name: &str, program: &Path, protocol: Option<&str>) {
        let folder = self.home.path().join("data/plugins").join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = program.file_name().expect("a program's name");
        let file = file.to_str().expect("a UTF-8 name");
        std::os::unix::fs::symlink(program, folder.join(file)).expect("a link");
        let mut text = format!(
            "name: {name}\nversion: 0.0.0\nusage: {name}\ndescription: {name}\ncommand: $HELM_PLUGIN_DIR/{file}\n"
        );
        if let Some(protocol) = protocol {
            text.push_str(&format!(
                "downloaders:\n- command: {file}\n  protocols: [{protocol}]\n"
            ));
        }
        std::fs::write(folder.join("plugin.yaml"), text).expect("writing plugin.yaml");
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&[], arguments)
    }

    /// Runs a command with these variables in its environment.
    pub(crate) fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        let home = self.home.path();
        Command::new(&self.program)
            .args(arguments)
            .current_dir(home)
            .env("HOME", home)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .env_remove("HTTP_PROXY")
            .env_remove("HTTPS_PROXY")
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env_remove("KUBECONFIG")
            .envs(environment.iter().copied())
            .output()
            .expect("running helm")
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{} {arguments:?} failed: {}",
            self.program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that must fail; its standard error.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            !output.status.success(),
            "{} {arguments:?} did not fail",
            self.program.display()
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Every `repository/chart version` of all added repositories, as `helm search repo` lists them.
    #[track_caller]
    pub(crate) fn listing(&self) -> BTreeSet<(String, String)> {
        // `--devel` alone would leave out versions that precede 0.0.0.
        let text = self.ok(&[
            "search",
            "repo",
            "-l",
            "-o",
            "json",
            "--version",
            ">=0.0.0-0 || <0.0.0-0",
        ]);
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(&text).expect("helm prints a JSON list");
        rows.iter()
            .map(|row| (words(&row["name"]), words(&row["version"])))
            .collect()
    }
}

fn words(value: &serde_json::Value) -> String {
    value.as_str().expect("helm prints strings").to_owned()
}

//! There and back: ChartMuseum writes, chartgate takes its storage over, ChartMuseum starts on it again and sees everything.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::packages::{Package, package, provenance};
use super::program::{Program, Which};
use crate::support::corpus::sha256;
use crate::support::http::Call;
use crate::support::stores::{BUCKET, Store};
use crate::support::until;

/// Where both keep their charts, as flags and environment.
struct Storage {
    flags: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
}

impl Storage {
    fn folder(path: &Path) -> Self {
        let path = path.to_str().expect("a UTF-8 path");
        let flags = ["--storage", "local", "--storage-local-rootdir", path];
        Self {
            flags: flags.map(str::to_owned).to_vec(),
            environment: Vec::new(),
        }
    }

    /// A bucket of MinIO, below a prefix.
    fn bucket(store: &Store) -> Self {
        let endpoint = format!("http://{}", store.address());
        let flags = [
            "--storage",
            "amazon",
            "--storage-amazon-bucket",
            BUCKET,
            "--storage-amazon-prefix",
            "some/prefix",
            "--storage-amazon-region",
            "us-east-1",
            "--storage-amazon-endpoint",
            &endpoint,
        ];
        Self {
            flags: flags.map(str::to_owned).to_vec(),
            environment: vec![
                ("AWS_ACCESS_KEY_ID", "minio-user"),
                ("AWS_SECRET_ACCESS_KEY", "minio-password"),
            ],
        }
    }

    #[track_caller]
    fn serve(&self, which: &Which, flags: &[&str]) -> Program {
        let mut all: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        all.extend_from_slice(flags);
        Program::start(which, &all, &self.environment)
    }
}

/// What a repository must show: the digest of every version.
type Shown = BTreeMap<(&'static str, &'static str), String>;

/// Waits until `program` shows exactly this; ChartMuseum updates its index behind its answers.
#[track_caller]
fn shows(program: &Program, repo: &str, expected: &Shown) {
    let path = format!("{}/index.yaml", slashed(repo));
    let mut last = String::new();
    let mut look = || {
        let index: Value = serde_yaml::from_slice(&program.get(&path).expect(200).body).ok()?;
        let mut shown = BTreeMap::new();
        for (name, versions) in index["entries"].as_object()? {
            for version in versions.as_array()? {
                let version_text = version["version"].as_str()?.to_owned();
                let digest = version["digest"].as_str()?.to_owned();
                shown.insert((name.clone(), version_text), digest);
            }
        }
        last = format!("{shown:#?}");
        let same = shown.len() == expected.len()
            && expected.iter().all(|((name, version), digest)| {
                shown.get(&((*name).to_owned(), (*version).to_owned())) == Some(digest)
            });
        same.then_some(())
    };
    let found = (0..400).find_map(|_| {
        look().or_else(|| {
            crate::support::pause(Duration::from_millis(25));
            None
        })
    });
    assert!(
        found.is_some(),
        "expected {expected:#?}\nshown {last}\n{}",
        program.log()
    );
}

#[track_caller]
fn push(program: &Program, repo: &str, query: &str, bytes: &[u8]) {
    let path = format!("/api{}/charts{query}", slashed(repo));
    program
        .send(&Call::new("POST", &path).body(bytes))
        .expect(201);
}

#[track_caller]
fn delete(program: &Program, repo: &str, chart: &str) {
    let path = format!("/api{}/charts/{chart}", slashed(repo));
    program.send(&Call::new("DELETE", &path)).expect(200);
}

#[track_caller]
fn serves(program: &Program, repo: &str, file: &str, bytes: &[u8]) {
    let path = format!("{}/charts/{file}", slashed(repo));
    let reply = program.get(&path).expect(200);
    assert!(reply.body == bytes, "{path} is not what was pushed last");
}

fn slashed(repo: &str) -> String {
    if repo.is_empty() {
        String::new()
    } else {
        format!("/{repo}")
    }
}

/// How chartgate ends between its last answer and ChartMuseum's start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Asked,
    Killed,
}

impl End {
    fn of(self, program: Program) {
        match self {
            Self::Asked => program.stop(),
            Self::Killed => drop(program),
        }
    }
}

/// The whole way, twice.
fn there_and_back(storage: &Storage, repo: &'static str, flags: &[&str], end: End) {
    let Some(museum) = Which::rival() else {
        return;
    };
    let mut expected = Shown::new();
    let mut show = |name, version, bytes: &[u8]| {
        expected.insert((name, version), sha256(bytes));
    };
    let a1 = package("a", "1.0.0");
    let a2 = package("a", "1.1.0");
    let b1 = package("b", "1.0.0");
    let signed = provenance("b", "1.0.0");

    let theirs = storage.serve(&museum, flags);
    show("a", "1.0.0", &a1);
    show("a", "1.1.0", &a2);
    show("b", "1.0.0", &b1);
    for bytes in [&a1, &a2, &b1] {
        push(&theirs, repo, "", bytes);
    }
    let prov = format!("/api{}/prov", slashed(repo));
    theirs
        .send(&Call::new("POST", &prov).body(signed.clone()))
        .expect(201);
    shows(&theirs, repo, &expected);
    settle(&theirs, flags);
    theirs.stop();

    // Ours sees it all, overwrites one, deletes one with its provenance file, and adds two.
    let ours = storage.serve(&Which::Chartgate, flags);
    shows(&ours, repo, &expected);
    serves(&ours, repo, "b-1.0.0.tgz.prov", &signed);
    let a1 = Package::new("a", "1.0.0").file("more", "x").build();
    push(&ours, repo, "?force", &a1);
    delete(&ours, repo, "b/1.0.0");
    let c1 = package("c", "1.0.0+b.1");
    let c_signed = provenance("c", "1.0.0+b.1");
    let form = [
        ("chart", "c.tgz", &c1[..]),
        ("prov", "c.tgz.prov", &c_signed[..]),
    ];
    let path = format!("/api{}/charts", slashed(repo));
    ours.send(&Call::new("POST", &path).form(&form)).expect(201);
    let d1 = package("d", "v0.1.0");
    push(&ours, repo, "", &d1);
    expected.insert(("a", "1.0.0"), sha256(&a1));
    expected.remove(&("b", "1.0.0"));
    expected.insert(("c", "1.0.0+b.1"), sha256(&c1));
    expected.insert(("d", "v0.1.0"), sha256(&d1));
    shows(&ours, repo, &expected);
    end.of(ours);

    // Back: everything is there at once, and can be changed.
    let theirs = storage.serve(&museum, flags);
    shows(&theirs, repo, &expected);
    serves(&theirs, repo, "a-1.0.0.tgz", &a1);
    serves(&theirs, repo, "c-1.0.0+b.1.tgz", &c1);
    serves(&theirs, repo, "c-1.0.0+b.1.tgz.prov", &c_signed);
    serves(&theirs, repo, "d-v0.1.0.tgz", &d1);
    for gone in ["b-1.0.0.tgz", "b-1.0.0.tgz.prov"] {
        theirs
            .get(&format!("{}/charts/{gone}", slashed(repo)))
            .expect(404);
    }
    delete(&theirs, repo, "a/1.1.0");
    let e1 = package("e", "1.0.0");
    push(&theirs, repo, "", &e1);
    let d1 = Package::new("d", "v0.1.0").file("more", "x").build();
    push(&theirs, repo, "?force", &d1);
    expected.remove(&("a", "1.1.0"));
    expected.insert(("e", "1.0.0"), sha256(&e1));
    expected.insert(("d", "v0.1.0"), sha256(&d1));
    shows(&theirs, repo, &expected);
    settle(&theirs, flags);
    theirs.stop();

    // And there again, with what it has kept from before.
    let ours = storage.serve(&Which::Chartgate, flags);
    shows(&ours, repo, &expected);
    serves(&ours, repo, "d-v0.1.0.tgz", &d1);
    serves(&ours, repo, "e-1.0.0.tgz", &e1);
    ours.get(&format!("{}/charts/a-1.1.0.tgz", slashed(repo)))
        .expect(404);
    // The last word is a deletion: the kept files of the other must not bring it back.
    delete(&ours, repo, "e/1.0.0");
    expected.remove(&("e", "1.0.0"));
    end.of(ours);
    let theirs = storage.serve(&museum, flags);
    shows(&theirs, repo, &expected);
}

/// ChartMuseum writes its state file behind its answers; a stop in between would leave an old one, which is its own affair.
fn settle(theirs: &Program, flags: &[&str]) {
    if !flags.contains(&"--disable-statefiles") {
        until(
            "ChartMuseum to have written its state file",
            Duration::from_secs(20),
            || {
                let before = theirs.log().len();
                crate::support::pause(Duration::from_millis(300));
                (theirs.log().len() == before).then_some(())
            },
        );
    }
}

fn in_folder(repo: &'static str, flags: &[&str], end: End) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    there_and_back(&Storage::folder(folder.path()), repo, flags, end);
}

#[test]
fn a_folder_goes_there_and_back() {
    in_folder("", &[], End::Asked);
}

#[test]
fn a_folder_goes_there_and_back_although_we_were_killed() {
    in_folder("", &[], End::Killed);
}

#[test]
fn a_folder_without_state_files_goes_there_and_back() {
    in_folder("", &["--disable-statefiles"], End::Asked);
}

#[test]
fn a_folder_of_repositories_goes_there_and_back() {
    in_folder("org", &["--depth", "1"], End::Asked);
    in_folder(
        "org",
        &["--depth", "1", "--disable-statefiles"],
        End::Killed,
    );
}

#[test]
fn a_folder_of_any_depth_goes_there_and_back() {
    in_folder("org/team", &["--depth-dynamic"], End::Killed);
}

#[test]
fn a_bucket_goes_there_and_back() {
    let Some(store) = Store::minio() else {
        return;
    };
    there_and_back(&Storage::bucket(&store), "", &[], End::Asked);
}

#[test]
fn a_bucket_of_repositories_goes_there_and_back() {
    let Some(store) = Store::minio() else {
        return;
    };
    there_and_back(
        &Storage::bucket(&store),
        "org",
        &["--depth", "1"],
        End::Killed,
    );
}

//! What keeps the tree in order: imports point downward, every building block has one home, files stay small.
//!
//! To move a boundary, edit the tables below and say why in the commit.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules, lowest first. A file uses its own module and lower ones.
const LAYERS: &[&str] = &[
    // Vocabulary: no I/O.
    "error",
    "clock",
    "base64",
    "names",
    "digest",
    "http",
    "chart",
    "index",
    "oci",
    "config",
    // Mechanisms.
    "metrics",
    "net",
    "object",
    "upstream",
    "cache",
    "store",
    // Domain.
    "auth",
    "limit",
    "audit",
    "repository",
    "gateway",
    // Protocols.
    "api",
    // Process.
    "server",
    "cli",
];

/// External crates and the only places that may name them, tests excepted. Crates that are not listed may be used anywhere.
const HOMES: &[(&str, &[&str])] = &[
    ("argon2", &["auth/hash.rs"]),
    ("bcrypt", &["auth/hash.rs"]),
    ("clap", &["cli/"]),
    ("console", &["cli/"]),
    (
        "flate2",
        &["chart/archive/", "http/encoding.rs", "upstream/text.rs"],
    ),
    ("governor", &["limit/"]),
    ("granit_parser", &["chart/values.rs"]),
    ("indicatif", &["cli/"]),
    ("jmespath", &["auth/token/claim.rs", "auth/token/query.rs"]),
    ("jsonwebtoken", &["auth/issue/key.rs", "auth/token/key.rs"]),
    ("libc", &["store/"]),
    ("md5", &["auth/hash.rs"]),
    ("moka", &["cache/memory.rs"]),
    ("multer", &["api/museum/form.rs"]),
    ("opendal", &["object/"]),
    ("pingora", &["server/"]),
    ("prometheus", &["metrics/"]),
    ("psl", &["upstream/registry/realm.rs"]),
    ("redb", &["cache/ledger.rs"]),
    ("redis", &["cache/redis/"]),
    ("reqwest", &["net/"]),
    ("rustix", &["http/file.rs"]),
    ("rustls", &["net/tls.rs", "server/tls/"]),
    ("semver", &["chart/version.rs"]),
    ("serde_saphyr", &["config/tree.rs"]),
    ("serde_yaml", &["chart/", "index/"]),
    ("sha1", &["auth/hash.rs"]),
    ("sha2", &["digest.rs"]),
    ("sha_crypt", &["auth/hash.rs"]),
    ("tar", &["chart/archive/"]),
    ("tikv_jemallocator", &["main.rs"]),
    ("tracing_subscriber", &["cli/logging.rs"]),
    ("zstd", &["http/encoding.rs"]),
];

/// Lines of a file without its tests. One subject rarely needs half of it.
const MAX_LINES: usize = 600;

/// Files that may be longer for now, and how long.
const LONG_FILES: &[(&str, usize)] = &[];

/// Paths of somebody's machine: they mean nothing to a reader.
const MACHINE_PATHS: &[&str] = &["/work/", "/root/", "/Users/", "C:\\Users\\"];

/// Where text for readers lives.
const TEXTS: &[&str] = &[
    "src",
    "tests",
    "benches",
    "fuzz",
    "config",
    "deploy",
    ".ci",
    "README.md",
    "SECURITY.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "Makefile",
    "clippy.toml",
    "deny.toml",
];

struct File {
    /// Below `src/`, with `/`.
    path: String,
    text: String,
}

impl File {
    /// The first part of its path: `config` for `config/mod.rs` and for `config.rs`.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or(&self.path);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Whether all of it is a test.
    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// Its lines with numbers, without comments and without the tests at its end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = match self.text.find("#[cfg(test)]\nmod ") {
            _ if self.is_test() => 0,
            Some(end) => end,
            None => self.text.len(),
        };
        self.text[..end]
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or(line)))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        if path.is_file() {
            found.push(path);
        } else if let Ok(entries) = std::fs::read_dir(&path) {
            open.extend(
                entries
                    .map(|entry| entry.expect("an entry").path())
                    .filter(|path| !path.ends_with("target")),
            );
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<File> {
    let folder = root().join("src");
    let files: Vec<File> = files_below(&folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| File {
            text: std::fs::read_to_string(&path).expect("source text"),
            path: path
                .strip_prefix(&folder)
                .expect("below src")
                .to_string_lossy()
                .replace('\\', "/"),
        })
        .collect();
    assert!(files.len() > 10, "the sources were not found");
    files
}

/// The words that follow `prefix` in `line`, where `prefix` is a whole path segment: `crate::` gives the modules.
fn words_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
            return None;
        }
        let rest = &line[at + prefix.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        Some(&rest[..end]).filter(|word| !word.is_empty())
    })
}

/// Whether `line` names `krate` as a path: `krate::x`, `::krate::x`, `use krate;`.
fn names(line: &str, krate: &str) -> bool {
    line.match_indices(krate).any(|(at, _)| {
        let before = line[..at].strip_suffix("::").map_or(&line[..at], |rest| {
            // `::krate` at the start of a path is the crate, `a::krate` is not.
            if rest.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>') {
                "x"
            } else {
                rest
            }
        });
        let stands_alone = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        stands_alone && line[at + krate.len()..].starts_with("::")
    })
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn imports_point_downward() {
    let rank = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    let mut problems = Vec::new();
    for file in sources() {
        if matches!(file.path.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        let Some(own) = rank(file.module()) else {
            problems.push(format!(
                "src/{}: the module `{}` has no layer; add it to LAYERS",
                file.path,
                file.module()
            ));
            continue;
        };
        for (number, line) in file.code() {
            if line.contains("crate::{") {
                problems.push(format!(
                    "src/{}:{number}: write one `use crate::module::..` a line, so that layers can be read",
                    file.path
                ));
            }
            for used in words_after(line, "crate::") {
                match rank(used) {
                    Some(used_rank) if used_rank <= own => {}
                    Some(_) => problems.push(format!(
                        "src/{}:{number}: `{}` must not use `{used}`, which lies above it",
                        file.path,
                        file.module()
                    )),
                    None => problems.push(format!(
                        "src/{}:{number}: `{used}` is no module with a layer",
                        file.path
                    )),
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn every_building_block_has_its_home() {
    let mut problems = Vec::new();
    for file in sources() {
        for (krate, homes) in HOMES {
            if homes.iter().any(|home| file.path.starts_with(home)) {
                continue;
            }
            for (number, line) in file.code() {
                // Not `crate::metrics::prometheus..` but the crate itself.
                if names(line, krate) {
                    problems.push(format!(
                        "src/{}:{number}: `{krate}` lives in {homes:?} only",
                        file.path
                    ));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn homes_exist() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    for (krate, _) in HOMES {
        let name = match *krate {
            "md5" => "md-5",
            other => other,
        };
        let known = [name.to_owned(), name.replace('_', "-")]
            .iter()
            .any(|name| manifest.contains(&format!("\n{name} = ")));
        assert!(
            known,
            "`{krate}` is no dependency any more; take it out of HOMES"
        );
    }
}

#[test]
fn files_hold_one_subject() {
    let problems: Vec<String> = sources()
        .iter()
        .filter_map(|file| {
            let lines = file.code().count();
            let allowed = LONG_FILES
                .iter()
                .find(|(path, _)| *path == file.path)
                .map_or(MAX_LINES, |(_, lines)| *lines);
            (lines > allowed).then(|| format!("src/{}: {lines} lines; split it", file.path))
        })
        .collect();
    report(&problems);
}

#[test]
fn every_file_says_what_it_is_for() {
    let problems: Vec<String> = sources()
        .iter()
        .filter(|file| !file.is_test() && !file.text.starts_with("//! "))
        .map(|file| format!("src/{}: begins without a `//!` line", file.path))
        .collect();
    report(&problems);
}

#[test]
fn the_map_in_lib_names_every_module() {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    let map: String = text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .collect();
    let modules: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert!(!modules.is_empty());
    let problems: Vec<String> = modules
        .iter()
        .filter(|module| !map.contains(&format!("[`{module}`]")))
        .map(|module| format!("src/lib.rs: the map lacks [`{module}`]"))
        .collect();
    report(&problems);
}

#[test]
fn no_text_speaks_of_somebodys_machine() {
    let mut problems = Vec::new();
    for path in TEXTS
        .iter()
        .flat_map(|text| files_below(&root().join(text)))
    {
        // Packages and other bytes are not for reading.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        if path.ends_with("tests/tidy.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for machine_path in MACHINE_PATHS {
                let named = line.match_indices(machine_path).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| {
                        c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}')
                    })
                });
                if named {
                    problems.push(format!(
                        "{}:{}: names `{machine_path}`",
                        path.strip_prefix(root()).unwrap_or(&path).display(),
                        number + 1
                    ));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn the_reader_of_paths_reads_paths() {
    let modules = |line| words_after(line, "crate::").collect::<Vec<_>>();
    assert_eq!(modules("use crate::error::Error;"), ["error"]);
    assert_eq!(
        modules("pub(in crate::cache) fn x(a: crate::net::A)"),
        ["cache", "net"]
    );
    assert_eq!(modules("mycrate::error"), Vec::<&str>::new());
    for line in [
        "use redis::aio;",
        "x(::redis::Cmd)",
        "a: &redis::Value",
        "<redis::Value>::x()",
    ] {
        assert!(names(line, "redis"), "{line}");
    }
    for line in [
        "crate::cache::redis::x",
        "mod redis;",
        "let redis = 1;",
        "my_redis::x",
        "redis_x::y",
    ] {
        assert!(!names(line, "redis"), "{line}");
    }
}

//! Two servers with the same flags on equal folders, asked the same things: ours, and the real ChartMuseum where it is installed.
//!
//! [`Pair::send`] compares the two answers; what differs without a name in `differences.rs` fails the test at its end, so that
//! one run shows everything that differs. Where ChartMuseum is missing, ours alone answers, and the test's own assertions count.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::differences::{Applies, Difference, OF_THE_OLD, Theirs};
use super::program::{Program, Which};
use crate::support::http::{Call, Reply};
use crate::support::pause;

/// How long ChartMuseum may take until an upload or a deletion shows: it updates its index behind the answer.
const SETTLE: Duration = Duration::from_secs(4);

/// The header fields that clients look at. `Content-Type` is compared beside them, except where no body comes.
const COMPARED: &[&str] = &[
    "www-authenticate",
    "access-control-allow-origin",
    "location",
];

/// The two servers.
#[derive(Debug)]
pub(crate) struct Pair {
    ours: Side,
    theirs: Option<Side>,
    problems: RefCell<Vec<String>>,
}

#[derive(Debug)]
struct Side {
    which: Which,
    program: Option<Program>,
    folder: TempDir,
}

impl Pair {
    /// Both on empty folders.
    #[track_caller]
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::on(|_| (), flags)
    }

    /// Both on folders that `fill` has filled before.
    #[track_caller]
    pub(crate) fn on(fill: impl Fn(&Path), flags: &[&str]) -> Self {
        let side = |which: Which| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let storage = folder.path().join("storage");
            std::fs::create_dir(&storage).expect("a folder");
            fill(&storage);
            let program = Some(Program::on_folder(&which, &storage, flags));
            Side {
                which,
                program,
                folder,
            }
        };
        Self {
            ours: side(Which::Chartgate),
            theirs: Which::rival().map(side),
            problems: RefCell::default(),
        }
    }

    /// The same where 0.13.1 does not know these flags: then ours runs alone.
    #[track_caller]
    pub(crate) fn newer(fill: impl Fn(&Path), flags: &[&str]) -> Self {
        if !matches!(Which::rival(), Some(Which::Old(_))) {
            return Self::on(fill, flags);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let storage = folder.path().join("storage");
        std::fs::create_dir(&storage).expect("a folder");
        fill(&storage);
        let which = Which::Chartgate;
        let program = Some(Program::on_folder(&which, &storage, flags));
        Self {
            ours: Side {
                which,
                program,
                folder,
            },
            theirs: None,
            problems: RefCell::default(),
        }
    }

    /// `GET path` to both, which must answer alike; our answer.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(&Call::get(path))
    }

    /// `call` to both, which must answer alike; our answer.
    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> Reply {
        let ours = self.ours.program().send(call);
        if let Some(theirs) = &self.theirs {
            let difference = settled(call, |_| {
                let reply = theirs.program().send(call);
                let known = matches!(theirs.which, Which::Old(_))
                    && OF_THE_OLD
                        .iter()
                        .any(|(_, shows)| shows(call, &ours, &reply));
                disagreement(call, &ours, &reply, Fields::ButTypeOfHead).filter(|_| !known)
            });
            if let Some(text) = difference {
                let at = std::panic::Location::caller();
                self.problems
                    .borrow_mut()
                    .push(format!("{at}: {} {text}", call.line()));
            }
        }
        ours
    }

    /// `GET path` to both, which differ as `difference` says; our answer, which the test judges.
    #[track_caller]
    pub(crate) fn get_unlike(&self, difference: &Difference, path: &str) -> Reply {
        self.send_unlike(difference, &Call::get(path))
    }

    /// `call` to both, which differ as `difference` says; our answer, which the test judges.
    #[track_caller]
    pub(crate) fn send_unlike(&self, difference: &Difference, call: &Call) -> Reply {
        let applies = match (&self.theirs, &difference.applies) {
            (Some(side), Applies::Before016) => matches!(side.which, Which::Old(_)),
            (Some(side), Applies::Since016) => matches!(side.which, Which::New(_)),
            (_, Applies::Always) => true,
            (None, _) => return self.ours.program().send(call),
        };
        if !applies {
            return self.send(call);
        }
        let ours = self.ours.program().send(call);
        if let Some(side) = &self.theirs {
            let wrong = settled(call, |_| {
                let theirs = side.program().send(call);
                let as_named = match difference.theirs {
                    Theirs::Answers(answers) => answers.iter().any(|(status, text)| {
                        theirs.status == *status && theirs.text().contains(text)
                    }),
                    Theirs::Field(name, value) => theirs.header(name) == value,
                    Theirs::Varies => return None,
                };
                if !as_named {
                    return Some(format!(
                        "ChartMuseum does not do what `{}` says ({}): {}",
                        difference.name,
                        difference.why,
                        describe(&theirs)
                    ));
                }
                let differ = disagreement(call, &ours, &theirs, Fields::All).is_some();
                (!differ).then(|| format!("`{}` is no difference any more", difference.name))
            });
            if let Some(text) = wrong {
                let at = std::panic::Location::caller();
                self.problems
                    .borrow_mut()
                    .push(format!("{at}: {} {text}", call.line()));
            }
        }
        ours
    }

    /// Only ours is asked: for what ChartMuseum does not survive.
    #[track_caller]
    pub(crate) fn send_ours(&self, call: &Call) -> Reply {
        self.ours.program().send(call)
    }

    /// Our folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.ours.storage()
    }

    /// The names of the packages and provenance files below both folders, which must be equal; ours.
    #[track_caller]
    pub(crate) fn stored(&self) -> Vec<String> {
        let ours = stored(&self.ours.storage());
        if let Some(theirs) = &self.theirs {
            assert_eq!(ours, stored(&theirs.storage()), "what is stored differs");
        }
        ours
    }
}

impl Side {
    fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    fn program(&self) -> &Program {
        self.program.as_ref().expect("running until it is dropped")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let problems = self.problems.borrow();
        if problems.is_empty() {
            return;
        }
        let text = problems.join("\n");
        if std::thread::panicking() {
            eprintln!("before that:\n{text}");
        } else {
            panic!(
                "{} answers differ from ChartMuseum's:\n{text}",
                problems.len()
            );
        }
    }
}

/// Packages and provenance files below `folder`, by their paths in it, sorted.
pub(crate) fn stored(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = crate::support::files_below(folder)
        .iter()
        .filter_map(|path| path.strip_prefix(folder).ok()?.to_str().map(str::to_owned))
        .filter(|path| !path.starts_with('.'))
        .filter(|path| path.ends_with(".tgz") || path.ends_with(".prov"))
        .collect();
    names.sort();
    names
}

/// Asks `check` until it finds nothing wrong. A request that changes something is sent once.
fn settled(call: &Call, mut check: impl FnMut(()) -> Option<String>) -> Option<String> {
    let start = Instant::now();
    loop {
        let found = check(())?;
        if !call.line().starts_with("GET ") && !call.line().starts_with("HEAD ")
            || start.elapsed() > SETTLE
        {
            return Some(found);
        }
        pause(Duration::from_millis(100));
    }
}

/// Which header fields count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fields {
    All,
    /// ChartMuseum sends no Content-Type with HEAD; ours is that of GET (`HEAD_HAS_FIELDS`).
    ButTypeOfHead,
}

/// What is different in two answers to `call`, in words.
fn disagreement(call: &Call, ours: &Reply, theirs: &Reply, fields: Fields) -> Option<String> {
    let mut text = String::new();
    if ours.status != theirs.status {
        let _ = write!(text, "\n    status {} / {}", ours.status, theirs.status);
    }
    let skipped = fields == Fields::ButTypeOfHead && call.line().starts_with("HEAD ");
    let kinds = [ours, theirs].map(|reply| reply.header("content-type"));
    if !skipped && kinds[0] != kinds[1] {
        let _ = write!(text, "\n    content-type {:?} / {:?}", kinds[0], kinds[1]);
    }
    for name in COMPARED {
        let values = [ours, theirs].map(|reply| reply.header(name));
        if values[0] != values[1] {
            let _ = write!(text, "\n    {name} {:?} / {:?}", values[0], values[1]);
        }
    }
    let ids = [ours, theirs].map(|reply| reply.header("x-request-id").unwrap_or_default());
    let given = call.value("X-Request-Id");
    if ids.iter().any(|id| id.is_empty()) || given.is_some_and(|given| ids != [given; 2]) {
        let _ = write!(text, "\n    x-request-id {:?} / {:?}", ids[0], ids[1]);
    }
    match (content(ours), content(theirs)) {
        (ours, theirs) if ours == theirs => {}
        (Ok(ours), Ok(theirs)) => unlike("", &ours, &theirs, &mut text),
        _ => {
            let _ = write!(
                text,
                "\n    body {}\n       / {}",
                short(ours),
                short(theirs)
            );
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Where two documents differ, in words.
fn unlike(path: &str, ours: &Value, theirs: &Value, text: &mut String) {
    match (ours, theirs) {
        (Value::Object(mine), Value::Object(other)) => {
            let names: BTreeSet<&String> = mine.keys().chain(other.keys()).collect();
            for name in names {
                let [mine, other] = [mine, other].map(|fields| fields.get(name));
                let absent = Value::from("absent");
                let at = format!("{path}/{name}");
                unlike(&at, mine.unwrap_or(&absent), other.unwrap_or(&absent), text);
            }
        }
        (Value::Array(mine), Value::Array(other)) if mine.len() == other.len() => {
            for (number, (mine, other)) in mine.iter().zip(other).enumerate() {
                unlike(&format!("{path}/{number}"), mine, other, text);
            }
        }
        (ours, theirs) if ours == theirs => {}
        _ => {
            let _ = write!(text, "\n    body at {path}: {ours:.300} / {theirs:.300}");
        }
    }
}

/// A body as it is compared: documents by meaning and without their times, everything else by bytes.
fn content(reply: &Reply) -> Result<Value, Vec<u8>> {
    let kind = reply.header("content-type").unwrap_or_default();
    let mut value = if reply.body.is_empty() {
        return Err(Vec::new());
    } else if kind.starts_with("application/json") {
        serde_json::from_slice(&reply.body).map_err(|_| reply.body.clone())?
    } else if kind == "application/x-yaml" {
        serde_yaml::from_slice(&reply.body).map_err(|_| reply.body.clone())?
    } else {
        return Err(reply.body.clone());
    };
    forget_times(&mut value);
    Ok(value)
}

/// Replaces what depends on the moment by a word, where it is a time as it must be.
fn forget_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let is_time = matches!(name.as_str(), "created" | "generated")
                    && field
                        .as_str()
                        .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
                if is_time {
                    *field = Value::from("a time");
                } else {
                    forget_times(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn describe(reply: &Reply) -> String {
    format!("{} {:?} {}", reply.status, reply.headers, short(reply))
}

fn short(reply: &Reply) -> String {
    format!("{:?}", reply.text().chars().take(500).collect::<String>())
}

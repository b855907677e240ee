//! The files of a chart, looked at while they stream by: what Helm parses is checked, the rest is passed over.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use xxhash_rust::xxh3::xxh3_128;

use super::flaw::Flaws;
use super::members::{self, Kind, Member, Members};
use super::path::{self, Place};
use super::{Budget, Strictness, yaml};
use crate::chart::Metadata;
use crate::error::{Error, Result};

/// What is known of an archive's files so far.
#[derive(Default)]
pub(super) struct Tree {
    top: Option<String>,
    has_files: bool,
    chart_yaml: Option<Vec<u8>>,
    requirements: Option<Vec<u8>>,
    has_addon_metadata: bool,
    has_addon_template: bool,
    /// Digests of the paths seen: the paths themselves could take more memory than the files.
    seen: HashSet<u128>,
    /// Subcharts in folders, by (shortened) path, and whether their Chart.yaml was seen.
    folders: BTreeMap<String, bool>,
}

/// Where a file belongs.
enum Role<'a> {
    /// A file of the chart itself, or of the subchart in a folder.
    Of { folder: &'a str, file: &'a str },
    /// A packed subchart.
    Packed,
    /// Below `charts/`, but not part of any chart.
    Ignored,
}

impl Tree {
    /// Reads all members and checks the files that Helm would parse.
    pub(super) fn read<R: Read>(
        members: &mut Members<R>,
        budget: &mut Budget,
        flaws: &mut Flaws,
    ) -> Result<Self> {
        let mut tree = Self::default();
        while let Some(member) = members.next(budget, flaws)? {
            if member.name.len() > MAX_NAME {
                return Err(Error::invalid(format!(
                    "chart archive has a file name of {} bytes",
                    member.name.len()
                )));
            }
            match member.kind {
                Kind::Directory => {
                    // Its content, if it has any, is passed over, which costs time.
                    budget.bytes(member.size)?;
                    continue;
                }
                Kind::File => {}
                Kind::Special => flaws.found(format!(
                    "chart archive has `{:.200}`, which is neither a file nor a directory",
                    member.name
                ))?,
            }
            let place = path::place(&member.name, flaws)?;
            budget.file(&member.name, member.size)?;
            tree.note(&place, flaws)?;
            tree.take(&place, &member, members, budget, flaws)?;
        }
        if !tree.has_files {
            return Err(Error::invalid("no files in chart archive"));
        }
        Ok(tree)
    }

    /// Puts the chart together, once every file was seen. Gives its metadata and whether it is a KubeVela addon.
    pub(super) fn finish(self, flaws: &mut Flaws) -> Result<(Metadata, bool)> {
        let Some(chart_yaml) = self.chart_yaml else {
            return Err(Error::invalid("Chart.yaml file is missing"));
        };
        yaml::check_map("Chart.yaml", &chart_yaml, Strictness::Stored)?;
        let mut metadata = parse("Chart.yaml", &chart_yaml)?;
        yaml::check_identity(&chart_yaml, &metadata, flaws)?;
        if let Some(requirements) = &self.requirements {
            apply_requirements(&mut metadata, requirements)?;
        }
        metadata.validate().map_err(validation)?;
        let top = self.top.unwrap_or_default();
        if flaws.strictness() == Strictness::Upload {
            check_file_name(&metadata)?;
        }
        // Helm ignores the folder's name, and so does ChartMuseum: KubeVela packs addons from folders of any name.
        if top != metadata.name {
            flaws.tolerated(format!(
                "chart archive has the chart `{}` in a folder named `{top:.200}`; package it with `helm package`",
                metadata.name
            ));
        }
        if let Some((folder, _)) = self.folders.iter().find(|(_, has_chart)| !**has_chart) {
            return Err(Error::invalid(format!(
                "error unpacking subchart {} in {}: Chart.yaml file is missing",
                folder.strip_prefix("charts/").unwrap_or(folder),
                metadata.name
            )));
        }
        Ok((metadata, self.has_addon_metadata && self.has_addon_template))
    }

    fn note(&mut self, place: &Place, flaws: &mut Flaws) -> Result<()> {
        self.has_files = true;
        match &self.top {
            None => self.top = Some(place.top.clone()),
            Some(top) if *top != place.top => flaws.found(format!(
                "chart archive has more than one top folder: `{top:.200}` and `{:.200}`",
                place.top
            ))?,
            Some(_) => {}
        }
        if !self.seen.insert(xxh3_128(place.path.as_bytes())) {
            let twice = format!("chart archive has the file `{:.200}` twice", place.path);
            match &*place.path {
                // What the chart is must not depend on the reader; which of two templates counts is between author and Helm.
                "Chart.yaml" | "requirements.yaml" => flaws.found(twice)?,
                _ => flaws.tolerated(twice),
            }
        }
        match &*place.path {
            "metadata.yaml" => self.has_addon_metadata = true,
            "template.cue" | "template.yaml" => self.has_addon_template = true,
            _ => {}
        }
        Ok(())
    }

    fn take<R: Read>(
        &mut self,
        place: &Place,
        member: &Member,
        members: &mut Members<R>,
        budget: &mut Budget,
        flaws: &mut Flaws,
    ) -> Result<()> {
        let limits = budget.limits;
        let strictness = flaws.strictness();
        let (folder, file) = match role(&place.path, limits.depth)? {
            Role::Of { folder, file } => (folder, file),
            Role::Packed => return unpack(place, members, budget),
            Role::Ignored => return Ok(()),
        };
        let own = folder.is_empty();
        if !own {
            let key = shortened(folder);
            let has_chart = self.folders.entry(key).or_default();
            *has_chart |= file == "Chart.yaml";
        }
        match file {
            "Chart.yaml" | "requirements.yaml" => {
                let bytes = content(file, member, members, limits.metadata)?;
                if own {
                    let kept = match file {
                        "Chart.yaml" => &mut self.chart_yaml,
                        _ => &mut self.requirements,
                    };
                    *kept = Some(bytes);
                    return Ok(());
                }
                let checked = if file == "Chart.yaml" {
                    parse(file, &bytes).and_then(|metadata| metadata.validate().map_err(validation))
                } else {
                    yaml::check_map(file, &bytes, Strictness::Stored)
                };
                checked.map_err(|error| inside(folder, &place.top, &error))
            }
            "Chart.lock" | "requirements.lock" => {
                let bytes = content(file, member, members, limits.metadata)?;
                yaml::check_map(file, &bytes, Strictness::Stored)
            }
            "values.yaml" => {
                if member.size > limits.values {
                    return flaws.found(format!(
                        "cannot load values.yaml: it is larger than {} bytes",
                        limits.values
                    ));
                }
                let bytes = content(file, member, members, limits.values)?;
                yaml::check_map(file, &bytes, strictness).map_err(|error| match own {
                    true => error,
                    false => inside(folder, &place.top, &error),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Finds the (sub)chart that a path belongs to, as Helm's loader walks down `charts/`.
fn role(path: &str, depth: usize) -> Result<Role<'_>> {
    let mut file = path;
    for _ in 0..=depth {
        let folder = path[..path.len() - file.len()].trim_end_matches('/');
        let Some(rest) = file.strip_prefix("charts/") else {
            return Ok(Role::Of { folder, file });
        };
        if rest.ends_with(".prov") {
            return Ok(Role::Ignored);
        }
        let (name, inner) = match rest.split_once('/') {
            Some((name, inner)) => (name, Some(inner)),
            None => (rest, None),
        };
        if name.starts_with(['_', '.']) {
            return Ok(Role::Ignored);
        }
        match inner {
            None if name.ends_with(".tgz") => return Ok(Role::Packed),
            Some(_) if name.ends_with(".tgz") => {
                return Err(Error::invalid(format!(
                    "error unpacking subchart tar: expected {name:.200}, got {rest:.200}"
                )));
            }
            // A plain file is a subchart without any file to Helm.
            None => {
                return Ok(Role::Of {
                    folder: path,
                    file: "",
                });
            }
            Some(inner) => file = inner,
        }
    }
    Err(too_deep(depth))
}

/// Reads a packed subchart straight from its member. Helm's own rules suffice in there: its bytes are the publisher's.
fn unpack<R: Read>(place: &Place, members: &mut Members<R>, budget: &mut Budget) -> Result<()> {
    budget.depth = budget
        .depth
        .checked_sub(1)
        .ok_or_else(|| too_deep(budget.limits.depth))?;
    let mut flaws = Flaws::new(Strictness::Stored);
    let outcome = super::read_archive(members, budget, &mut flaws);
    budget.depth += 1;
    let name = place.path.rsplit('/').next().unwrap_or(&place.path);
    outcome
        .map(drop)
        .map_err(|error| inside(name, &place.top, &error))
}

/// The whole content of a member that is parsed.
fn content<R: Read>(
    file: &str,
    member: &Member,
    members: &mut Members<R>,
    most: u64,
) -> Result<Vec<u8>> {
    if member.size > most {
        return Err(Error::invalid(format!(
            "cannot load {file}: it is larger than {most} bytes"
        )));
    }
    let mut bytes = Vec::new();
    members.read_to_end(&mut bytes).map_err(members::broken)?;
    Ok(bytes)
}

fn parse(file: &str, bytes: &[u8]) -> Result<Metadata> {
    let text = yaml::text(file, bytes)?;
    if yaml::is_blank(text) {
        return Ok(Metadata::default());
    }
    Metadata::from_yaml(text.as_bytes()).map_err(|error| {
        if error.message().starts_with("cannot load") {
            error
        } else {
            yaml::cannot_load(file, &error)
        }
    })
}

/// Helm 2's requirements.yaml: its dependencies take the place of Chart.yaml's.
fn apply_requirements(metadata: &mut Metadata, bytes: &[u8]) -> Result<()> {
    let file = "requirements.yaml";
    yaml::check_map(file, bytes, Strictness::Stored)?;
    let requirements = parse(file, bytes)?;
    if !requirements.name.is_empty() || !requirements.version.is_empty() {
        // Helm would let it rename the chart.
        return Err(Error::invalid(
            "cannot load requirements.yaml: it may list dependencies, not a name or a version",
        ));
    }
    if !requirements.dependencies.is_empty() {
        metadata.dependencies = requirements.dependencies;
    }
    Ok(())
}

/// A name and a version that are one plain file name on every system.
fn check_file_name(metadata: &Metadata) -> Result<()> {
    let name = &metadata.name;
    let plain = name
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !plain {
        return Err(Error::invalid(format!(
            "validation: chart.metadata.name {name:.300?} is invalid: only letters, digits, `.`, `_` and `-` may be used"
        )));
    }
    let longest = name.len() + metadata.version.len() + "-.tgz.prov".len();
    if longest > MAX_FILE_NAME {
        return Err(Error::invalid(format!(
            "validation: chart.metadata.name and version make a file name of {longest} bytes; at most {MAX_FILE_NAME} can be stored"
        )));
    }
    Ok(())
}

/// Puts Helm's prefix before a failed rule, unless it is there.
fn validation(error: Error) -> Error {
    match error.message().strip_prefix("validation: ") {
        Some(_) => error,
        None => Error::invalid(format!("validation: {}", error.message())),
    }
}

/// Names the subchart that an error is of; of nested ones the innermost.
fn inside(subchart: &str, chart: &str, error: &Error) -> Error {
    if error.message().starts_with("error unpacking subchart") {
        return Error::invalid(error.message());
    }
    Error::invalid(format!(
        "error unpacking subchart {subchart:.200} in {chart:.200}: {:.500}",
        error.message()
    ))
}

fn too_deep(depth: usize) -> Error {
    Error::invalid(format!(
        "chart archive has subcharts nested more than {depth} deep"
    ))
}

/// The first bytes of a path, whole characters only: enough to name it, too little to fill memory.
fn shortened(path: &str) -> String {
    path.chars().take(MAX_SHOWN).collect()
}

const MAX_NAME: usize = 4096;
/// What file systems take.
const MAX_FILE_NAME: usize = 255;
const MAX_SHOWN: usize = 200;

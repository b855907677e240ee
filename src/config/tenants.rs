//! `tenants:`

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::ACTIONS;
use super::limits;
use super::mistakes::{listed, nearest};
use super::registries::{blob_size, manifest_size};
use super::registry_server::members as registry_members;
use super::resolve::required;
use super::section::{Section, Value};
use super::upstreams::Read as Upstreams;
use super::{
    Access, Action, Hosted, HostedRegistry, Index, IndexFields, IndexFormat, Member, Overwrite,
    Rule, Subject, Tenant, units,
};
use crate::chart::Constraint;
use crate::names::{TenantPath, TenantPattern, globs as name_globs};

/// Tenants and patterns of them.
#[derive(Default)]
pub(super) struct Read {
    pub(super) tenants: BTreeMap<TenantPath, Tenant>,
    pub(super) patterns: BTreeMap<TenantPattern, Tenant>,
}

/// All tenants by path, and all patterns; `None` where the file has none.
pub(super) fn read(value: Option<Value<'_>>, upstreams: &Upstreams) -> Option<Read> {
    let mut read = Read::default();
    let (mut paths, mut patterns) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in value?.named() {
        let told = if TenantPattern::is_one(key) {
            TenantPattern::parse(key).map(|pattern| {
                if let Some(other) = twice(&mut patterns, pattern.clone(), key) {
                    value.mistake(format!("fits the same paths as `{other}`; keep one"));
                }
                let root = TenantPath::root();
                if let Some(tenant) = tenant(&root, &value, upstreams) {
                    read.patterns.insert(pattern, tenant);
                }
            })
        } else {
            TenantPath::parse(key).map(|path| {
                if let Some(other) = twice(&mut paths, path.clone(), key) {
                    value.mistake(format!("is the same tenant as `{other}`; keep one"));
                }
                if let Some(tenant) = tenant(&path, &value, upstreams) {
                    read.tenants.insert(path, tenant);
                }
            })
        };
        if let Err(error) = told {
            value.mistake(error.message());
        }
    }
    Some(read)
}

/// Another spelling of the same name that stands in the file already.
fn twice<'c, N: Ord>(
    seen: &mut BTreeMap<N, &'c str>,
    name: N,
    spelling: &'c str,
) -> Option<&'c str> {
    // The same spelling twice is told by whoever opened the section.
    seen.insert(name, spelling)
        .filter(|other| *other != spelling)
}

fn tenant(path: &TenantPath, value: &Value<'_>, upstreams: &Upstreams) -> Option<Tenant> {
    let mut section = value.section()?;
    let hosted = section.take("hosted").and_then(|value| hosted(&value));
    let mut charts = Vec::new();
    let has_charts = section.take("charts").map(|value| {
        for item in value.items() {
            let Some(member) = member(&item, upstreams) else {
                continue;
            };
            if charts.contains(&member) {
                item.mistake(format!("`{}` is listed twice", member.upstream));
            }
            charts.push(member);
        }
    });
    let registries = section
        .take("registries")
        .map(|value| registry_members(path, &value, upstreams));
    if hosted.is_none() && has_charts.is_none() && registries.is_none() {
        section
            .mistake("serves nothing: give `charts` or `registries`, or `hosted: {}` for uploads");
    }
    let index = section
        .take("index")
        .map_or_else(Index::default, |value| index(&value));
    let access = section
        .take("access")
        .map_or_else(Access::default, |value| access(&value));
    let limits = section
        .take("limits")
        .map_or_else(Vec::new, |value| limits::read(&value));
    section.finish();
    Some(Tenant {
        path: path.clone(),
        hosted,
        charts,
        registries: registries.unwrap_or_default(),
        index,
        access,
        limits,
    })
}

/// `false`, `true` (the defaults) or a section.
fn hosted(value: &Value<'_>) -> Option<Hosted> {
    let mut hosted = Hosted {
        overwrite: Overwrite::Force,
        delete: true,
        max_upload: 20 << 20,
        max_objects: 0,
        max_versions: 0,
        registry: HostedRegistry::default(),
    };
    if !value.is_section() {
        return value.parsed(units::boolean)?.then_some(hosted);
    }
    let mut section = value.section()?;
    hosted.overwrite = section.choice(
        "overwrite",
        hosted.overwrite,
        &[
            ("forbid", Overwrite::Forbid),
            ("force", Overwrite::Force),
            ("allow", Overwrite::Allow),
        ],
    );
    hosted.delete = section.boolean("delete", hosted.delete);
    hosted.max_upload = section
        .take("max_upload")
        .and_then(|value| {
            value.parsed(|text| match units::size(text)? {
                0 => Err("more than zero; `hosted: false` switches uploads off".into()),
                size => Ok(size),
            })
        })
        .unwrap_or(hosted.max_upload);
    hosted.max_objects = section.parsed_or("max_objects", hosted.max_objects, count);
    hosted.max_versions = section.parsed_or("max_versions", hosted.max_versions, count);
    let registry = &mut hosted.registry;
    registry.max_blob = section.parsed_or("max_blob", registry.max_blob, blob_size);
    registry.max_manifest = section.parsed_or("max_manifest", registry.max_manifest, manifest_size);
    registry.quota = section.take("quota").and_then(|value| {
        value.parsed(|text| match units::size(text)? {
            0 => Err("more than zero; `hosted: false` switches uploads off".into()),
            size => Ok(size),
        })
    });
    registry.immutable_tags = section.boolean("immutable_tags", registry.immutable_tags);
    section.finish();
    Some(hosted)
}

/// A number of which zero means no bound.
fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "write a whole number, 0 for no limit".into())
}

/// An upstream's name, or a section with filters.
fn member(value: &Value<'_>, upstreams: &Upstreams) -> Option<Member> {
    if !value.is_section() {
        return Some(Member {
            upstream: chart_upstream(value, upstreams)?,
            include: Vec::new(),
            exclude: Vec::new(),
            versions: None,
        });
    }
    let mut section = value.section()?;
    let name = required(&mut section, "upstream", |value| {
        chart_upstream(value, upstreams)
    });
    let include = globs(&mut section, "include");
    let exclude = globs(&mut section, "exclude");
    let versions = section
        .take("versions")
        .and_then(|value| value.parsed(constraint));
    section.finish();
    Some(Member {
        upstream: name?,
        include,
        exclude,
        versions,
    })
}

fn chart_upstream(value: &Value<'_>, upstreams: &Upstreams) -> Option<Arc<str>> {
    let name = upstream(value, upstreams)?;
    if upstreams.registries.get(&name) == Some(&true) {
        value.mistake(format!(
            "`{name}` is a registry; name it under `registries`. Charts of a registry in the index: not supported yet"
        ));
        return None;
    }
    Some(name)
}

/// The upstream that somebody names.
pub(super) fn upstream(value: &Value<'_>, upstreams: &Upstreams) -> Option<Arc<str>> {
    value.parsed(|text| {
        let names = || upstreams.names.iter().map(AsRef::as_ref);
        upstreams
            .names
            .iter()
            .find(|name| name.as_ref() == text)
            .cloned()
            .ok_or_else(|| match nearest(text, names()) {
                Some(near) => format!("no upstream has this name; did you mean `{near}`?"),
                None if upstreams.names.is_empty() => {
                    "no upstream has this name, `upstreams` is empty".into()
                }
                None => format!(
                    "no upstream has this name; there are: {}",
                    listed(names().take(20))
                ),
            })
    })
}

/// Patterns of names.
pub(super) fn globs(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let Some(value) = section.take(key) else {
        return Vec::new();
    };
    let globs: Vec<String> = value
        .items()
        .iter()
        .filter_map(|item| item.parsed(name_pattern))
        .collect();
    globs
}

fn name_pattern(text: &str) -> Result<String, String> {
    match name_globs::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.message().to_owned()),
    }
}

fn constraint(text: &str) -> Result<String, String> {
    Constraint::parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("not a version constraint: {}", error.message()))
}

fn index(value: &Value<'_>) -> Index {
    let mut index = Index::default();
    let Some(mut section) = value.section() else {
        return index;
    };
    index.format = section.choice(
        "format",
        index.format,
        &[("json", IndexFormat::Json), ("yaml", IndexFormat::Yaml)],
    );
    index.fields = section.choice(
        "fields",
        index.fields,
        &[("full", IndexFields::Full), ("slim", IndexFields::Slim)],
    );
    index.keep = section.parsed_or("keep", index.keep, |text| {
        text.parse()
            .map_err(|_| "write how many versions to keep per chart, 0 for all".into())
    });
    index.url = section
        .take("url")
        .and_then(|value| value.parsed(units::plain_url));
    section.finish();
    index
}

fn access(value: &Value<'_>) -> Access {
    let Some(mut section) = value.section() else {
        return Access::default();
    };
    let anonymous = section
        .take("anonymous")
        .map(|value| actions(&value))
        .unwrap_or_default();
    let rules = section
        .take("rules")
        .map(|value| value.items().iter().filter_map(rule).collect())
        .unwrap_or_default();
    section.finish();
    Access { anonymous, rules }
}

fn actions(value: &Value<'_>) -> Vec<Action> {
    value
        .items()
        .iter()
        .filter_map(|item| item.choice(&ACTIONS))
        .collect()
}

fn rule(value: &Value<'_>) -> Option<Rule> {
    let mut section = value.section()?;
    let subjects = required(&mut section, "subjects", |value| {
        let items = value.items();
        if items.is_empty() {
            value.mistake("a rule without subjects is about nobody");
        }
        Some(items.iter().filter_map(subject).collect())
    });
    let has_names = section.has("names");
    let actions = required(&mut section, "actions", |value| {
        if value.items().is_empty() {
            value.mistake("a rule without actions allows nothing");
        }
        let actions = actions(value);
        if has_names && actions.contains(&Action::Admin) {
            value.mistake("`admin` is about the whole tenant; a rule with `names` allows `pull`, `push` and `delete`");
        }
        Some(actions)
    });
    let names = names(&mut section);
    section.finish();
    Some(Rule {
        subjects: subjects?,
        actions: actions?,
        names: names?,
    })
}

/// What a rule is about; nothing stands for everything. `None`: a mistake, which must not make a rule wider.
fn names(section: &mut Section<'_>) -> Option<Vec<String>> {
    let Some(value) = section.take("names") else {
        return Some(Vec::new());
    };
    let items = value.items();
    if items.is_empty() {
        value.mistake("a rule about no name allows nothing; leave `names` out for all");
    }
    let parse = |item: &Value<'_>| item.parsed(name_pattern);
    let names: Vec<_> = items.iter().filter_map(parse).collect();
    (!names.is_empty() && names.len() == items.len()).then_some(names)
}

fn subject(value: &Value<'_>) -> Option<Subject> {
    value.parsed(|text| match text.split_once(':') {
        Some(("user", "*")) => Ok(Subject::AnyUser),
        Some(("user", name)) if !name.is_empty() => Ok(Subject::User(name.to_owned())),
        Some(("group", name)) if !name.is_empty() => Ok(Subject::Group(name.to_owned())),
        Some(("claim", claim)) => {
            super::auth::claim(claim).map(|(name, pattern)| Subject::Claim { name, pattern })
        }
        _ => Err(
            "write `user:NAME`, `group:NAME`, `claim:NAME=GLOB`, or `user:*` for everybody with valid credentials"
                .into(),
        ),
    })
}

//! `chartmuseum:`: what the ChartMuseum API shows and how exactly it is imitated. For the whole process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Tenant;
use super::section::{Context, Section, Value};
use crate::names::{TenantPath, TenantPattern};

/// `chartmuseum:`
#[derive(Clone, Debug, PartialEq)]
pub struct Museum {
    /// Be ChartMuseum where chartgate is otherwise better (`strict`). Default false.
    ///
    /// Needs exactly one tenant: `/` (depth 0), `*`, `*/*`… (depth 1, 2…) or `**` (dynamic depth). Routes are cut at that depth,
    /// so repositories may have any name; an unknown path or method is 404; answers carry ChartMuseum's texts.
    pub strict: bool,
    /// Whether anything is served below `/api` (`api`). Default true.
    pub api: bool,
    /// The form field of archives, besides `chart` (`chart_field`). Default `chart`.
    pub chart_field: String,
    /// The form field of provenance files, besides `prov` (`provenance_field`). Default `prov`.
    pub provenance_field: String,
    /// `Access-Control-Allow-Origin` of API answers (`cors_origin`).
    pub cors_origin: Option<String>,
    /// A folder with `index.html` for `/` and a folder `static` for `/static` (`web_folder`).
    pub web_folder: Option<PathBuf>,
    /// Tenant path -> repository id, for `artifacthub-repo.yml` (`artifact_hub`).
    pub artifact_hub: BTreeMap<String, String>,
    /// `GET /metrics` on the public listeners (`metrics`). Default false.
    pub metrics: bool,
}

impl Default for Museum {
    fn default() -> Self {
        Self {
            strict: false,
            api: true,
            chart_field: "chart".into(),
            provenance_field: "prov".into(),
            cors_origin: None,
            web_folder: None,
            artifact_hub: BTreeMap::new(),
            metrics: false,
        }
    }
}

/// The section; absent keys have their defaults.
pub(super) fn read(value: Option<Value<'_>>) -> Museum {
    let mut museum = Museum::default();
    let Some(mut section) = value.and_then(|value| value.section()) else {
        return museum;
    };
    museum.strict = section.boolean("strict", museum.strict);
    museum.api = section.boolean("api", museum.api);
    museum.chart_field = field(&mut section, "chart_field", museum.chart_field);
    museum.provenance_field = field(&mut section, "provenance_field", museum.provenance_field);
    if museum.chart_field == museum.provenance_field {
        section.mistake("`chart_field` and `provenance_field` are the same; a form needs both");
    }
    museum.cors_origin = section.take("cors_origin").and_then(|value| {
        value.parsed(|text| match text {
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => {
                Ok(text.to_owned())
            }
            _ => Err("write `*` or one origin such as `https://ui.example.com`".into()),
        })
    });
    museum.web_folder = section.take("web_folder").and_then(|value| {
        let folder = value.path_beside_file()?;
        if !folder.is_dir() {
            value.mistake(format!("`{}` is not a folder", folder.display()));
        }
        Some(folder)
    });
    if let Some(value) = section.take("artifact_hub") {
        let repositories = value.named();
        museum.artifact_hub = repositories
            .iter()
            .filter_map(|(path, value)| Some((repository(path, value)?, id(value)?)))
            .collect();
    }
    museum.metrics = section.boolean("metrics", museum.metrics);
    section.finish();
    museum
}

fn field(section: &mut Section<'_>, key: &'static str, default: String) -> String {
    section.parsed_or(key, default, |text| match text {
        "" => Err("a form field needs a name".into()),
        _ => Ok(text.to_owned()),
    })
}

fn repository(path: &str, value: &Value<'_>) -> Option<String> {
    TenantPath::parse_any(path)
        .map(|path| path.as_str().to_owned())
        .map_err(|error| value.mistake(error.message()))
        .ok()
}

fn id(value: &Value<'_>) -> Option<String> {
    value.parsed(|text| {
        if text.is_empty() || text.contains(char::is_control) {
            Err("write the repository id that Artifact Hub shows, on one line".into())
        } else {
            Ok(text.to_owned())
        }
    })
}

/// ChartMuseum has repositories of one kind, at one depth.
pub(super) fn strict_tenants(
    context: &Context<'_>,
    museum: &Museum,
    tenants: &BTreeMap<TenantPath, Tenant>,
    patterns: &BTreeMap<TenantPattern, Tenant>,
) {
    let root = tenants.keys().all(|path| path.as_str().is_empty());
    let depths = patterns
        .keys()
        .all(|pattern| pattern.literal().next().is_none());
    // Without any tenant another mistake was told already.
    if museum.strict && !(root && depths && tenants.len() + patterns.len() <= 1) {
        context.mistake(
            "chartmuseum.strict",
            None,
            "needs exactly one key under `tenants`: `/` (depth 0), `*`, `*/*` and so on (depth 1, 2) or `**` (any depth)",
        );
    }
}

//! `chartmuseum:`: what the ChartMuseum API shows and how exactly it is imitated. For the whole process.

use std::collections::BTreeMap;
use std::path::PathBuf;

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

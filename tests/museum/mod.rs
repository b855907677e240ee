//! ChartMuseum's behaviour, row by row: `chartgate chartmuseum` in its place, and beside it where it is installed.
//!
//! Every case judges our answers by itself. With `CHARTGATE_TOOLS=1` ChartMuseum 0.13.1 gets the same requests, and what it
//! answers must be the same, but for the named differences. `CHARTGATE_CHARTMUSEUM=path` compares with another version (0.16.5).

/// Where ours differs on purpose, and why.
pub(crate) mod differences;
/// Good and broken packages.
pub(crate) mod packages;
/// Two servers, the same requests.
pub(crate) mod pair;
/// Either server in a process.
pub(crate) mod program;

/// Welcome page, static files, artifacthub-repo.yml, health, info, metrics, CORS, request ids.
mod around;
/// Nobody, one user, bearer tokens.
mod auth;
/// What is no chart, and what the uploader is told.
mod broken;
/// helm and its push plugin, for real.
mod clients;
/// curl, in the forms that people write down.
mod curl;
/// DELETE.
mod deletes;
/// index.yaml: document, URLs, forms, and folders that others have written.
mod index;
/// Sizes and counts.
mod limits;
/// Lists, versions, templates and values.
mod reads;
/// ChartMuseum, chartgate, ChartMuseum on the same storage.
mod rollback;
/// Depths, prefixes, context paths, unknown routes.
mod routing;
/// Packages and provenance files, raw and as forms.
mod uploads;
/// `vela addon push`, and addons as packages.
mod vela;

//! Request paths as typed routes.
//!
//! A path is decoded exactly once ([`path`]), the context path is cut off, and what is left is read by one of two readers with
//! the same result: [`native`] for tenants of any depth, [`strict`] as ChartMuseum does. Dot segments, encoded separators and
//! control characters are refused here, so no later layer sees one. Knows nothing about which tenants exist.

mod native;
mod path;
mod strict;

use self::strict::Depth;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::http::Method;
use crate::names::FileName;

/// What a request on a public listener asks for. `tenant` is the decoded path before the route, without slashes at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /T/index.yaml`
    Index {
        /// The tenant's path.
        tenant: String,
    },
    /// `GET /T/charts/<file>`: an archive or a provenance file.
    File {
        /// The tenant's path.
        tenant: String,
        /// The file.
        file: FileName,
    },
    /// `GET /T/charts/<file>` of a name that no file can have; answered only by the strict service.
    OddFile {
        /// The tenant's path.
        tenant: String,
        /// Whether ChartMuseum would look for it.
        looks_like_a_package: bool,
    },
    /// `GET /T/artifacthub-repo.yml`
    ArtifactHub {
        /// The tenant's path.
        tenant: String,
    },
    /// `GET /api/T/charts`: all charts.
    Charts {
        /// The tenant's path.
        tenant: String,
    },
    /// `GET /api/T/charts/<name>`: all versions of a chart.
    Chart {
        /// The tenant's path.
        tenant: String,
        /// The chart's name.
        name: String,
    },
    /// `GET /api/T/charts/<name>/<version>`: one version.
    Version {
        /// The tenant's path.
        tenant: String,
        /// The chart's name.
        name: String,
        /// A version, a constraint or `latest`.
        version: String,
    },
    /// `GET /api/T/charts/<name>/<version>/templates`
    Templates {
        /// The tenant's path.
        tenant: String,
        /// The chart's name.
        name: String,
        /// A version, a constraint or `latest`.
        version: String,
    },
    /// `GET /api/T/charts/<name>/<version>/values`
    Values {
        /// The tenant's path.
        tenant: String,
        /// The chart's name.
        name: String,
        /// A version, a constraint or `latest`.
        version: String,
    },
    /// `POST /api/T/charts`: an archive, a provenance file, or both as a form.
    Upload {
        /// The tenant's path.
        tenant: String,
    },
    /// `POST /api/T/prov`: a provenance file.
    UploadProvenance {
        /// The tenant's path.
        tenant: String,
    },
    /// `DELETE /api/T/charts/<name>/<version>`
    Delete {
        /// The tenant's path.
        tenant: String,
        /// The chart's name.
        name: String,
        /// The version, literally.
        version: String,
    },
    /// `OPTIONS` of an API path, where CORS is configured.
    Preflight,
    /// `GET /static/<path>`
    Static {
        /// The path below the folder, decoded, without dot segments.
        path: String,
    },
    /// `GET /metrics`
    Metrics,
    /// `GET /health`
    Health,
    /// `GET /info`
    Info,
    /// `GET /`
    Welcome,
}

impl Route {
    /// Reads a native route, with the API switched on and nothing optional. See [`Routes::parse`].
    pub fn parse(method: &Method, path: &str) -> Result<Self> {
        Routes::default().parse(method, path)
    }

    /// The tenant that it is about; `None` where it is about none.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Index { tenant }
            | Self::File { tenant, .. }
            | Self::OddFile { tenant, .. }
            | Self::ArtifactHub { tenant }
            | Self::Charts { tenant }
            | Self::Chart { tenant, .. }
            | Self::Version { tenant, .. }
            | Self::Templates { tenant, .. }
            | Self::Values { tenant, .. }
            | Self::Upload { tenant }
            | Self::UploadProvenance { tenant }
            | Self::Delete { tenant, .. } => Some(tenant),
            Self::Preflight
            | Self::Static { .. }
            | Self::Metrics
            | Self::Health
            | Self::Info
            | Self::Welcome => None,
        }
    }

    /// A short name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Index { .. } => "index",
            Self::File { file, .. } if file.is_provenance() => "provenance",
            Self::File { .. } | Self::OddFile { .. } => "archive",
            Self::ArtifactHub { .. } => "artifacthub",
            Self::Charts { .. } => "charts",
            Self::Chart { .. } => "chart",
            Self::Version { .. } => "version",
            Self::Templates { .. } => "templates",
            Self::Values { .. } => "values",
            Self::Upload { .. } => "upload",
            Self::UploadProvenance { .. } => "upload-provenance",
            Self::Delete { .. } => "delete",
            Self::Preflight => "preflight",
            Self::Static { .. } => "static",
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::Info => "info",
            Self::Welcome => "welcome",
        }
    }
}

/// Which routes there are, as the configuration has it.
#[derive(Clone, Debug)]
pub struct Routes<'a> {
    context: &'a str,
    strict: Option<Depth>,
    api: bool,
    delete: bool,
    web: bool,
    artifact_hub: bool,
    metrics: bool,
    cors: bool,
}

impl Default for Routes<'_> {
    fn default() -> Self {
        Self {
            context: "",
            strict: None,
            api: true,
            delete: true,
            web: false,
            artifact_hub: false,
            metrics: false,
            cors: false,
        }
    }
}

impl<'a> Routes<'a> {
    /// The routes of a configuration. Cheap: nothing is copied.
    pub fn of(config: &'a Config) -> Self {
        let museum = &config.museum;
        let only = config
            .tenants
            .values()
            .chain(config.patterns.values())
            .next();
        let depth = || match config.patterns.keys().next() {
            Some(pattern) => pattern.depth().map_or(Depth::Dynamic, Depth::Fixed),
            None => Depth::Fixed(0),
        };
        Self {
            context: &config.server.context_path,
            strict: museum.strict.then(depth),
            api: museum.api,
            delete: !museum.strict
                || only
                    .and_then(|tenant| tenant.hosted.as_ref())
                    .is_some_and(|hosted| hosted.delete),
            web: museum.web_folder.is_some(),
            artifact_hub: !museum.artifact_hub.is_empty(),
            metrics: museum.metrics,
            cors: museum.cors_origin.is_some(),
        }
    }

    /// Reads a route. Errors: `Invalid` for a path that could mean something else to another layer, `NotFound` for one that
    /// means nothing, `MethodNotAllowed` for a known path with another method; in strict mode always `NotFound`.
    pub fn parse(&self, method: &Method, path: &str) -> Result<Route> {
        // Never below the context path, as in ChartMuseum.
        if self.metrics && path == "/metrics" && matches!(*method, Method::GET | Method::HEAD) {
            return Ok(Route::Metrics);
        }
        let parsed = self.read(method, path);
        match (self.strict, parsed) {
            (Some(_), Err(error)) => Err(Error::not_found("not found").with_source(error)),
            (_, parsed) => parsed,
        }
    }

    /// Whether a path is one of the ChartMuseum API, known or not: its errors are JSON, and CORS is about it.
    pub fn is_api(&self, path: &str) -> bool {
        let Ok(decoded) = path::decode(path) else {
            return path.contains("/api/");
        };
        let segments: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        let Some(rest) = path::below(&segments, self.context) else {
            return false;
        };
        match self.strict {
            None => rest.contains(&"api"),
            Some(Depth::Dynamic) => strict::is_api(rest),
            Some(Depth::Fixed(depth)) => {
                strict::is_api(rest) || rest.get(depth).is_some_and(|part| *part == "api")
            }
        }
    }

    fn read(&self, method: &Method, path: &str) -> Result<Route> {
        let decoded = path::decode(path)?;
        // KubeSphere v3 and KubeVela join with an extra slash (`https://gw/t//charts/x.tgz`), so empty segments are skipped;
        // ChartMuseum knows none.
        let segments: Vec<&str> = decoded
            .iter()
            .map(AsRef::as_ref)
            .filter(|segment| self.strict.is_some() || !segment.is_empty())
            .collect();
        let rest = path::below(&segments, self.context).ok_or_else(|| not_found(path))?;
        match self.strict {
            None => native::parse(self, method, rest, path),
            Some(depth) => strict::parse(self, depth, method, rest),
        }
    }
}

/// What follows the tenant below `/api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api<'a> {
    Charts,
    Chart(&'a str),
    Version(&'a str, &'a str),
    Templates(&'a str, &'a str),
    Values(&'a str, &'a str),
    Provenance,
}

impl<'a> Api<'a> {
    fn of(rest: &[&'a str]) -> Option<Self> {
        Some(match *rest {
            ["charts"] => Self::Charts,
            ["charts", name] => Self::Chart(name),
            ["charts", name, version] => Self::Version(name, version),
            ["charts", name, version, "templates"] => Self::Templates(name, version),
            ["charts", name, version, "values"] => Self::Values(name, version),
            ["prov"] => Self::Provenance,
            _ => return None,
        })
    }

    /// The route of a method; `None` where there is none.
    fn route(self, method: &Method, tenant: String) -> Option<Route> {
        let own = |text: &str| text.to_owned();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        Some(match self {
            Self::Charts if reads => Route::Charts { tenant },
            Self::Charts if *method == Method::POST => Route::Upload { tenant },
            Self::Chart(name) if reads => Route::Chart {
                tenant,
                name: own(name),
            },
            Self::Version(name, version) if reads => Route::Version {
                tenant,
                name: own(name),
                version: own(version),
            },
            Self::Version(name, version) if *method == Method::DELETE => Route::Delete {
                tenant,
                name: own(name),
                version: own(version),
            },
            Self::Templates(name, version) if reads => Route::Templates {
                tenant,
                name: own(name),
                version: own(version),
            },
            Self::Values(name, version) if reads => Route::Values {
                tenant,
                name: own(name),
                version: own(version),
            },
            Self::Provenance if *method == Method::POST => Route::UploadProvenance { tenant },
            _ => return None,
        })
    }

    /// The methods that it answers, as `Allow` lists them.
    fn methods(self) -> &'static str {
        match self {
            Self::Charts => "GET, HEAD, POST",
            Self::Version(..) => "GET, HEAD, DELETE",
            Self::Chart(_) | Self::Templates(..) | Self::Values(..) => "GET, HEAD",
            Self::Provenance => "POST",
        }
    }
}

fn not_found(path: &str) -> Error {
    Error::not_found(format!("nothing is served at `{path:.200}`"))
}

#[cfg(test)]
mod tests;

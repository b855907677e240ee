//! Request paths as typed routes.
//!
//! A path is decoded exactly once, segment by segment, and read from its right end, because tenants have any depth.
//! Dot segments, encoded separators and control characters are refused here, so no later layer sees one.
//! Knows nothing about which tenants exist.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::http::Method;
use crate::names::FileName;

/// What a request on a public listener asks for. `tenant` is the decoded path before the route, without slashes at its ends.
#[derive(Debug, PartialEq, Eq)]
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
    /// `GET /health`
    Health,
    /// `GET /info`
    Info,
    /// `GET /`
    Welcome,
}

/// Paths longer than this are refused: no tenant, chart and version together come near it.
const MAX_PATH: usize = 4096;

impl Route {
    /// Reads a route. Errors: `Invalid` for a path that could mean something else to another layer,
    /// `NotFound` for one that means nothing, `MethodNotAllowed` for a known path with another method.
    pub fn parse(method: &Method, path: &str) -> Result<Self> {
        let segments = decode(path)?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let read = |route: Self| {
            if reads {
                Ok(route)
            } else {
                Err(not_allowed(method, path, "GET, HEAD"))
            }
        };
        let write = |wanted: Method, name: &'static str, route: Self| {
            if *method == wanted {
                Ok(route)
            } else {
                Err(not_allowed(method, path, name))
            }
        };
        match segments.as_slice() {
            [] => read(Self::Welcome),
            ["health"] => read(Self::Health),
            ["info"] => read(Self::Info),
            [tenant @ .., "index.yaml"] => read(Self::Index {
                tenant: tenant.join("/"),
            }),
            [tenant @ .., "charts", file]
                if file.ends_with(".tgz") || file.ends_with(".tgz.prov") =>
            {
                let file = FileName::parse(file)?;
                read(Self::File {
                    tenant: tenant.join("/"),
                    file,
                })
            }
            _ => match api(&segments) {
                Some((tenant, ["charts"])) => write(
                    Method::POST,
                    "POST",
                    Self::Upload {
                        tenant: tenant.join("/"),
                    },
                ),
                Some((tenant, ["prov"])) => write(
                    Method::POST,
                    "POST",
                    Self::UploadProvenance {
                        tenant: tenant.join("/"),
                    },
                ),
                Some((tenant, ["charts", name, version])) => write(
                    Method::DELETE,
                    "DELETE",
                    Self::Delete {
                        tenant: tenant.join("/"),
                        name: (*name).to_owned(),
                        version: (*version).to_owned(),
                    },
                ),
                _ => Err(Error::not_found(format!(
                    "nothing is served at `{path:.200}`"
                ))),
            },
        }
    }

    /// A short name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Index { .. } => "index",
            Self::File { file, .. } if file.is_provenance() => "provenance",
            Self::File { .. } => "archive",
            Self::Upload { .. } => "upload",
            Self::UploadProvenance { .. } => "upload-provenance",
            Self::Delete { .. } => "delete",
            Self::Health => "health",
            Self::Info => "info",
            Self::Welcome => "welcome",
        }
    }

    /// Whether errors on this path are rendered as ChartMuseum's JSON.
    pub fn is_museum_path(path: &str) -> bool {
        path.starts_with("/api/") || path.contains("/api/")
    }
}

/// Splits `/api/T…/charts…` and `/T…/api/charts…` into the tenant and the rest, which starts at `charts` or `prov`.
///
/// No tenant segment may be called `api`, `charts` or `prov` where this would be ambiguous (names.rs).
fn api<'a, 's>(segments: &'a [&'s str]) -> Option<(&'a [&'s str], &'a [&'s str])> {
    let starts_rest = |segment: &&str| matches!(*segment, "charts" | "prov");
    if segments.first() == Some(&"api") {
        let rest = segments[1..].iter().position(starts_rest)? + 1;
        return Some((&segments[1..rest], &segments[rest..]));
    }
    let api = segments.iter().position(|segment| *segment == "api")?;
    segments
        .get(api + 1)
        .filter(|segment| starts_rest(segment))?;
    Some((&segments[..api], &segments[api + 1..]))
}

fn decode(path: &str) -> Result<Vec<Cow<'_, str>>> {
    if path.len() > MAX_PATH {
        return Err(Error::invalid(format!(
            "the path is {} bytes long; {MAX_PATH} are allowed",
            path.len()
        )));
    }
    let Some(path) = path.strip_prefix('/') else {
        return Err(Error::invalid(
            "the request target is not a path that starts with `/`",
        ));
    };
    // KubeSphere v3 and KubeVela join with an extra slash (`https://gw/t//charts/x.tgz`), so empty segments are skipped.
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(decode_segment)
        .collect()
}

fn decode_segment(segment: &str) -> Result<Cow<'_, str>> {
    let refuse = |what: &str| {
        Err(Error::invalid(format!(
            "the path segment `{segment:.120}` {what}"
        )))
    };
    if segment.bytes().enumerate().any(|(at, byte)| {
        byte == b'%'
            && !segment
                .as_bytes()
                .get(at + 1..at + 3)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    }) {
        return refuse("has a `%` that no two hexadecimal digits follow");
    }
    let Ok(decoded) = percent_decode_str(segment).decode_utf8() else {
        return refuse("is not UTF-8 after decoding");
    };
    if decoded == "." || decoded == ".." {
        return refuse("is a dot segment; send the path it leads to");
    }
    if decoded
        .chars()
        .any(|c| c == '/' || c == '\\' || c.is_control())
    {
        return refuse("has an encoded separator or control character");
    }
    Ok(decoded)
}

fn not_allowed(method: &Method, path: &str, allowed: &'static str) -> Error {
    Error::method_not_allowed(method.as_str(), path, allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    fn get(path: &str) -> Result<Route> {
        Route::parse(&Method::GET, path)
    }

    fn kind(method: &Method, path: &str) -> ErrorKind {
        Route::parse(method, path).expect_err(path).kind()
    }

    #[test]
    fn indexes_and_files_of_any_depth() {
        assert_eq!(
            get("/index.yaml").expect("root"),
            Route::Index {
                tenant: String::new()
            }
        );
        assert_eq!(
            get("/a/b/c/index.yaml").expect("deep"),
            Route::Index {
                tenant: "a/b/c".into()
            }
        );
        let file = FileName::parse("x-1.0.0+b.tgz").expect("file name");
        for path in [
            "/a/charts/x-1.0.0+b.tgz",
            "/a/charts/x-1.0.0%2Bb.tgz",
            "//a//charts///x-1.0.0+b.tgz",
        ] {
            assert_eq!(
                get(path).expect(path),
                Route::File {
                    tenant: "a".into(),
                    file: file.clone()
                }
            );
        }
    }

    #[test]
    fn both_api_prefixes() {
        for path in ["/api/a/b/charts", "/a/b/api/charts", "/api/a/b/charts/"] {
            let route = Route::parse(&Method::POST, path).expect(path);
            assert_eq!(
                route,
                Route::Upload {
                    tenant: "a/b".into()
                }
            );
        }
        let delete = Route::parse(&Method::DELETE, "/api/charts/nginx/v1.0.0%2B1").expect("delete");
        let expected = Route::Delete {
            tenant: String::new(),
            name: "nginx".into(),
            version: "v1.0.0+1".into(),
        };
        assert_eq!(delete, expected);
        assert_eq!(
            Route::parse(&Method::POST, "/api/prov").expect("prov"),
            Route::UploadProvenance {
                tenant: String::new()
            }
        );
    }

    #[test]
    fn dangerous_paths_are_refused() {
        for path in [
            "/a/../index.yaml",
            "/a/%2e%2e/index.yaml",
            "/a/./index.yaml",
            "/a%2Fb/index.yaml",
            "/a%5cb/index.yaml",
            "/a%00/index.yaml",
            "/a%0a/index.yaml",
            "/%zz/index.yaml",
            "/%f/index.yaml",
            "/%ff/index.yaml",
            "index.yaml",
        ] {
            assert_eq!(kind(&Method::GET, path), ErrorKind::Invalid, "{path}");
        }
        assert_eq!(
            kind(&Method::GET, &format!("/{}/index.yaml", "a".repeat(5000))),
            ErrorKind::Invalid
        );
    }

    #[test]
    fn unknown_paths_and_wrong_methods() {
        assert_eq!(kind(&Method::GET, "/nothing"), ErrorKind::NotFound);
        assert_eq!(kind(&Method::GET, "/charts/x.zip"), ErrorKind::NotFound);
        assert_eq!(
            kind(&Method::POST, "/index.yaml"),
            ErrorKind::MethodNotAllowed("GET, HEAD")
        );
        assert_eq!(
            kind(&Method::PUT, "/api/charts"),
            ErrorKind::MethodNotAllowed("POST")
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_never_yields_a_dot_segment(path in "(/|%2e|%2F|\\.|a|charts|api|index.yaml|\\PC){0,12}") {
            if let Ok(Route::Index { tenant } | Route::File { tenant, .. } | Route::Upload { tenant }) = get(&path) {
                prop_assert!(tenant.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }
    }
}

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
        ErrorKind::MethodNotAllowed("GET, HEAD, POST")
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

/// The routes of the strict service at this depth, with everything switched on.
fn strict(depth: Depth) -> Routes<'static> {
    Routes {
        strict: Some(depth),
        web: true,
        artifact_hub: true,
        metrics: true,
        ..Routes::default()
    }
}

/// A route in short: its label and the parts of its path, or the error's kind.
fn brief(routes: &Routes<'_>, request: &str) -> String {
    let (method, path) = request.split_once(' ').expect("method and path");
    let method = method.parse().expect("a method");
    match routes.parse(&method, path) {
        Ok(route) => {
            let mut text = route.label().to_owned();
            let parts = match &route {
                Route::File { tenant, file } => vec![tenant.clone(), file.to_string()],
                Route::OddFile {
                    tenant,
                    looks_like_a_package,
                } => vec![tenant.clone(), looks_like_a_package.to_string()],
                Route::Chart { tenant, name } => vec![tenant.clone(), name.clone()],
                Route::Version {
                    tenant,
                    name,
                    version,
                }
                | Route::Templates {
                    tenant,
                    name,
                    version,
                }
                | Route::Values {
                    tenant,
                    name,
                    version,
                }
                | Route::Delete {
                    tenant,
                    name,
                    version,
                } => vec![tenant.clone(), name.clone(), version.clone()],
                Route::Static { path } => vec![path.clone()],
                other => other.tenant().map(str::to_owned).into_iter().collect(),
            };
            for part in parts {
                text.push_str(&format!(" [{part}]"));
            }
            text
        }
        Err(error) => {
            if routes.strict.is_some() {
                assert_eq!(error.message(), "not found", "{request}");
            }
            format!("{:?}", error.kind())
        }
    }
}

fn table(routes: &Routes<'_>, rows: &[(&str, &str)]) {
    for (request, expected) in rows {
        assert_eq!(brief(routes, request), *expected, "{request}");
    }
}

#[test]
fn depth_zero_has_one_repository_without_a_name() {
    table(
        &strict(Depth::Fixed(0)),
        &[
            ("GET /", "welcome"),
            ("HEAD /", "NotFound"),
            ("GET /health", "health"),
            ("HEAD /health", "NotFound"),
            ("GET /info", "info"),
            ("GET /metrics", "metrics"),
            ("GET /artifacthub-repo.yml", "artifacthub []"),
            ("GET /static/css/a.css", "static [css/a.css]"),
            ("HEAD /static/css/a.css", "NotFound"),
            ("GET /index.yaml", "index []"),
            ("HEAD /index.yaml", "index []"),
            ("POST /index.yaml", "NotFound"),
            ("GET /charts/x-1.0.0+b.tgz", "archive [] [x-1.0.0+b.tgz]"),
            ("GET /charts/x-1.0.0%2Bb.tgz", "archive [] [x-1.0.0+b.tgz]"),
            ("GET /charts/x-1.tgz.prov", "provenance [] [x-1.tgz.prov]"),
            ("HEAD /charts/x-1.tgz", "NotFound"),
            ("GET /charts/x.zip", "archive [] [false]"),
            ("GET /charts/x.prov", "archive [] [false]"),
            ("GET /charts/xtgz", "archive [] [true]"),
            ("GET /api/charts", "charts []"),
            ("HEAD /api/charts", "NotFound"),
            ("POST /api/charts", "upload []"),
            ("PUT /api/charts", "NotFound"),
            ("OPTIONS /api/charts", "NotFound"),
            ("GET /api/charts/x", "chart [] [x]"),
            ("HEAD /api/charts/x", "chart [] [x]"),
            ("GET /api/charts/x.yaml", "chart [] [x.yaml]"),
            ("GET /api/charts/x/1.0.0+b", "version [] [x] [1.0.0+b]"),
            ("HEAD /api/charts/x/%5E1", "version [] [x] [^1]"),
            ("DELETE /api/charts/x/v1", "delete [] [x] [v1]"),
            ("GET /api/charts/x/1/templates", "templates [] [x] [1]"),
            ("HEAD /api/charts/x/1/templates", "NotFound"),
            ("GET /api/charts/x/1/values", "values [] [x] [1]"),
            ("POST /api/prov", "upload-provenance []"),
            ("GET /api/prov", "NotFound"),
            ("GET /api", "NotFound"),
            ("GET /nope", "NotFound"),
            ("GET /index.yaml/", "NotFound"),
            ("GET //index.yaml", "NotFound"),
            ("GET /a/index.yaml", "NotFound"),
            ("GET /api/charts/a/b/c", "NotFound"),
        ],
    );
}

#[test]
fn deeper_repositories_may_have_any_name_and_have_everything_below_them_too() {
    table(
        &strict(Depth::Fixed(1)),
        &[
            ("GET /", "welcome"),
            ("GET /org", "welcome"),
            ("GET /org/", "welcome"),
            ("GET /info", "info"),
            ("GET /artifacthub-repo.yml", "artifacthub []"),
            ("GET /org/artifacthub-repo.yml", "artifacthub [org]"),
            ("GET /org/health", "health"),
            ("GET /org/info", "info"),
            ("GET /org/index.yaml", "index [org]"),
            ("GET /api/index.yaml", "index [api]"),
            ("GET /health/index.yaml", "index [health]"),
            ("GET /charts/index.yaml", "index [charts]"),
            ("GET /api/charts/x-1.tgz", "archive [api] [x-1.tgz]"),
            ("GET /charts/charts/x-1.tgz", "archive [charts] [x-1.tgz]"),
            ("GET /api/org/charts", "charts [org]"),
            ("GET /org/api/charts", "charts [org]"),
            ("GET /api/api/charts", "charts [api]"),
            ("POST /org/api/charts", "upload [org]"),
            ("POST /org/api/prov", "upload-provenance [org]"),
            ("DELETE /org/api/charts/x/1", "delete [org] [x] [1]"),
            ("GET /org/api/charts/x.yaml", "chart [org] [x.yaml]"),
            ("GET /api/org/charts/prov", "chart [org] [prov]"),
            ("GET /api/charts", "NotFound"),
            ("GET /api/info", "NotFound"),
            ("GET /index.yaml", "welcome"),
            ("GET /a/b/index.yaml", "NotFound"),
            ("GET /a//index.yaml", "NotFound"),
        ],
    );
    table(
        &strict(Depth::Fixed(2)),
        &[
            ("GET /a/b", "welcome"),
            ("GET /a", "NotFound"),
            ("GET /a/b/index.yaml", "index [a/b]"),
            ("GET /api/charts/index.yaml", "index [api/charts]"),
            ("GET /api/a/b/charts/charts", "chart [a/b] [charts]"),
            ("GET /a/b/api/charts/x/1/values", "values [a/b] [x] [1]"),
            ("GET /api/api/charts/charts", "charts [api/charts]"),
            ("GET /a/index.yaml", "welcome"),
        ],
    );
}

#[test]
fn at_dynamic_depth_the_first_shape_that_fits_decides() {
    table(
        &strict(Depth::Dynamic),
        &[
            ("GET /", "welcome"),
            ("GET /x", "NotFound"),
            ("GET /x/health", "NotFound"),
            ("GET /info", "info"),
            ("GET /index.yaml", "index []"),
            ("GET /a/b/c/index.yaml", "index [a/b/c]"),
            ("GET /a/charts/x-1.tgz", "archive [a] [x-1.tgz]"),
            ("GET /api/charts", "charts []"),
            ("GET /api/a/b/charts", "charts [a/b]"),
            ("GET /api/a/charts/charts", "charts [a/charts]"),
            ("GET /api/a/charts/charts/1", "chart [a/charts] [1]"),
            ("GET /api/a/charts/x/1", "version [a] [x] [1]"),
            ("GET /api/a/charts/x/1/values", "values [a] [x] [1]"),
            ("GET /api/a/charts/prov", "chart [a] [prov]"),
            ("POST /api/a/charts/prov", "NotFound"),
            ("POST /api/a/prov", "upload-provenance [a]"),
            ("POST /api/prov", "upload-provenance []"),
            ("GET /a/api/charts", "NotFound"),
            ("GET /api/index.yaml", "index [api]"),
        ],
    );
}

#[test]
fn dangerous_paths_are_unknown_to_the_strict_service() {
    for depth in [Depth::Fixed(0), Depth::Fixed(1), Depth::Dynamic] {
        for path in [
            "/../index.yaml",
            "/%2e%2e/index.yaml",
            "/a/./index.yaml",
            "/a%2Fb/index.yaml",
            "/a%5cb/index.yaml",
            "/%zz/index.yaml",
            "/static/../index.html",
            "/static/%2e%2e/x",
        ] {
            let request = format!("GET {path}");
            assert_eq!(brief(&strict(depth), &request), "NotFound", "{path}");
        }
    }
}

#[test]
fn what_is_switched_off_is_not_there() {
    let off = Routes {
        api: false,
        delete: false,
        web: false,
        artifact_hub: false,
        metrics: false,
        ..strict(Depth::Fixed(0))
    };
    table(
        &off,
        &[
            ("GET /api/charts", "NotFound"),
            ("POST /api/charts", "NotFound"),
            ("GET /static/x", "NotFound"),
            ("GET /artifacthub-repo.yml", "NotFound"),
            ("GET /metrics", "NotFound"),
            ("GET /index.yaml", "index []"),
            ("GET /charts/x-1.tgz", "archive [] [x-1.tgz]"),
        ],
    );
    let kept = Routes {
        delete: false,
        ..strict(Depth::Fixed(0))
    };
    table(
        &kept,
        &[
            ("DELETE /api/charts/x/1", "NotFound"),
            ("GET /api/charts/x/1", "version [] [x] [1]"),
        ],
    );
}

#[test]
fn everything_but_metrics_is_below_the_context_path() {
    for routes in [
        strict(Depth::Fixed(1)),
        Routes {
            metrics: true,
            ..Routes::default()
        },
    ] {
        let routes = Routes {
            context: "/helm/x",
            ..routes
        };
        table(
            &routes,
            &[
                ("GET /helm/x", "welcome"),
                ("GET /helm/x/", "welcome"),
                ("GET /helm/x/health", "health"),
                ("GET /health", "NotFound"),
                ("GET /helm", "NotFound"),
                ("GET /helm/xy/index.yaml", "NotFound"),
                ("GET /helm/x/org/index.yaml", "index [org]"),
                ("GET /helm/x/helm/index.yaml", "index [helm]"),
                ("GET /helm/x/api/org/charts", "charts [org]"),
                ("GET /helm/x/org/api/charts", "charts [org]"),
                ("GET /api/org/charts", "NotFound"),
                ("GET /%68elm/x/org/index.yaml", "index [org]"),
                ("GET /metrics", "metrics"),
            ],
        );
        assert!(routes.is_api("/helm/x/api/org/nonsense"));
        assert!(routes.is_api("/helm/x/org/api/charts"));
        assert!(!routes.is_api("/api/org/charts"));
        assert!(!routes.is_api("/helm/x/org/index.yaml"));
    }
}

#[test]
fn native_tenants_have_the_whole_api_on_both_sides() {
    let routes = Routes {
        web: true,
        artifact_hub: true,
        ..Routes::default()
    };
    table(
        &routes,
        &[
            ("GET /api/a/b/charts", "charts [a/b]"),
            ("HEAD /a/b/api/charts", "charts [a/b]"),
            ("GET /api/a/charts/x", "chart [a] [x]"),
            ("GET /a/api/charts/charts", "chart [a] [charts]"),
            ("GET /a/api/charts/x.tgz", "chart [a] [x.tgz]"),
            ("GET /a/api/charts/x/latest", "version [a] [x] [latest]"),
            ("GET /api/a/charts/x/1/templates", "templates [a] [x] [1]"),
            ("HEAD /api/a/charts/x/1/values", "values [a] [x] [1]"),
            ("GET /api/prov/charts", "charts [prov]"),
            ("POST /api/a/prov", "upload-provenance [a]"),
            ("POST /a/api/prov", "upload-provenance [a]"),
            ("GET /a/artifacthub-repo.yml", "artifacthub [a]"),
            ("GET /static/a.css", "static [a.css]"),
            ("GET /static", "NotFound"),
            ("GET /metrics", "NotFound"),
            ("GET /api/a/nothing", "NotFound"),
            ("PUT /api/a/charts/x", "MethodNotAllowed(\"GET, HEAD\")"),
            (
                "POST /api/a/charts/x/1",
                "MethodNotAllowed(\"GET, HEAD, DELETE\")",
            ),
            ("GET /api/a/prov", "MethodNotAllowed(\"POST\")"),
            (
                "OPTIONS /api/a/charts",
                "MethodNotAllowed(\"GET, HEAD, POST\")",
            ),
        ],
    );
    let with_cors = Routes {
        cors: true,
        ..Routes::default()
    };
    table(
        &with_cors,
        &[
            ("OPTIONS /api/a/charts", "preflight"),
            ("OPTIONS /a/api/charts/x/1", "preflight"),
            ("OPTIONS /a/index.yaml", "MethodNotAllowed(\"GET, HEAD\")"),
        ],
    );
    let without = Routes {
        api: false,
        ..Routes::default()
    };
    table(&without, &[("GET /api/a/charts", "NotFound")]);
}

proptest! {
    #[test]
    fn the_strict_service_never_yields_a_strange_segment(path in "(/|%2e|%2F|\\.|a|charts|api|prov|index.yaml|\\PC){0,12}", depth in 0_usize..4) {
        let depth = if depth == 3 { Depth::Dynamic } else { Depth::Fixed(depth) };
        if let Ok(route) = strict(depth).parse(&Method::GET, &path)
            && let Some(tenant) = route.tenant()
        {
            let wrong = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
            prop_assert!(tenant.is_empty() || !tenant.split('/').any(wrong), "{tenant:?}");
        }
    }
}

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

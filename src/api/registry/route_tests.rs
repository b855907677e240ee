use proptest::prelude::*;

use super::*;

const SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const BASES: [&str; 5] = ["acme", "acme/hub", "team/x", "team/x/ghcr.io", "acme/v2"];

/// As the gateway finds them.
fn longest_base(path: &str) -> Option<usize> {
    let lengths = BASES.iter().map(|base| base.len());
    let fits = |length: &usize| {
        let rest = path
            .get(length + 1..)
            .and_then(|rest| rest.strip_prefix("/v2"));
        BASES.contains(&path.get(1..=*length).unwrap_or_default())
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    lengths.filter(fits).max()
}

fn parse_below(
    context: &str,
    method: &Method,
    target: &str,
) -> Option<Result<RegistryRoute, Failure>> {
    let routes = RegistryRoutes {
        context,
        base: &longest_base,
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    routes.parse(method, path, query)
}

fn parse(method: &Method, target: &str) -> Option<Result<RegistryRoute, Failure>> {
    parse_below("", method, target)
}

fn found(method: &Method, target: &str) -> RegistryRoute {
    let route = parse(method, target).unwrap_or_else(|| panic!("`{target}` is a registry's"));
    route.unwrap_or_else(|refused| panic!("{target}: {refused:?}"))
}

fn refused(method: &Method, target: &str) -> (ErrorKind, About) {
    let route = parse(method, target).unwrap_or_else(|| panic!("`{target}` is a registry's"));
    let refused = route.expect_err(target);
    (refused.error.kind(), refused.about)
}

fn digest() -> Digest {
    SHA256.parse().expect("a digest")
}

fn tagged(text: &str) -> Reference {
    Reference::parse(text).expect("a reference")
}

#[test]
fn every_call() {
    let own = |text: &str| text.to_owned();
    let table: Vec<(Method, String, &str, Call)> = vec![
        (Method::GET, own("/v2"), "", Call::Ping),
        (Method::HEAD, own("/v2/"), "", Call::Ping),
        (Method::GET, own("/v2/_catalog"), "", Call::Catalog),
        (Method::GET, own("/v2/a/tags/list"), "a", Call::Tags),
        (
            Method::GET,
            format!("/v2/a/b/referrers/{SHA256}"),
            "a/b",
            Call::Referrers(digest()),
        ),
        (
            Method::HEAD,
            own("/v2/a/manifests/v1.0"),
            "a",
            Call::ReadManifest(tagged("v1.0")),
        ),
        (
            Method::GET,
            format!("/v2/a/manifests/{}", SHA256.replace(':', "%3A")),
            "a",
            Call::ReadManifest(tagged(SHA256)),
        ),
        (
            Method::PUT,
            own("/v2/a/manifests/V1"),
            "a",
            Call::PushManifest(tagged("V1")),
        ),
        (
            Method::DELETE,
            own("/v2/a/manifests/x"),
            "a",
            Call::DeleteManifest(tagged("x")),
        ),
        (
            Method::GET,
            format!("/v2/a/blobs/{SHA256}"),
            "a",
            Call::ReadBlob(digest()),
        ),
        (
            Method::DELETE,
            format!("/v2/a/blobs/{SHA256}"),
            "a",
            Call::DeleteBlob(digest()),
        ),
        (
            Method::POST,
            own("/v2/a/b/blobs/uploads/"),
            "a/b",
            Call::StartUpload,
        ),
        (
            Method::POST,
            own("/v2/a/b/blobs/uploads"),
            "a/b",
            Call::StartUpload,
        ),
        (
            Method::PATCH,
            own("/v2/a/blobs/uploads/0f"),
            "a",
            Call::AppendUpload(own("0f")),
        ),
        (
            Method::PUT,
            own("/v2/a/blobs/uploads/0f?digest=x"),
            "a",
            Call::FinishUpload(own("0f")),
        ),
        (
            Method::GET,
            own("/v2/a/blobs/uploads/0f?digest=x"),
            "a",
            Call::UploadStatus(own("0f")),
        ),
        (
            Method::DELETE,
            own("/v2/a/blobs/uploads/0f"),
            "a",
            Call::CancelUpload(own("0f")),
        ),
    ];
    for (method, target, name, call) in table {
        let route = found(&method, &target);
        assert_eq!(
            (route.spelling.name(), &route.call, route.base.as_str()),
            (name, &call, ""),
            "{method} {target}"
        );
    }
}

#[test]
fn repositories_may_be_called_like_calls() {
    for (method, target, name) in [
        (
            Method::GET,
            "/v2/manifests/manifests/manifests",
            "manifests",
        ),
        (Method::GET, "/v2/v2/tags/list/tags/list", "v2/tags/list"),
        (
            Method::GET,
            "/v2/a/blobs/uploads/tags/list",
            "a/blobs/uploads",
        ),
        (
            Method::GET,
            "/v2/a/blobs/uploads/manifests/x",
            "a/blobs/uploads",
        ),
        (
            Method::POST,
            "/v2/blobs/uploads/blobs/uploads/",
            "blobs/uploads",
        ),
        (Method::POST, "/v2/blobs/blobs/uploads", "blobs"),
        (Method::GET, "/v2/tags/tags/list", "tags"),
        (Method::PATCH, "/v2/uploads/blobs/uploads/00", "uploads"),
        (Method::GET, "/v2/a/manifests/uploads", "a"),
        (Method::GET, "/v2/a/tags/manifests/list", "a/tags"),
        (Method::GET, "/v2/token/manifests/x", "token"),
    ] {
        assert_eq!(found(&method, target).spelling.name(), name, "{target}");
    }
    let blob = format!("/v2/a/blobs/uploads/blobs/{SHA256}");
    assert_eq!(
        found(&Method::GET, &blob).spelling.name(),
        "a/blobs/uploads"
    );
}

#[test]
fn bases_are_those_that_are_configured() {
    for (target, base, name) in [
        ("/v2/acme/hub/nginx/tags/list", "", "acme/hub/nginx"),
        ("/acme/v2/nginx/tags/list", "acme", "nginx"),
        (
            "/acme/hub/v2/library/nginx/tags/list",
            "acme/hub",
            "library/nginx",
        ),
        ("/acme/hub/v2/a/v2/b/tags/list", "acme/hub", "a/v2/b"),
        ("/acme/hub/v2/v2/tags/list", "acme/hub", "v2"),
        // The longest wins, as everywhere.
        ("/acme/v2/v2/x/tags/list", "acme/v2", "x"),
        ("/team/x/ghcr.io/v2/o/r/tags/list", "team/x/ghcr.io", "o/r"),
        ("/%61cme/%762/nginx/tags/list", "acme", "nginx"),
    ] {
        let route = found(&Method::GET, target);
        assert_eq!(
            (route.base.as_str(), route.spelling.name()),
            (base, name),
            "{target}"
        );
    }
    for target in ["/acme/v2", "/acme/v2/", "/acme/hub/v2/", "/team/x/v2/"] {
        assert_eq!(found(&Method::GET, target).call, Call::Ping, "{target}");
    }
    for target in [
        "/",
        "/acme/index.yaml",
        "/nobody/v2/nginx/tags/list",
        "/acme/hub2/v2/nginx/tags/list",
        "/acme/hub/v22/nginx/tags/list",
        "/acme/hub/V2/",
        "//v2/",
        "v2/",
        "/acme//v2/",
        "/x%2Fv2/",
        "",
    ] {
        assert!(parse(&Method::GET, target).is_none(), "{target}");
    }
}

#[test]
fn the_context_path_stands_in_front_where_clients_can_put_it() {
    for (target, base, prefix) in [
        ("/v2/a/tags/list", "", "/v2"),
        ("/ctx/v2/a/tags/list", "", "/ctx/v2"),
        ("/ctx/acme/v2/a/tags/list", "acme", "/ctx/acme/v2"),
    ] {
        let route = parse_below("/ctx", &Method::GET, target)
            .expect(target)
            .expect(target);
        assert_eq!(route.base, base, "{target}");
        let expected = format!("{prefix}/a/blobs/{SHA256}");
        assert_eq!(route.spelling.blob(&digest()), expected, "{target}");
    }
    assert!(parse_below("/ctx", &Method::GET, "/acme/v2/a/tags/list").is_none());
    assert!(parse_below("/ctx", &Method::GET, "/ctxv2/a/tags/list").is_none());
}

#[test]
fn namespaces() {
    for (target, ns) in [
        ("/v2/a/tags/list", None),
        ("/v2/a/tags/list?ns=docker.io", Some("docker.io")),
        ("/v2/a/tags/list?n=1&ns=r%3A5000&ns=b", Some("r:5000")),
        ("/v2/a/tags/list?ns=", None),
        ("/v2/a/tags/list?nsx=b", None),
    ] {
        assert_eq!(found(&Method::GET, target).spelling.ns(), ns, "{target}");
    }
}

#[test]
fn what_no_path_may_have() {
    let name = (ErrorKind::Invalid, About::Repository);
    for target in [
        "/v2//a/tags/list",
        "/v2/a//tags/list",
        "/v2//",
        "/v2/a/manifests/",
        "/v2/a/./tags/list",
        "/v2/../a/tags/list",
        "/v2/%2e%2e/tags/list",
        "/v2/a%2Fb/tags/list",
        "/v2/a%2fb/tags/list",
        "/v2/a%5Cb/tags/list",
        "/v2/a\\b/tags/list",
        "/v2/a%00/tags/list",
        "/v2/a%0d%0aX:1/tags/list",
        "/v2/a%/tags/list",
        "/v2/a%4/tags/list",
        "/v2/%ff/tags/list",
        "/acme/v2/a%2Fb/tags/list",
        "/v2/a/b/blobs/uploads//",
        "/v2/tags/list",
        "/v2/manifests/x",
        "/v2/blobs/uploads/00",
        "/v2/a/tags/list/",
    ] {
        assert_eq!(refused(&Method::GET, target), name, "{target}");
    }
    assert_eq!(refused(&Method::POST, "/v2/blobs/uploads"), name);
    let long = format!("/v2/{}/tags/list", "a/".repeat(1100));
    assert_eq!(refused(&Method::GET, &long), name);
    let long = format!("/acme/v2/{}/tags/list", "a/".repeat(1100));
    assert_eq!(refused(&Method::GET, &long), name);
    // Decoded once only.
    let route = found(&Method::GET, "/v2/a%252Fb/tags/list");
    assert_eq!(route.spelling.name(), "a%2Fb");
}

#[test]
fn references_and_digests() {
    let digest = (ErrorKind::Invalid, About::Digest);
    for target in [
        "/v2/a/manifests/sha256:baddigeststring",
        "/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e",
        "/v2/a/blobs/latest",
        "/v2/a/blobs/sha256:",
        "/v2/a/referrers/latest",
        "/v2/a/referrers/sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    ] {
        assert_eq!(refused(&Method::GET, target), digest, "{target}");
    }
    for tag in [".INVALID_MANIFEST_NAME", "-x", "a b", &"x".repeat(129)] {
        let target = format!("/v2/a/manifests/{}", tag.replace(' ', "%20"));
        let absent = (ErrorKind::NotFound, About::Manifest);
        assert_eq!(refused(&Method::GET, &target), absent, "{target}");
        let invalid = (ErrorKind::Invalid, About::Manifest);
        assert_eq!(refused(&Method::PUT, &target), invalid, "{target}");
    }
}

#[test]
fn other_methods_and_other_paths() {
    for (method, target, allowed) in [
        (Method::POST, "/v2/", "GET, HEAD"),
        (Method::PUT, "/v2/_catalog", "GET, HEAD"),
        (Method::DELETE, "/v2/a/tags/list", "GET, HEAD"),
        (Method::POST, "/v2/a/manifests/x", "GET, HEAD, PUT, DELETE"),
        (Method::PATCH, "/v2/a/blobs/x", "GET, HEAD, DELETE"),
        (Method::GET, "/v2/a/blobs/uploads/", "POST"),
        (Method::GET, "/v2/a/blobs/uploads", "POST"),
        (
            Method::POST,
            "/v2/a/blobs/uploads/00",
            "GET, HEAD, PATCH, PUT, DELETE",
        ),
        (Method::OPTIONS, "/v2/a/referrers/x", "GET, HEAD"),
    ] {
        let kind = ErrorKind::MethodNotAllowed(allowed);
        assert_eq!(
            refused(&method, target),
            (kind, About::Repository),
            "{method} {target}"
        );
    }
    for target in [
        "/v2/a",
        "/v2/a/b/c",
        "/v2/a/uploads/x",
        "/v2/a/_catalog",
        "/v2/list",
    ] {
        let absent = (ErrorKind::NotFound, About::Repository);
        assert_eq!(refused(&Method::GET, target), absent, "{target}");
    }
}

proptest! {
    /// Whatever is sent below `/v2/`, an answer of the registry comes of it, and what is taken is clean.
    #[test]
    fn nothing_slips_through(tail in "[a-z%/.:\\\\_20fFeEcC-]{0,60}", method in 0..5_usize) {
        let method = [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE][method].clone();
        let target = format!("/v2/{tail}");
        match parse(&method, &target) {
            None => prop_assert!(false, "`{target}` is a registry's"),
            Some(Err(_)) => {}
            Some(Ok(route)) => {
                let name = route.spelling.name();
                let is_bare = matches!(route.call, Call::Ping | Call::Catalog);
                prop_assert_eq!(name.is_empty(), is_bare);
                prop_assert!(is_bare || name.split('/').all(|part| !matches!(part, "" | "." | "..")));
                prop_assert!(!name.contains('\\'));
            }
        }
    }

    /// What is rendered for a name leads back to it.
    #[test]
    fn locations_lead_back(name in "[a-z0-9]{1,3}(/(blobs|uploads|tags|list|manifests|v2|[a-z0-9]{1,3})){0,4}", base in 0..BASES.len() + 1, ns in proptest::option::of("[a-z.]{1,8}(:[0-9]{1,4})?")) {
        let prefix = BASES.get(base).map_or_else(|| "/v2".to_owned(), |base| format!("/{base}/v2"));
        let spelling = Spelling::new(&prefix, &name, ns);
        for (method, target, call) in [
            (Method::GET, spelling.manifest(&digest()), Call::ReadManifest(digest().into())),
            (Method::GET, spelling.blob(&digest()), Call::ReadBlob(digest())),
            (Method::PUT, spelling.upload("ab12"), Call::FinishUpload("ab12".to_owned())),
            (Method::GET, spelling.next_tags(3, "x"), Call::Tags),
            (Method::GET, spelling.next_referrers(&digest(), None, &digest()), Call::Referrers(digest())),
        ] {
            // Where a repository's name goes on like a longer base does, the base wins; nobody configures that.
            let route = found(&method, &target);
            prop_assume!(prefix != "/acme/v2" || !name.starts_with("v2"));
            prop_assert_eq!(&route.call, &call);
            prop_assert_eq!(&route.spelling, &spelling);
        }
    }
}

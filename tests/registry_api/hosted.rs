use serde_json::json;

use super::{
    IMAGE, INDEX, assert_error, hosting, image, open_hosting, push_blob, push_image, push_manifest,
    sha256, sha512,
};
use crate::support::gateway::Gateway;
use crate::support::http::Call;

const REPOSITORY: &str = "/v2/acme/team/app";

/// end-1
#[test]
fn the_door() {
    let gateway = hosting();
    for path in ["/v2/", "/v2", "/acme/v2/", "/acme/v2"] {
        let reply = gateway.get(path).expect(200);
        assert_eq!(reply.text(), "{}");
        assert_eq!(
            reply.header("docker-distribution-api-version"),
            Some("registry/2.0")
        );
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let head = gateway.send(&Call::new("HEAD", path)).expect(200);
        assert_eq!(head.header("content-length"), Some("2"));
    }
    // Charts are where they were.
    assert_eq!(gateway.get("/acme/index.yaml").status, 200);
}

/// end-2, end-3: what was pushed comes back byte for byte, with its type and digest, for GET and HEAD.
#[test]
fn what_is_pushed_comes_back() {
    let gateway = hosting();
    let layer: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let (text, digest) = push_image(&gateway, REPOSITORY, "v1.0", &layer);
    for reference in ["v1.0", digest.as_str(), &digest.replace(':', "%3A")] {
        let path = format!("{REPOSITORY}/manifests/{reference}");
        // Whatever the client would rather have.
        let call = Call::get(&path).header("Accept", "text/html");
        let reply = gateway
            .send(&call.header("Accept-Encoding", "gzip, zstd"))
            .expect(200);
        assert_eq!(reply.body, text);
        let head = gateway.send(&Call::new("HEAD", &path)).expect(200);
        for one in [&reply, &head] {
            assert_eq!(one.header("content-type"), Some(IMAGE));
            assert_eq!(
                one.header("content-length"),
                Some(text.len().to_string().as_str())
            );
            assert_eq!(one.header("docker-content-digest"), Some(digest.as_str()));
            assert_eq!(one.header("etag"), Some(format!("\"{digest}\"").as_str()));
            assert_eq!(one.header("content-encoding"), None);
            assert_eq!(one.header("x-cache"), Some("hosted"));
            assert_eq!(
                one.header("docker-distribution-api-version"),
                Some("registry/2.0")
            );
        }
        let same = Call::get(&path).header("If-None-Match", &format!("\"{digest}\""));
        gateway.send(&same).expect(304);
    }
    let path = format!("{REPOSITORY}/blobs/{}", sha256(&layer));
    let reply = gateway.get(&path).expect(200);
    assert_eq!(reply.body, layer);
    let head = gateway.send(&Call::new("HEAD", &path)).expect(200);
    for one in [&reply, &head] {
        assert_eq!(one.header("content-type"), Some("application/octet-stream"));
        assert_eq!(one.header("content-length"), Some("400000"));
        assert_eq!(
            one.header("docker-content-digest"),
            Some(sha256(&layer).as_str())
        );
        assert_eq!(one.header("accept-ranges"), Some("bytes"));
    }
    let part = gateway
        .send(&Call::get(&path).header("Range", "bytes=-5"))
        .expect(206);
    assert_eq!(part.body, layer[399_995..]);
    assert_eq!(
        part.header("content-range"),
        Some("bytes 399995-399999/400000")
    );
    let beyond = gateway.send(&Call::get(&path).header("Range", "bytes=500-0"));
    assert_error(&beyond, 416, "SIZE_INVALID");
    assert_eq!(beyond.header("content-range"), Some("bytes */400000"));
    // A manifest is a blob, too.
    let bytes = gateway
        .get(&format!("{REPOSITORY}/blobs/{digest}"))
        .expect(200);
    assert_eq!(bytes.body, text);
}

/// end-7a, end-7b
#[test]
fn manifests_are_pushed_under_tags_and_digests() {
    let gateway = hosting();
    push_blob(&gateway, REPOSITORY, b"{}");
    push_blob(&gateway, REPOSITORY, b"layer");
    let (text, digest) = image(b"{}", &[b"layer"]);
    let tagged = push_manifest(&gateway, REPOSITORY, "a", &text);
    assert_eq!(
        tagged.header("location"),
        Some(format!("{REPOSITORY}/manifests/{digest}").as_str())
    );
    assert_eq!(
        tagged.header("docker-content-digest"),
        Some(digest.as_str())
    );
    assert_eq!(tagged.header("oci-subject"), None);
    let named: Vec<String> = (0..12).map(|number| format!("t{number}")).collect();
    let query = format!("{digest}?tag={}&tag=t3", named.join("&tag="));
    let many = push_manifest(&gateway, REPOSITORY, &query, &text);
    assert_eq!(many.header("oci-tag"), Some(named.join(", ").as_str()));
    for tag in named {
        let reply = gateway
            .get(&format!("{REPOSITORY}/manifests/{tag}"))
            .expect(200);
        assert_eq!(reply.header("docker-content-digest"), Some(digest.as_str()));
    }
    // Under the other algorithm, too; then that is its name.
    let long = sha512(&text);
    let other = push_manifest(&gateway, REPOSITORY, &long, &text);
    assert_eq!(other.header("docker-content-digest"), Some(long.as_str()));
    let reply = gateway
        .get(&format!("{REPOSITORY}/manifests/{long}"))
        .expect(200);
    assert_eq!(
        (reply.header("docker-content-digest"), reply.body.clone()),
        (Some(long.as_str()), text)
    );
}

#[test]
fn manifests_that_are_none_are_refused() {
    let gateway = hosting();
    push_blob(&gateway, REPOSITORY, b"{}");
    let (text, digest) = image(b"{}", &[]);
    let (missing, _) = image(b"{}", &[b"nobody sent this"]);
    let other = sha256(b"other");
    let put = |reference: &str, media_type: &str, body: &[u8]| {
        let path = format!("{REPOSITORY}/manifests/{reference}");
        let call = Call::new("PUT", &path).header("Content-Type", media_type);
        gateway.send(&call.body(body))
    };
    assert_error(&put("x", IMAGE, &missing), 400, "MANIFEST_BLOB_UNKNOWN");
    assert_error(&put("x", IMAGE, b"no json"), 400, "MANIFEST_INVALID");
    assert_error(&put("x", INDEX, &text), 400, "MANIFEST_INVALID");
    assert_error(&put("x", "text/plain", &text), 400, "MANIFEST_INVALID");
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert_error(&put("x", old, b"{}"), 400, "MANIFEST_INVALID");
    assert_error(&put(&other, IMAGE, &text), 400, "DIGEST_INVALID");
    assert_error(
        &put("sha256:baddigeststring", IMAGE, &text),
        400,
        "DIGEST_INVALID",
    );
    assert_error(&put("-x", IMAGE, &text), 400, "MANIFEST_INVALID");
    assert_error(
        &put(&format!("{digest}?tag=.x"), IMAGE, &text),
        400,
        "MANIFEST_INVALID",
    );
    let tags: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let too_many = format!("{digest}?tag={}", tags.join("&tag="));
    assert_error(&put(&too_many, IMAGE, &text), 414, "MANIFEST_INVALID");
    let huge = vec![b' '; (8 << 20) + 1];
    assert_error(&put("x", IMAGE, &huge), 413, "MANIFEST_INVALID");
    // Nothing of all this is there.
    let absent = gateway.get(&format!("{REPOSITORY}/manifests/x"));
    assert_error(&absent, 404, "MANIFEST_UNKNOWN");
    push_manifest(&gateway, REPOSITORY, "x", &text);
}

/// end-8
#[test]
fn tags_are_listed_page_by_page() {
    let gateway = hosting();
    let list = |query: &str| gateway.get(&format!("{REPOSITORY}/tags/list{query}"));
    assert_error(&list(""), 404, "NAME_UNKNOWN");
    let (text, _) = push_image(&gateway, REPOSITORY, "b", b"layer");
    for tag in ["a", "C", "latest"] {
        push_manifest(&gateway, REPOSITORY, tag, &text);
    }
    let all = list("").expect(200);
    assert_eq!(
        all.json(),
        json!({"name": "acme/team/app", "tags": ["C", "a", "b", "latest"]})
    );
    assert_eq!(all.header("link"), None);
    let page = list("?n=2").expect(200);
    assert_eq!(page.json()["tags"], json!(["C", "a"]));
    let link = page.header("link").expect("a next page");
    assert_eq!(
        link,
        format!("<{REPOSITORY}/tags/list?n=2&last=a>; rel=\"next\"")
    );
    let rest = list("?n=2&last=a").expect(200);
    assert_eq!(rest.json()["tags"], json!(["b", "latest"]));
    assert_eq!(rest.header("link"), None);
    assert_eq!(list("?n=0").expect(200).json()["tags"], json!([]));
    assert_eq!(list("?last=zzz").expect(200).json()["tags"], json!([]));
    assert_error(&list("?n=x"), 400, "NAME_INVALID");
}

/// end-12
#[test]
fn referrers_are_never_absent() {
    let gateway = hosting();
    let list = |subject: &str, query: &str| {
        let reply = gateway.get(&format!("{REPOSITORY}/referrers/{subject}{query}"));
        let reply = reply.expect(200);
        assert_eq!(reply.header("content-type"), Some(INDEX));
        reply
    };
    let nobody = sha256(b"nobody");
    let empty = list(&nobody, "").json();
    assert_eq!(
        empty,
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    );
    let (_, subject) = push_image(&gateway, REPOSITORY, "v1", b"layer");
    let signature = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": "application/vnd.sig",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2},
        "layers": [],
        "subject": {"mediaType": IMAGE, "digest": subject, "size": 1},
        "annotations": {"by": "ci"},
    })
    .to_string();
    let name = sha256(signature.as_bytes());
    let pushed = push_manifest(&gateway, REPOSITORY, &name, signature.as_bytes());
    assert_eq!(pushed.header("oci-subject"), Some(subject.as_str()));
    let one = json!([{
        "mediaType": IMAGE,
        "digest": name,
        "size": signature.len(),
        "artifactType": "application/vnd.sig",
        "annotations": {"by": "ci"},
    }]);
    let all = list(&subject, "");
    assert_eq!(
        (&all.json()["manifests"], all.header("oci-filters-applied")),
        (&one, None)
    );
    let some = list(&subject, "?artifactType=application/vnd.sig");
    assert_eq!(some.json()["manifests"], one);
    assert_eq!(some.header("oci-filters-applied"), Some("artifactType"));
    let none = list(&subject, "?artifactType=application/vnd.other");
    assert_eq!(none.json()["manifests"], json!([]));
    let wrong = gateway.get(&format!("{REPOSITORY}/referrers/sha256:x"));
    assert_error(&wrong, 400, "DIGEST_INVALID");
}

/// end-9, end-10
#[test]
fn what_is_deleted_is_gone_at_once() {
    let gateway = hosting();
    let (text, digest) = push_image(&gateway, REPOSITORY, "one", b"layer");
    push_manifest(&gateway, REPOSITORY, "two", &text);
    let delete = |what: &str| gateway.send(&Call::new("DELETE", &format!("{REPOSITORY}/{what}")));
    let get = |what: &str| gateway.get(&format!("{REPOSITORY}/{what}"));
    delete("manifests/one").expect(202);
    assert_error(&get("manifests/one"), 404, "MANIFEST_UNKNOWN");
    assert_error(&delete("manifests/one"), 404, "MANIFEST_UNKNOWN");
    get("manifests/two").expect(200);
    delete(&format!("manifests/{digest}")).expect(202);
    assert_error(&get("manifests/two"), 404, "MANIFEST_UNKNOWN");
    assert_error(
        &get(&format!("manifests/{digest}")),
        404,
        "MANIFEST_UNKNOWN",
    );
    let layer = format!("blobs/{}", sha256(b"layer"));
    get(&layer).expect(200);
    delete(&layer).expect(202);
    assert_error(&get(&layer), 404, "BLOB_UNKNOWN");
    assert_error(&delete(&layer), 404, "BLOB_UNKNOWN");
}

/// ext
#[test]
fn the_catalog() {
    let gateway = hosting();
    assert_eq!(
        gateway.get("/v2/_catalog").expect(200).json(),
        json!({"repositories": []})
    );
    for name in ["b", "a/x", "c"] {
        push_image(&gateway, &format!("/v2/acme/{name}"), "t", b"layer");
    }
    let page = gateway.get("/v2/_catalog?n=2").expect(200);
    assert_eq!(page.json(), json!({"repositories": ["acme/a/x", "acme/b"]}));
    assert_eq!(
        page.header("link"),
        Some("</v2/_catalog?n=2&last=acme%2Fb>; rel=\"next\"")
    );
    let rest = gateway.get("/v2/_catalog?n=2&last=acme%2Fb").expect(200);
    assert_eq!(
        (rest.json(), rest.header("link")),
        (json!({"repositories": ["acme/c"]}), None)
    );
    let own = gateway.get("/acme/v2/_catalog").expect(200);
    assert_eq!(own.json(), json!({"repositories": ["a/x", "b", "c"]}));
}

/// Tenants of a pattern are listed by what they hold, whether or not somebody has used them since the start.
#[test]
fn the_catalog_knows_tenants_of_patterns() {
    let mut gateway = Gateway::start(json!({"tenants": {"team/*": open_hosting()}}));
    for tenant in ["b", "a"] {
        push_image(&gateway, &format!("/v2/team/{tenant}/app"), "t", b"layer");
    }
    // Asking for a name makes no tenant.
    gateway.get("/v2/team/c/app/tags/list");
    let all = json!({"repositories": ["team/a/app", "team/b/app"]});
    assert_eq!(gateway.get("/v2/_catalog").expect(200).json(), all);
    gateway.restart();
    assert_eq!(gateway.get("/v2/_catalog").expect(200).json(), all);
}

use std::time::Duration;

use chartgate::error::{Error, ErrorKind};
use chartgate::upstream::{IndexReply, TextLimits, Upstream as _};

use super::{acme, acme_at, read, text_of};
use crate::support::fake::{
    Authority, End, FakeChart, FakeHelm, FakeHttp2, FakeUpstream, Fault, Target,
};

fn upstream() -> FakeUpstream {
    FakeHelm::new().chart("nginx", "15.1.0").run()
}

/// The error of fetching the index; it must carry no information and name the upstream.
async fn index_error(fake: &FakeUpstream) -> Error {
    let error = acme(fake).build().fetch_index(None).await;
    let error = error.expect_err("no index");
    let is_limited = error.message().contains("answered 429");
    let kind = match is_limited {
        true => ErrorKind::RateLimited,
        false => ErrorKind::UpstreamUnavailable,
    };
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.message().contains("`acme`"), "{error:?}");
    error
}

fn assert_says(error: &Error, words: &str) {
    assert!(error.message().contains(words), "{error:?}");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_told() {
    let fake = upstream();
    fake.refuse();
    let error = index_error(&fake).await;
    assert_says(&error, "connection refused");
    assert!(error.is_transient());

    fake.heal();
    text_of(&acme(&fake).build()).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told() {
    // `.invalid` never exists (RFC 6761).
    let acme = acme_at("http://charts.invalid/");
    let error = acme.build().fetch_index(None).await.expect_err("no host");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(&error, "`charts.invalid` cannot be resolved");
}

#[tokio::test]
async fn silence_ends_after_the_timeout_and_is_asked_once() {
    let fake = upstream();
    fake.fail_index(Fault::Silence);
    let upstream = acme(&fake).impatient().build();
    let error = upstream.fetch_index(None).await.expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(&error, "did not answer for index.yaml within 600ms");
    assert_eq!(fake.count("/index.yaml"), 1);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let fake = upstream();
    fake.fail_index(Fault::StallAfter(20));
    let upstream = acme(&fake).impatient().build();
    let error = upstream.fetch_index(None).await.expect_err("a stall");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(&error, "stopped in the middle of index.yaml");
}

#[tokio::test]
async fn a_slow_body_that_moves_on_is_waited_for() {
    let fake = upstream();
    let pieces = fake.index_text().len().div_ceil(8) as u32;
    fake.fail_index(Fault::Trickle(8, Duration::from_millis(40)));
    let acme = acme(&fake).impatient();
    let whole = Duration::from_millis(40) * pieces;
    assert!(whole > acme.client.timeout, "slower than the timeout");
    let (text, ..) = text_of(&acme.build()).await;
    assert_eq!(text, fake.index_text());
}

#[tokio::test]
async fn half_an_index_is_no_index() {
    for fault in [
        Fault::CutAfter(60),
        Fault::CutChunkedAfter(60),
        Fault::CutAfter(0),
        Fault::LengthTooLong(10),
    ] {
        let fake = upstream();
        fake.fail_index(fault.clone());
        let error = index_error(&fake).await;
        assert_says(&error, "broke off in the middle of index.yaml");
    }
}

#[tokio::test]
async fn bytes_beyond_the_announced_length_are_not_taken() {
    let fake = upstream();
    fake.fail_archives(Fault::LengthTooShort(10));
    let upstream = acme(&fake).build();
    let url = fake.at("/charts/nginx-15.1.0.tgz");
    let whole = fake.archive("nginx", "15.1.0");
    let download = upstream.open(&url, 0).await.expect("opens");
    let bytes = read(download).await.expect("as announced");
    assert_eq!(bytes, whole[..whole.len() - 10]);

    // Nor do they poison the next request.
    fake.heal();
    let bytes = read(upstream.open(&url, 0).await.expect("opens")).await;
    assert_eq!(bytes.expect("whole"), whole);
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_tried_again() {
    let fake = upstream();
    fake.fault_times(Target::Index, 2, Fault::Close);
    text_of(&acme(&fake).build()).await;
    assert!(fake.count("/index.yaml") >= 3);

    fake.fail_index(Fault::Close);
    let error = index_error(&fake).await;
    assert_says(&error, "connection closed too early");
}

#[tokio::test]
async fn a_web_page_is_no_index_and_no_archive() {
    let fake = upstream();
    fake.fault(Target::All, Fault::Html);
    let error = index_error(&fake).await;
    assert_says(&error, "a web page instead of index.yaml");
    assert_eq!(fake.count("/index.yaml"), 1, "a page does not go away");

    let url = fake.at("/charts/nginx-15.1.0.tgz");
    let error = acme(&fake).build().open(&url, 0).await.expect_err("a page");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(&error, "a web page where an archive should be");
}

#[tokio::test]
async fn an_empty_archive_is_none() {
    let fake = upstream();
    fake.fail_archives(Fault::Body(Vec::new()));
    let url = fake.at("/charts/nginx-15.1.0.tgz");
    let error = acme(&fake).build().open(&url, 0).await.expect_err("empty");
    assert_says(&error, "`acme` answered 200 with nothing");
}

#[tokio::test]
async fn statuses_without_information() {
    for (status, requests) in [
        (403, 1),
        (500, 1),
        (503, 3),
        (502, 3),
        (504, 3),
        (429, 3),
        (204, 1),
    ] {
        let fake = upstream();
        fake.fail_with(status);
        let error = index_error(&fake).await;
        assert_says(
            &error,
            &format!("upstream `acme` answered {status} for index.yaml"),
        );
        assert_eq!(fake.count("/index.yaml"), requests, "{status}");
    }
}

#[tokio::test]
async fn missing_is_a_fact_and_401_is_about_credentials() {
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (410, ErrorKind::NotFound),
        (401, ErrorKind::UpstreamUnauthorized),
    ] {
        let fake = upstream();
        fake.fail_with(status);
        let upstream = acme(&fake).build();
        let error = upstream.fetch_index(None).await.expect_err("no index");
        assert_eq!(error.kind(), kind);
        assert_says(&error, &format!("upstream `acme` answered {status}"));
        assert_eq!(fake.count("/index.yaml"), 1, "facts are not asked twice");
    }
}

#[tokio::test]
async fn a_long_retry_after_is_told_and_kept() {
    for (value, seconds) in [("120", 120), ("Fri, 20 Nov 2026 16:00:01 GMT", 60)] {
        let fake = upstream();
        let headers = vec![("Retry-After".to_owned(), value.to_owned())];
        fake.fail_index(Fault::StatusWith(429, headers));
        let error = index_error(&fake).await;
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
        assert_eq!(fake.count("/index.yaml"), 1, "it asked to be left alone");
    }
}

#[tokio::test]
async fn a_fault_that_passes_is_not_noticed() {
    let fake = upstream();
    let headers = vec![("Retry-After".to_owned(), "0".to_owned())];
    fake.fault_times(Target::All, 1, Fault::StatusWith(429, headers));
    fake.fault_times(Target::All, 1, Fault::Status(503));
    let acme = acme(&fake);
    text_of(&acme.build()).await;
    assert_eq!(fake.count("/index.yaml"), 3);

    let metrics = String::from_utf8(acme.metrics.render(&[])).expect("text");
    for line in [
        "chartgate_upstream_requests_total{code=\"200\",upstream=\"acme\"} 1",
        "chartgate_upstream_requests_total{code=\"429\",upstream=\"acme\"} 1",
        "chartgate_upstream_requests_total{code=\"503\",upstream=\"acme\"} 1",
        "chartgate_upstream_up{upstream=\"acme\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_of_noise_are_cut_at_the_start() {
    let fake = upstream();
    fake.fail_index(Fault::Garbage(100 << 20));
    let error = index_error(&fake).await;
    assert_says(&error, "binary data instead of index.yaml");
}

#[tokio::test]
async fn text_without_an_end_is_cut_at_the_limit() {
    let fake = upstream();
    fake.fail_index(Fault::EndlessText(100 << 20));
    let limits = TextLimits {
        encoded: 1 << 20,
        decoded: 2 << 20,
    };
    let upstream = acme(&fake).build().with_limits(limits);
    let error = upstream.fetch_index(None).await.expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(
        &error,
        "`acme` gave an index.yaml of more than 1048576 bytes",
    );
}

#[tokio::test]
async fn a_gzip_bomb_is_cut_at_the_limit() {
    let fake = upstream();
    fake.fail_index(Fault::GzipBomb(64 << 20));
    let limits = TextLimits {
        encoded: 1 << 20,
        decoded: 2 << 20,
    };
    let upstream = acme(&fake).build().with_limits(limits);
    let error = upstream.fetch_index(None).await.expect_err("a bomb");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(
        &error,
        "`acme` gave an index.yaml that unpacks to more than 2097152 bytes",
    );
}

#[tokio::test]
async fn a_broken_gzip_is_told() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").gzip().run();
    fake.fail_index(Fault::WrongBytes);
    let error = index_error(&fake).await;
    assert_says(&error, "whose gzip is broken");
}

#[tokio::test]
async fn a_wrong_body_arrives_as_it_is_for_the_digest_to_find() {
    let fake = upstream();
    fake.fail_archives(Fault::WrongBytes);
    let url = fake.at("/charts/nginx-15.1.0.tgz");
    let download = acme(&fake).build().open(&url, 0).await.expect("opens");
    let bytes = read(download).await.expect("complete");
    let whole = fake.archive("nginx", "15.1.0");
    assert_eq!(bytes.len(), whole.len());
    assert_ne!(bytes, whole);
}

#[tokio::test]
async fn a_shrunken_index_arrives_for_the_repository_to_judge() {
    let fake = FakeHelm::new()
        .chart("a", "1.0.0")
        .chart("b", "1.0.0")
        .run();
    let upstream = acme(&fake).build();
    let (before, _, held) = text_of(&upstream).await;
    fake.remove("b", "1.0.0");
    let reply = upstream.fetch_index(Some(&held)).await.expect("a new text");
    let IndexReply::Text { text, .. } = reply else {
        panic!("it changed: {reply:?}")
    };
    assert!(text.len() < before.len());
}

#[tokio::test]
async fn a_broken_archive_fails_before_its_end() {
    for fault in [
        Fault::CutAfter(1000),
        Fault::CutChunkedAfter(1000),
        Fault::LengthTooLong(10),
    ] {
        let fake = FakeHelm::new()
            .with(FakeChart::new("a", "1.0.0").size(50_000))
            .run();
        fake.fail_archives(fault.clone());
        let url = fake.at("/charts/a-1.0.0.tgz");
        let download = acme(&fake).build().open(&url, 0).await.expect("a head");
        let error = read(download).await.expect_err("not complete");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{fault:?}");
        assert_says(
            &error,
            "upstream `acme` broke off in the middle of a-1.0.0.tgz",
        );
    }
}

#[tokio::test]
async fn half_an_index_is_no_index_over_http2_either() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = authority.write(folder.path());
    let text = "apiVersion: v1\nentries: {}\n";
    let upstream = |end| {
        let fake = FakeHttp2::run(&authority, text.as_bytes(), end);
        let acme = acme_at(&fake.url()).with(|client| client.ca_file = Some(ca_file.clone()));
        (acme.build(), fake)
    };
    let (whole, _fake) = upstream(End::Whole);
    assert_eq!(text_of(&whole).await.0, text);

    for end in [
        End::Reset,
        End::ShortOfLength,
        End::BeyondLength,
        End::Disconnect,
    ] {
        let (upstream, _fake) = upstream(end);
        let error = upstream.fetch_index(None).await.expect_err("not whole");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{end:?}");
        assert_says(
            &error,
            "upstream `acme` broke off in the middle of index.yaml",
        );
    }
}

//! Helm as oracle: whatever helm itself lists from a repository, it lists through the gateway, with the same digests and bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::corpus;
use crate::support::fake::{FakeHelm, FakeUpstream};
use crate::support::gateway::Gateway;
use crate::support::http::Call;

use crate::support::tools::Helm;

/// Chart and version.
type Pair = (String, String);

#[test]
fn helm3_lists_through_the_gateway_what_it_lists_from_every_raw_index() {
    compare("helm3");
}

#[test]
fn helm4_lists_through_the_gateway_what_it_lists_from_every_raw_index() {
    compare("helm4");
}

/// One tenant for each index file; helm with all raw files added against helm with all tenants added.
fn compare(program: &str) {
    let (Some(corpus), Some(raw_helm), Some(our_helm)) =
        (corpus::folder(), Helm::find(program), Helm::find(program))
    else {
        return;
    };
    let indexes = corpus::indexes(&corpus);
    assert!(indexes.len() >= 30, "the corpus is smaller than it was");
    let site = serve_indexes(&indexes);
    let gateway = Gateway::start_despite(&[NO_INDEX], one_tenant_each(&indexes, &site));

    let mut rejected = BTreeSet::new();
    for name in indexes.keys() {
        let raw = site.at(&format!("/{name}"));
        if !raw_helm.run(&["repo", "add", name, &raw]).status.success() {
            rejected.insert(name.clone());
        }
        if !is_no_index(&gateway, name) {
            our_helm.ok(&["repo", "add", name, &gateway.url(name)]);
        }
    }
    let raw = by_repository(raw_helm.listing());
    let ours = by_repository(our_helm.listing());

    let none = BTreeSet::new();
    let (mut compared, mut left_out) = (0, 0);
    for name in indexes.keys() {
        if is_no_index(&gateway, name) {
            assert!(rejected.contains(name), "{name} is an index for {program}");
            continue;
        }
        let listed = raw.get(name).unwrap_or(&none);
        let through_us = ours.get(name).unwrap_or(&none);
        assert_eq!(
            through_us,
            &pairs(&gateway.index(name)),
            "{name}: {program} does not list what our index holds"
        );
        if rejected.contains(name) {
            continue;
        }
        // Helm lists a version without URLs, which nobody can download; we leave it out and say so.
        let explained = dropped(&gateway.report(name));
        let lost: Vec<_> = listed
            .difference(through_us)
            .filter(|pair| !explained.contains(pair))
            .collect();
        let invented: Vec<_> = through_us.difference(listed).collect();
        assert!(
            lost.is_empty() && invented.is_empty(),
            "{name}: {program} lists {} raw and {} through us; lost {lost:.300?}, invented {invented:.300?}",
            listed.len(),
            through_us.len()
        );
        left_out += listed.len() - through_us.len();
        compared += listed.len();
    }
    assert!(compared > 40_000, "only {compared} versions were compared");
    assert!(
        left_out < 20,
        "{left_out} versions that helm lists are left out"
    );
    assert!(rejected.len() <= 4, "{program} rejects {rejected:?}");
}

#[test]
fn every_entry_of_every_index_is_served_with_its_digest_or_its_absence_is_explained() {
    let Some(corpus) = corpus::folder() else {
        return;
    };
    let indexes = corpus::indexes(&corpus);
    let site = serve_indexes(&indexes);
    let gateway = Gateway::start_despite(&[NO_INDEX], one_tenant_each(&indexes, &site));

    for (name, text) in &indexes {
        let raw = raw_entries(text);
        if is_no_index(&gateway, name) {
            assert!(raw.is_empty(), "{name} has entries");
            continue;
        }
        let index = gateway.index(name);
        let report = gateway.report(name);
        let dropped = dropped(&report);
        let served = pairs(&index);
        for pair in raw.keys() {
            assert!(
                served.contains(pair) || dropped.contains(pair),
                "{name}: {pair:?} is neither served nor explained in {report:.2000}"
            );
        }
        for (chart, entry) in entries(&index) {
            let pair = (chart.to_owned(), text_of(&entry["version"]));
            let promised = raw
                .get(&pair)
                .unwrap_or_else(|| panic!("{name}: {pair:?} was never in the raw index"));
            match entry["digest"].as_str() {
                Some(digest) => assert!(
                    promised.contains(digest),
                    "{name}: {pair:?} has digest {digest}, the raw index has {promised:?}"
                ),
                None => assert!(
                    promised.iter().all(|digest| !is_sha256(digest)),
                    "{name}: {pair:?} lost its digest {promised:?}"
                ),
            }
            let urls = entry["urls"].as_array().expect("a list of URLs");
            assert!(
                urls.len() == 1 && text_of(&urls[0]).starts_with("charts/"),
                "{name}: {pair:?} has URLs {urls:?}"
            );
        }
    }
}

#[test]
fn the_index_is_the_same_bytes_after_a_restart() {
    let Some(corpus) = corpus::folder() else {
        return;
    };
    let indexes = corpus::indexes(&corpus);
    let site = serve_indexes(&indexes);
    let mut gateway = Gateway::start_despite(&[NO_INDEX], one_tenant_each(&indexes, &site));
    let bodies = |gateway: &Gateway| -> BTreeMap<String, (String, Option<String>)> {
        indexes
            .keys()
            .filter(|name| !is_no_index(gateway, name))
            .map(|name| {
                let reply = gateway.get(&format!("/{name}/index.yaml")).expect(200);
                let etag = reply.header("etag").map(str::to_owned);
                (name.clone(), (corpus::sha256(&reply.body), etag))
            })
            .collect()
    };
    let before = bodies(&gateway);
    gateway.restart();
    let after = bodies(&gateway);
    for (name, body) in &before {
        assert_eq!(Some(body), after.get(name), "{name} changed");
    }
}

#[test]
fn every_listed_url_of_a_folder_of_packages_answers_with_the_bytes_of_the_file() {
    let Some(corpus) = corpus::folder() else {
        return;
    };
    let folders = corpus::chart_folders(&corpus);
    let upstreams: serde_json::Map<String, Value> = folders
        .iter()
        .map(|(name, folder)| (name.clone(), json!({"type": "dir", "url": folder})))
        .collect();
    let tenants: serde_json::Map<String, Value> = folders
        .keys()
        .map(|name| (name.clone(), tenant(&[name])))
        .collect();
    let gateway = Gateway::start(json!({"upstreams": upstreams, "tenants": tenants}));

    let mut compared = 0;
    for (name, folder) in &folders {
        let files: BTreeMap<String, Vec<u8>> = std::fs::read_dir(folder)
            .expect("a folder that can be listed")
            .map(|entry| corpus::read(&entry.expect("a folder that can be listed").path()))
            .map(|bytes| (corpus::sha256(&bytes), bytes))
            .collect();
        let index = gateway.index(name);
        for (chart, entry) in entries(&index) {
            let url = text_of(&entry["urls"][0]);
            let reply = gateway.get(&format!("/{name}/{url}")).expect(200);
            let digest = text_of(&entry["digest"]);
            assert_eq!(corpus::sha256(&reply.body), digest, "{name}: {chart} {url}");
            assert_eq!(
                files.get(&digest),
                Some(&reply.body),
                "{name}: {chart} {url}"
            );
            let etag = reply.header("etag").unwrap_or_default();
            assert!(etag.starts_with('"') && etag.contains(&digest), "{etag}");
            compared += 1;
        }
    }
    assert!(compared >= 60, "only {compared} packages were compared");
}

#[test]
fn a_provenance_file_lies_beside_the_archive_with_the_bytes_of_the_file() {
    let Some(corpus) = corpus::folder() else {
        return;
    };
    let folder = corpus.join("charts/grafana+helm-charts");
    let gateway = Gateway::start(json!({
        "upstreams": {"grafana": {"type": "dir", "url": folder}},
        "tenants": {"t": tenant(&["grafana"])},
    }));
    for name in [
        "loki-2.1.0",
        "loki-0.30.0",
        "fluent-bit-0.3.0",
        "loki-stack-2.1.1",
    ] {
        let reply = gateway
            .get(&format!("/t/charts/{name}.tgz.prov"))
            .expect(200);
        assert_eq!(
            reply.body,
            corpus::read(&folder.join(format!("{name}.tgz.prov"))),
            "{name}"
        );
    }
    Call::get("/t/charts/loki-9.9.9.tgz.prov")
        .send(gateway.http)
        .expect(404);
}

/// The entries that a report says were left out, each with a reason.
fn dropped(report: &Value) -> BTreeSet<Pair> {
    let rows = report["dropped"].as_array().expect("the report's list");
    rows.iter()
        .map(|row| {
            let reason = row["reason"].as_str().unwrap_or_default();
            assert!(!reason.is_empty(), "{row} gives no reason");
            (text_of(&row["chart"]), text_of(&row["version"]))
        })
        .collect()
}

/// The one file of the corpus that is no index but the text of a symbolic link.
const NO_INDEX: &str = "fixture-symlink-blob";

/// Whether the upstream of this tenant answers something that is no index at all; then there is nothing to show, and the
/// operator is told so.
fn is_no_index(gateway: &Gateway, name: &str) -> bool {
    let reply = gateway.get(&format!("/{name}/index.yaml"));
    let nothing = reply.status != 200;
    if nothing {
        assert_eq!((name, reply.status), (NO_INDEX, 502));
        let said = gateway.upstream(name)["last_error"].to_string();
        assert!(said.contains("index"), "{said}");
    }
    nothing
}

/// A tenant of these upstreams that anybody may read.
pub(crate) fn tenant(upstreams: &[&str]) -> Value {
    json!({"charts": upstreams, "access": {"anonymous": ["pull"]}})
}

/// An upstream of type `helm` on this machine.
pub(crate) fn local(url: &str) -> Value {
    json!({"type": "helm", "url": url, "allow_private": true})
}

fn serve_indexes(indexes: &BTreeMap<String, Vec<u8>>) -> FakeUpstream {
    let site = FakeHelm::new().run();
    for (name, text) in indexes {
        site.set_file(&format!("/{name}/index.yaml"), text.as_slice());
    }
    site
}

fn one_tenant_each(indexes: &BTreeMap<String, Vec<u8>>, site: &FakeUpstream) -> Value {
    let upstreams: serde_json::Map<String, Value> = indexes
        .keys()
        .map(|name| (name.clone(), local(&site.at(&format!("/{name}")))))
        .collect();
    let tenants: serde_json::Map<String, Value> = indexes
        .keys()
        .map(|name| (name.clone(), tenant(&[name])))
        .collect();
    json!({"upstreams": upstreams, "tenants": tenants})
}

fn by_repository(listing: BTreeSet<Pair>) -> BTreeMap<String, BTreeSet<Pair>> {
    let mut repositories: BTreeMap<String, BTreeSet<Pair>> = BTreeMap::new();
    for (name, version) in listing {
        let (repository, chart) = name.split_once('/').expect("helm prints repository/chart");
        repositories
            .entry(repository.to_owned())
            .or_default()
            .insert((chart.to_owned(), version));
    }
    repositories
}

/// The entries of one of our indexes with their keys.
pub(crate) fn entries(index: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let charts = index["entries"].as_object().expect("a mapping of entries");
    charts.iter().flat_map(|(chart, versions)| {
        let versions = versions.as_array().expect("a list of versions");
        versions.iter().map(move |entry| (chart.as_str(), entry))
    })
}

/// Chart and version of every entry of one of our indexes.
pub(crate) fn pairs(index: &Value) -> BTreeSet<Pair> {
    entries(index)
        .map(|(chart, entry)| (chart.to_owned(), text_of(&entry["version"])))
        .collect()
}

/// Every chart and version that a raw index holds, with all digests that it gives, read without any of our code.
fn raw_entries(text: &[u8]) -> BTreeMap<Pair, BTreeSet<String>> {
    let mut found: BTreeMap<Pair, BTreeSet<String>> = BTreeMap::new();
    let Ok(document) = serde_yaml::from_slice::<serde_yaml::Value>(text) else {
        return found;
    };
    let Some(charts) = document
        .get("entries")
        .and_then(|entries| entries.as_mapping())
    else {
        return found;
    };
    for (chart, versions) in charts {
        for entry in versions.as_sequence().into_iter().flatten() {
            let field = |name: &str| match entry.get(name) {
                Some(serde_yaml::Value::String(text)) => text.clone(),
                Some(serde_yaml::Value::Number(number)) => number.to_string(),
                _ => String::new(),
            };
            let chart = chart.as_str().unwrap_or_default().to_owned();
            found
                .entry((chart, field("version")))
                .or_default()
                .insert(field("digest"));
        }
    }
    found
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

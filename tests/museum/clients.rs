//! helm 3 and helm 4 with their push plugin against `chartgate chartmuseum`.

use std::path::Path;
use std::process::Output;

use serde_json::json;

use super::program::{Program, Which};
use crate::support::corpus;
use crate::support::tools::{self, Helm};

/// helm with the plugin, where both are installed.
fn helm_with_plugin(program: &str) -> Option<Helm> {
    let (helm, plugin) = (Helm::find(program)?, tools::cm_push()?);
    helm.install_plugin("cm-push", &plugin, (program == "helm3").then_some("cm"));
    Some(helm)
}

/// A server of ours on an empty folder.
fn serve(flags: &[&str]) -> (Program, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::on_folder(&Which::Chartgate, folder.path(), flags);
    (program, folder)
}

/// A chart folder called `name` where helm runs.
fn chart_folder(helm: &Helm, name: &str, version: &str) {
    let folder = helm.folder().join(name);
    std::fs::create_dir_all(folder.join("templates")).expect("a folder");
    let text = format!(
        "apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: 1.16.0\ndescription: d\n"
    );
    std::fs::write(folder.join("Chart.yaml"), text).expect("Chart.yaml");
    std::fs::write(folder.join("values.yaml"), "colour: blue\n").expect("values.yaml");
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";
    std::fs::write(folder.join("templates/x.yaml"), template).expect("a template");
}

#[track_caller]
fn done(output: &Output) {
    let text = said(output);
    assert!(output.status.success() && text.contains("Done."), "{text}");
}

#[track_caller]
fn refused(output: &Output, words: &str) {
    let text = said(output);
    assert!(!output.status.success() && text.contains(words), "{text}");
}

fn said(output: &Output) -> String {
    let texts =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    texts.concat()
}

#[test]
fn helm3_pushes_with_its_plugin() {
    pushes("helm3");
}

#[test]
fn helm4_pushes_with_its_plugin() {
    pushes("helm4");
}

/// A folder and a package, by the repository's name and by URL, again, with force, and with other versions.
fn pushes(program: &str) {
    let Some(helm) = helm_with_plugin(program) else {
        return;
    };
    let (server, _folder) = serve(&["--depth", "2"]);
    let url = server.url("/org/repo");
    // Before anything was pushed: the repository is there and empty.
    helm.ok(&["repo", "add", "mine", &url]);
    chart_folder(&helm, "mychart", "0.1.0");
    done(&helm.run(&["cm-push", "mychart", "mine"]));
    done(&helm.run(&["cm-push", "mychart", &url, "--version", "0.2.0"]));
    done(&helm.run(&[
        "cm-push",
        "mychart",
        "mine",
        "--version=0.3.0",
        "--app-version=9.9.9",
    ]));
    helm.ok(&["package", "mychart", "--version", "0.4.0"]);
    done(&helm.run(&["cm-push", "mychart-0.4.0.tgz", "mine"]));
    done(&helm.run(&["cm-push", "mychart-0.4.0.tgz", &server.url("/org/other/")]));
    let again = helm.run(&["cm-push", "mychart-0.4.0.tgz", "mine"]);
    refused(&again, "409: chart already exists");
    done(&helm.run(&["cm-push", "mychart-0.4.0.tgz", "mine", "--force"]));
    done(&helm.run(&["cm-push", "-f", "mychart", &url]));

    let list = server
        .get("/api/org/repo/charts/mychart")
        .expect(200)
        .json();
    let versions: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["version"].as_str(), one["appVersion"].as_str()))
        .collect();
    assert_eq!(
        versions,
        [
            (Some("0.4.0"), Some("1.16.0")),
            (Some("0.3.0"), Some("9.9.9")),
            (Some("0.2.0"), Some("1.16.0")),
            (Some("0.1.0"), Some("1.16.0")),
        ]
    );
    assert_eq!(
        server.get("/api/org/other/charts").expect(200).json()["mychart"][0]["urls"],
        json!(["charts/mychart-0.4.0.tgz"])
    );

    helm.ok(&["repo", "update"]);
    let found = helm.ok(&["search", "repo", "mine/", "-l"]);
    assert_eq!(found.matches("mine/mychart").count(), 4, "{found}");
    helm.ok(&[
        "pull",
        "mine/mychart",
        "--version",
        "0.3.0",
        "--untar",
        "-d",
        "back",
    ]);
    let text =
        std::fs::read_to_string(helm.folder().join("back/mychart/Chart.yaml")).expect("the chart");
    assert!(text.contains("appVersion: 9.9.9"), "{text}");
    helm.ok(&["template", "x", "mine/mychart", "--version", "~0.2"]);
    helm.ok(&["show", "values", "mychart", "--repo", &url]);
}

#[test]
fn helm_finds_the_context_path_by_itself() {
    let Some(helm) = helm_with_plugin("helm3") else {
        return;
    };
    for flags in [
        vec!["--context-path", "/helm/v1", "--depth", "1"],
        vec![
            "--context-path",
            "/helm/v1",
            "--depth",
            "1",
            "--basic-auth-user",
            "u",
            "--basic-auth-pass",
            "p",
        ],
    ] {
        let (server, folder) = serve(&flags);
        let url = server.url("/helm/v1/org");
        let user: &[&str] = if flags.len() > 4 {
            &["--username", "u", "--password", "p"]
        } else {
            &[]
        };
        helm.ok(&[&["repo", "add", "--force-update", "ctx", &url], user].concat());
        chart_folder(&helm, "mychart", "0.1.0");
        // From the index that helm keeps, from the index that is fetched, and from the flag.
        done(&helm.run(&[&["cm-push", "mychart", "ctx", "--version", "1.0.0"], user].concat()));
        done(&helm.run(&[&["cm-push", "mychart", &url, "--version", "2.0.0"], user].concat()));
        let flag = [
            "cm-push",
            "mychart",
            &url,
            "--version",
            "3.0.0",
            "--context-path",
            "/helm/v1",
        ];
        done(&helm.run(&[&flag[..], user].concat()));
        assert_eq!(super::pair::stored(folder.path()).len(), 3);
        helm.ok(&["repo", "update"]);
        helm.ok(&["pull", "ctx/mychart", "--version", "2.0.0"]);
    }
    // The whole path of the repository is the context path, and the repository is the root.
    let (server, folder) = serve(&["--context-path", "/t/x/r"]);
    done(&helm.run(&["cm-push", "mychart", &server.url("/t/x/r")]));
    assert_eq!(super::pair::stored(folder.path()), ["mychart-0.1.0.tgz"]);
}

#[test]
fn helm_shows_its_credentials_and_is_told_when_they_are_wrong() {
    let Some(helm) = helm_with_plugin("helm3") else {
        return;
    };
    let (server, folder) = serve(&["--basic-auth-user", "u", "--basic-auth-pass", "p"]);
    let url = server.url("");
    chart_folder(&helm, "mychart", "0.1.0");
    refused(
        &helm.run(&["cm-push", "mychart", &url]),
        "401: unauthorized",
    );
    refused(
        &helm.run(&["cm-push", "mychart", &url, "-u", "u", "-p", "wrong"]),
        "401: unauthorized",
    );
    helm.fails(&[
        "repo",
        "add",
        "mine",
        &url,
        "--username",
        "u",
        "--password",
        "wrong",
    ]);
    helm.ok(&[
        "repo",
        "add",
        "mine",
        &url,
        "--username",
        "u",
        "--password",
        "p",
    ]);
    done(&helm.run(&["cm-push", "mychart", "mine"]));
    let within = url.replace("http://", "http://u:p@");
    done(&helm.run(&["cm-push", "mychart", &within, "--version", "0.2.0"]));
    let variables = [("HELM_REPO_USERNAME", "u"), ("HELM_REPO_PASSWORD", "p")];
    done(&helm.run_with(
        &variables,
        &["cm-push", "mychart", &url, "--version", "0.3.0"],
    ));
    assert_eq!(super::pair::stored(folder.path()).len(), 3);
    helm.ok(&["repo", "update"]);
    helm.ok(&["pull", "mine/mychart", "--version", "0.3.0"]);
    // As the protocol that the plugin fetches by itself.
    let cm = url.replace("http://", "cm://");
    let variables = [&variables[..], &[("HELM_REPO_USE_HTTP", "true")]].concat();
    let added = helm.run_with(&variables, &["repo", "add", "viacm", &cm]);
    assert!(added.status.success(), "{}", said(&added));
    let pulled = helm.run_with(&variables, &["pull", "viacm/mychart", "--version", "0.2.0"]);
    assert!(pulled.status.success(), "{}", said(&pulled));
    done(&helm.run_with(
        &variables,
        &["cm-push", "mychart", "viacm", "--version", "0.5.0"],
    ));
}

#[test]
fn helm_pushes_with_a_token() {
    let Some(helm) = helm_with_plugin("helm3") else {
        return;
    };
    let flags = super::auth::bearer_flags("token-certificate.pem", "1");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (server, folder) = serve(&flags);
    let url = server.url("/org");
    let token = super::auth::allowing("org", &["pull", "push"]);
    let reader = super::auth::allowing("org", &["pull"]);
    chart_folder(&helm, "mychart", "0.1.0");
    refused(
        &helm.run(&["cm-push", "mychart", &url]),
        "401: unauthorized",
    );
    refused(
        &helm.run(&["cm-push", "mychart", &url, "--access-token", &reader]),
        "401: unauthorized",
    );
    done(&helm.run(&["cm-push", "mychart", &url, "--access-token", &token]));
    let variables = [("HELM_REPO_ACCESS_TOKEN", token.as_str())];
    done(&helm.run_with(
        &variables,
        &["cm-push", "mychart", &url, "--version", "0.2.0"],
    ));
    // The raw token under a header of the client's choice.
    done(&helm.run(&[
        "cm-push",
        "mychart",
        &url,
        "--version",
        "0.3.0",
        "--access-token",
        &token,
        "--auth-header",
        "Authorization",
    ]));
    assert_eq!(super::pair::stored(folder.path()).len(), 3);
    helm.ok(&[
        "repo",
        "add",
        "tok",
        &url,
        "--username",
        "anyone",
        "--password",
        &token,
    ]);
    helm.ok(&["pull", "tok/mychart", "--version", "0.2.0"]);
    helm.fails(&[
        "repo",
        "add",
        "bad",
        &url,
        "--username",
        "anyone",
        "--password",
        "nonsense",
    ]);
}

#[test]
fn helm3_lives_with_it() {
    lives("helm3");
}

#[test]
fn helm4_lives_with_it() {
    lives("helm4");
}

/// ChartMuseum's own acceptance: nothing, upload with provenance, search, verify, delete, nothing.
fn lives(program: &str) {
    let (Some(helm), Some(corpus)) = (Helm::find(program), corpus::folder()) else {
        return;
    };
    for flags in [&[][..], &["--json-index"], &["--chart-url"]] {
        // The port of an absolute URL must be known before the start: a fixed name does for all but the pull.
        let absolute = flags.contains(&"--chart-url");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let flags = if absolute {
            vec!["--chart-url", "http://charts.invalid"]
        } else {
            flags.to_vec()
        };
        let server = Program::on_folder(&Which::Chartgate, folder.path(), &flags);
        let url = server.url("");
        helm.ok(&["repo", "add", "--force-update", "cm", &url]);
        assert!(helm.listing().is_empty());
        helm.fails(&["pull", "cm/signtest", "--verify"]);
        for chart in ["signtest-0.1.0", "hashtest-1.2.3"] {
            let file = format!("helm+helm/{chart}.tgz");
            let bytes = corpus::chart(&corpus, &file);
            let call = crate::support::http::Call::new("POST", "/api/charts").body(bytes);
            server.send(&call).expect(201);
            let bytes = corpus::chart(&corpus, &format!("{file}.prov"));
            let call = crate::support::http::Call::new("POST", "/api/prov").body(bytes);
            server.send(&call).expect(201);
        }
        helm.ok(&["repo", "update"]);
        assert_eq!(helm.listing().len(), 2);
        if absolute {
            let why = helm.fails(&["pull", "cm/signtest"]);
            assert!(why.contains("charts.invalid"), "{why}");
            continue;
        }
        verify(&helm, &corpus);
        for path in ["signtest/0.1.0", "hashtest/1.2.3"] {
            let call = crate::support::http::Call::new("DELETE", &format!("/api/charts/{path}"));
            server.send(&call).expect(200);
        }
        helm.ok(&["repo", "update"]);
        assert!(helm.listing().is_empty());
        helm.fails(&["pull", "cm/signtest"]);
    }
}

fn verify(helm: &Helm, corpus: &Path) {
    let keyring = corpus.join("charts/helm+helm/helm-test-key.pub");
    let keyring = keyring.to_str().expect("a UTF-8 path");
    for chart in ["cm/signtest", "cm/hashtest"] {
        helm.ok(&["pull", chart, "--prov", "--verify", "--keyring", keyring]);
    }
}

//! helm 3 and 4: charts in registries.

use super::Place;
use crate::support::clients::{Clients, Program};
use crate::support::fake::package;

const PODINFO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/config/sample/podinfo-6.14.1.tgz"
);

/// Pushes charts.
pub(crate) fn push(program: Program, place: &Place, clients: &Clients) {
    let charts = format!("oci://{}", place.repository(&folder(program)));
    clients.ok(program, &["push", "--plain-http", PODINFO, &charts]);
    for version in ["1.0.0", "1.2.0", "2.0.0+build.7"] {
        let file = format!("app-{version}.tgz");
        std::fs::write(clients.home().join(&file), app(version)).expect("writable");
        clients.ok(program, &["push", "--plain-http", &file, &charts]);
    }
}

/// Pulls what [`push`] left: by version, by range, as dependency.
pub(crate) fn read(program: Program, place: &Place, clients: &Clients) {
    let charts = format!("oci://{}", place.repository(&folder(program)));
    let podinfo = format!("{charts}/podinfo");
    let home = clients.home();
    let pull = |chart: &str, version: &[&str], file: &str| {
        let _ = std::fs::remove_file(home.join(file));
        let mut arguments = vec!["pull", "--plain-http", chart];
        arguments.extend(version);
        clients.ok(program, &arguments);
        std::fs::read(home.join(file)).expect("a package")
    };
    let whole = pull(&podinfo, &["--version=6.14.1"], "podinfo-6.14.1.tgz");
    assert_eq!(whole, std::fs::read(PODINFO).expect("the sample"));
    let app = format!("{charts}/app");
    assert_eq!(
        pull(&app, &["--version=~1"], "app-1.2.0.tgz"),
        self::app("1.2.0")
    );
    assert_eq!(
        pull(&app, &[], "app-2.0.0+build.7.tgz"),
        self::app("2.0.0+build.7")
    );
    let shown = clients.ok(
        program,
        &[
            "show",
            "chart",
            "--plain-http",
            &podinfo,
            "--version=6.14.1",
        ],
    );
    assert!(shown.contains("version: 6.14.1"), "{shown}");
    let rendered = clients.ok(
        program,
        &[
            "template",
            "web",
            "--plain-http",
            &podinfo,
            "--version=^6",
            "--kube-version=1.30.0",
        ],
    );
    assert!(rendered.contains("kind: Deployment"), "{rendered}");

    let umbrella = home.join("umbrella");
    let _ = std::fs::remove_dir_all(&umbrella);
    std::fs::create_dir_all(&umbrella).expect("a folder");
    let chart = format!(
        "apiVersion: v2\nname: umbrella\nversion: 1.0.0\ndependencies:\n- {{name: app, version: ~1, repository: \"{charts}\"}}\n"
    );
    std::fs::write(umbrella.join("Chart.yaml"), chart).expect("writable");
    clients.ok(
        program,
        &["dependency", "update", "--plain-http", "umbrella"],
    );
    let bytes = std::fs::read(umbrella.join("charts/app-1.2.0.tgz")).expect("a package");
    assert_eq!(bytes, self::app("1.2.0"));
}

/// What is not there.
pub(crate) fn missing(program: Program, place: &Place, clients: &Clients) {
    let app = format!("oci://{}/app", place.repository(&folder(program)));
    let error = clients.fails(program, &["pull", "--plain-http", &app, "--version=9.9.9"]);
    assert!(error.contains("not found"), "{error}");
}

fn app(version: &str) -> Vec<u8> {
    package("app", version, &[("templates/NOTES.txt", b"hello")]).to_vec()
}

fn folder(program: Program) -> String {
    format!("{program:?}-charts").to_lowercase()
}

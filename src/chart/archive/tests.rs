use std::fs;

use proptest::prelude::*;
use tar::EntryType;

use super::fixture::{Tar, corpus, gzip, package};
use super::*;
use crate::chart::provenance;
use crate::digest::Digest;
use crate::error::ErrorKind;

const CHART: &str = "name: app\nversion: 1.0.0\n";

fn upload(bytes: &[u8]) -> Result<Chart> {
    super::read(bytes, &Limits::helm(), Strictness::Upload)
}

fn stored(bytes: &[u8]) -> Result<Chart> {
    super::read(bytes, &Limits::stored(), Strictness::Stored)
}

fn chart() -> Tar {
    Tar::default().file("app/Chart.yaml", CHART)
}

#[track_caller]
fn refused(bytes: &[u8], text: &str) {
    for result in [upload(bytes), stored(bytes)] {
        let error = result.expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        assert!(error.message().contains(text), "{text:?} in {error}");
    }
}

/// Helm reads it; we do not let it in.
#[track_caller]
fn refused_as_upload_only(bytes: &[u8], text: &str) {
    let error = upload(bytes).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.message().contains(text), "{text:?} in {error}");
    stored(bytes).unwrap_or_else(|error| panic!("{text}: {error}"));
}

#[track_caller]
fn accepted(bytes: &[u8]) -> Chart {
    let chart = upload(bytes).expect("an upload");
    assert!(stored(bytes).expect("stored").warnings.is_empty());
    chart
}

#[test]
fn every_real_chart_is_read_as_helm_reads_it() {
    let Some(corpus) = corpus() else { return };
    // Everything else is taken both ways.
    let special = [
        // Helm cannot load these.
        (
            "corrupted-compressed-chart.tgz",
            "EOF: the package is empty",
            "EOF: the package is empty",
        ),
        ("empty-0.0.1.tgz", "", ""),
        (
            "fluxcd+source-controller/empty.tgz",
            "no files in chart archive",
            "no files in chart archive",
        ),
        ("helmchart-badname-0.1.0.tgz", "", "is invalid"),
        (
            "tenant-operator-0.2.22.tgz",
            "gzip: invalid header",
            "gzip: invalid header",
        ),
        // Helm can, and they are not let in.
        (
            "aws-alb-ingress-controller-1.0.4.tgz",
            "after its gzip stream",
            "ok",
        ),
    ];
    let readme = fs::read_to_string(corpus.join("README.md")).expect("a README");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for row in readme.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let (file, name, version) = (columns[1].trim_matches('`'), columns[2], columns[3]);
        let bytes = fs::read(corpus.join(file)).expect(file);
        if file.ends_with(".prov") {
            let archive = file.trim_end_matches(".prov");
            let digest = Digest::of(&fs::read(corpus.join(archive)).expect(archive));
            let parsed = provenance::parse(&bytes).expect(file);
            assert_eq!(parsed.file_name, file.rsplit('/').next().expect("a name"));
            assert_eq!(provenance::speaks_of(&bytes, digest), Some(true), "{file}");
            continue;
        }
        if !file.ends_with(".tgz") {
            continue;
        }
        seen += 1;
        let expected = special.iter().find(|(suffix, ..)| file.ends_with(suffix));
        let (_, as_upload, as_stored) = expected.unwrap_or(&("", "ok", "ok"));
        for (result, expected) in [(upload(&bytes), as_upload), (stored(&bytes), as_stored)] {
            let right = match &result {
                Ok(chart) => {
                    *expected == "ok"
                        && chart.metadata.name == name
                        && chart.metadata.version == version
                }
                Err(error) => *expected != "ok" && error.message().contains(expected),
            };
            if !right {
                wrong.push(format!("{file}: {result:?}, not {expected:?}"));
            }
        }
    }
    assert!(seen > 60, "{seen} archives");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn streams_that_are_no_archive() {
    refused(b"", "EOF: the package is empty");
    refused(b"\x1f", "unexpected EOF");
    refused(b"PK\x03\x04", "gzip: invalid header");
    refused(&gzip(b""), "no files in chart archive");
    refused(&gzip(&[0; 10_240]), "no files in chart archive");
    refused(&gzip(&[7; 512]), "invalid tar header");
    refused(&gzip(&[7; 511]), "unexpected EOF");
    let good = package("app", "1.0.0");
    for cut in [1, 10, 20, good.len() / 2, good.len() - 40] {
        assert!(stored(&good[..cut]).is_err(), "{cut}");
        assert!(upload(&good[..cut]).is_err(), "{cut}");
    }
    assert!(upload(&good[..good.len() - 1]).is_err());
    let mut flipped = good;
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    assert!(upload(&flipped).is_err());
}

#[test]
fn a_failing_reader_is_not_the_archives_fault() {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let good = package("app", "1.0.0");
            if self.0 >= 64 {
                return Err(io::Error::other("disk"));
            }
            buffer[0] = good[self.0];
            self.0 += 1;
            Ok(1)
        }
    }
    let error = super::read(Failing(0), &Limits::helm(), Strictness::Upload).expect_err("disk");
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn what_follows_the_archive() {
    let good = package("app", "1.0.0");
    accepted(&good);
    let junk = [good.as_slice(), b"junk"].concat();
    refused_as_upload_only(&junk, "after its gzip stream");
    let second = [good.as_slice(), &gzip(b"")].concat();
    refused_as_upload_only(&second, "after its gzip stream");
    let hidden = chart()
        .raw(&[0; 1024])
        .file("app/Chart.yaml", "name: evil\nversion: 1.0.0\n")
        .finish();
    refused_as_upload_only(&hidden, "after its last file");
    refused(
        &chart().raw(&[0; 512]).file("app/x", "").finish(),
        "invalid tar header",
    );
    accepted(&chart().unfinished());
}

#[test]
fn helms_own_rules() {
    refused(
        &Tar::default().file("Chart.yaml", CHART).finish(),
        "content outside the base directory",
    );
    refused(
        &chart().file("app/../../x", "").finish(),
        "parent directory",
    );
    refused(&chart().file("app//etc", "").finish(), "absolute paths");
    refused(
        &chart().file("app/C:/x", "").finish(),
        "illegally named files",
    );
    refused(
        &Tar::default().file("app/x", "").finish(),
        "Chart.yaml file is missing",
    );
    for (text, message) in [
        (
            "name: app\n",
            "validation: chart.metadata.version is required",
        ),
        (
            "version: 1.0.0\n",
            "validation: chart.metadata.name is required",
        ),
        (
            "name: app\nversion: x\n",
            "validation: chart.metadata.version \"x\" is invalid",
        ),
        ("name: ../app\nversion: 1.0.0\n", "is invalid"),
        (
            "name: app\nversion: 1.0.0\ntype: x\n",
            "chart.metadata.type must be application or library",
        ),
        ("a: [b\n", "cannot load Chart.yaml: "),
        ("[]\n", "cannot load Chart.yaml: "),
    ] {
        refused(
            &Tar::default().file("app/Chart.yaml", text).finish(),
            message,
        );
    }
    refused(
        &chart().file("app/values.yaml", "- a\n").finish(),
        "cannot load values.yaml",
    );
    refused(
        &chart().file("app/values.yaml", "a: [b\n").finish(),
        "cannot load values.yaml",
    );
    refused(
        &chart().file("app/Chart.lock", "a: [b\n").finish(),
        "cannot load Chart.lock",
    );
    for values in [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "null\n",
        "a: {b: [1, 'x']}\n---\nb: 1\n",
        "\u{feff}a: 1\n",
    ] {
        accepted(&chart().file("app/values.yaml", values).finish());
    }
}

#[test]
fn subcharts_are_charts_too() {
    let sub = package("sub", "2.0.0");
    accepted(
        &chart()
            .file("app/charts/sub-2.0.0.tgz", &sub)
            .file("app/charts/sub-2.0.0.tgz.prov", "x")
            .finish(),
    );
    accepted(
        &chart()
            .file("app/charts/sub/Chart.yaml", "name: sub\nversion: 2.0.0\n")
            .finish(),
    );
    accepted(
        &chart()
            .file("app/charts/_x/y", "")
            .file("app/charts/.x", "")
            .finish(),
    );
    let inner = "error unpacking subchart";
    refused(&chart().file("app/charts/README.md", "x").finish(), inner);
    refused(
        &chart().file("app/charts/sub/values.yaml", "a: 1").finish(),
        inner,
    );
    refused(
        &chart()
            .file("app/charts/sub/Chart.yaml", "name: sub\n")
            .finish(),
        inner,
    );
    refused(&chart().file("app/charts/sub.tgz", "x").finish(), inner);
    refused(&chart().file("app/charts/sub.tgz/x", "x").finish(), inner);
    refused(
        &chart()
            .file("app/charts/sub.tgz", &sub[..sub.len() / 2])
            .finish(),
        inner,
    );
    refused(
        &chart()
            .file("app/charts/sub/Chart.yaml", "name: sub\nversion: 1.0.0\n")
            .file("app/charts/sub/charts/deep/values.yaml", "")
            .finish(),
        inner,
    );
    // Packed, with what an upload of its own would be refused for.
    let odd = Tar::default()
        .file("other/Chart.yaml", "name: sub\nversion: 2.0.0\n")
        .finish();
    accepted(&chart().file("app/charts/sub.tgz", odd).finish());
}

#[test]
fn requirements_take_the_place_of_dependencies() {
    let with = |text: &str| chart().file("app/requirements.yaml", text).finish();
    let chart = accepted(&with(
        "dependencies:\n- name: redis\n  version: 1.0.0\n  repository: https://x.example\n",
    ));
    assert_eq!(chart.metadata.dependencies.len(), 1);
    refused(
        &with("name: evil\ndependencies: []\n"),
        "not a name or a version",
    );
    refused(&with("a: [b\n"), "cannot load requirements.yaml");
}

#[test]
fn what_could_be_read_in_two_ways_is_not_let_in() {
    let evil = "name: app\nversion: 2.0.0\n";
    refused_as_upload_only(&chart().file("app/Chart.yaml", evil).finish(), "twice");
    refused_as_upload_only(&chart().file("app/x/../Chart.yaml", evil).finish(), "twice");
    refused_as_upload_only(
        &chart().file("evil/x", "").finish(),
        "more than one top folder",
    );
    let renamed = Tar::default().file("other/Chart.yaml", CHART).finish();
    let warnings = upload(&renamed).expect("as in ChartMuseum").warnings;
    assert!(warnings[0].contains("in a folder named `other`"));
    let template = chart()
        .file("app/templates/a", "1")
        .file("app/templates/a", "2");
    let warnings = upload(&template.finish()).expect("as in Helm").warnings;
    assert!(warnings[0].contains("twice"));
    let number = Tar::default().file("app/Chart.yaml", "name: app\nversion: 1.2\n");
    assert_eq!(
        upload(&number.finish())
            .expect("as in Helm")
            .metadata
            .version,
        "1.2"
    );
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
    ] {
        refused_as_upload_only(
            &chart().member(kind, "app/x", b"").finish(),
            "neither a file nor a directory",
        );
    }
    let number = Tar::default()
        .file("app/Chart.yaml", "name: app\nversion: 1.10\n")
        .finish();
    refused_as_upload_only(&number, "not text");
    let spaced = Tar::default()
        .file("a b/Chart.yaml", "name: a b\nversion: 1.0.0\n")
        .finish();
    refused_as_upload_only(&spaced, "only letters");
    let twice = Tar::default()
        .file("app/Chart.yaml", "name: evil\nname: app\nversion: 1.0.0\n")
        .finish();
    assert!(upload(&twice).is_err());
    // Go passes over this one because of its mode.
    let mut mode = tar::Header::new_ustar();
    mode.set_size(0);
    mode.set_mode(0o040_755);
    mode.as_old_mut().name[..5].copy_from_slice(b"app/y");
    mode.set_cksum();
    refused_as_upload_only(
        &chart().raw(mode.as_bytes()).finish(),
        "mode says directory",
    );
}

#[test]
fn long_names_are_understood_and_bounded() {
    let long = format!("app/templates/{}.yaml", "x".repeat(200));
    accepted(
        &chart()
            .pax(&[("path", &long), ("mtime", "1.5")])
            .file("short", "")
            .finish(),
    );
    let gnu = format!("{long}\0");
    accepted(
        &chart()
            .member(EntryType::GNULongName, "././@LongLink", gnu.as_bytes())
            .file("short", "")
            .finish(),
    );
    accepted(
        &chart()
            .member(EntryType::XGlobalHeader, "pax_global_header", b"junk")
            .finish(),
    );
    refused(
        &chart()
            .pax(&[("path", "app/../../x")])
            .file("short", "")
            .finish(),
        "parent directory",
    );
    let both = chart()
        .member(EntryType::GNULongName, "l", b"app/a\0")
        .pax(&[("path", "app/b")])
        .file("short", "");
    refused_as_upload_only(&both.finish(), "two long names");
    let huge = format!("app/{}", "x".repeat(5000));
    refused(
        &chart().pax(&[("path", &huge)]).file("short", "").finish(),
        "file name of 5004 bytes",
    );
    refused(
        &chart()
            .header(EntryType::GNULongName, "l", 2 * MIB)
            .finish(),
        "extension header of",
    );
    refused(
        &chart()
            .header(EntryType::XHeader, "l", u64::MAX / 4)
            .finish(),
        "extension header of",
    );
    for broken in [
        b"5 a=b\n".as_slice(),
        b"x a=b\n",
        b"99 a=b\n",
        b"6 aab\n",
        b"0 a=b\n",
        b"3 \n",
    ] {
        refused(
            &chart()
                .member(EntryType::XHeader, "pax", broken)
                .file("app/x", "")
                .finish(),
            "invalid tar header",
        );
    }
    let endless = (0..60_000).fold(chart(), |tar, _| {
        tar.header(EntryType::XGlobalHeader, "g", 0)
    });
    refused(&endless.finish(), "more than 50000 members");
}

#[test]
fn sizes_that_lie() {
    refused(
        &chart().header(EntryType::GNUSparse, "app/x", 0).finish(),
        "sparse",
    );
    refused(
        &chart()
            .pax(&[("GNU.sparse.major", "1")])
            .file("app/x", "")
            .finish(),
        "sparse",
    );
    refused(
        &chart()
            .pax(&[("size", "18446744073709551615")])
            .file("app/x", "")
            .finish(),
        "invalid tar header",
    );
    refused(
        &chart()
            .pax(&[("size", "9223372036854775807")])
            .file("app/x", "")
            .finish(),
        "larger than the maximum",
    );
    refused(
        &chart()
            .header(EntryType::Regular, "app/x", u64::MAX / 4)
            .finish(),
        "larger than the maximum",
    );
    refused(
        &chart()
            .header(EntryType::Regular, "app/x", 4096)
            .unfinished(),
        "unexpected EOF",
    );
    // The size that PAX names is the one that counts, as for Helm.
    accepted(
        &chart()
            .pax(&[("size", "3")])
            .header(EntryType::Regular, "app/x", 0)
            .bytes(b"abc")
            .finish(),
    );
}

#[test]
fn limits_are_helms() {
    let mib5 = vec![b'a'; 5 * 1024 * 1024];
    accepted(&chart().file("app/x", &mib5).finish());
    let more = [mib5.as_slice(), b"a"].concat();
    refused_as_upload_only(
        &chart().file("app/x", &more).finish(),
        "larger than the maximum file size 5242880",
    );
    let bomb = (0..21)
        .fold(chart(), |tar, at| tar.file(&format!("app/{at}"), &mib5))
        .finish();
    assert!(
        bomb.len() < 2_000_000,
        "a small package of {} bytes",
        bomb.len()
    );
    refused(&bomb, "larger than the maximum file size 104857600");
    // The same inside a packed subchart counts, too.
    let packed = (0..19)
        .fold(chart(), |tar, at| tar.file(&format!("app/{at}"), &mib5))
        .finish();
    let outer = (0..2).fold(chart(), |tar, at| {
        tar.file(&format!("app/charts/{at}.tgz"), &packed)
    });
    refused(
        &outer.finish(),
        "larger than the maximum file size 104857600",
    );
}

#[test]
fn subcharts_are_nested_only_so_deep() {
    let nested = (0..20).fold(package("app", "1.0.0"), |inner, _| {
        chart().file("app/charts/app.tgz", inner).finish()
    });
    refused(&nested, "nested more than 16 deep");
    let mut folders = chart();
    let mut path = "app".to_owned();
    for _ in 0..20 {
        path += "/charts/a";
        let file = format!("{path}/Chart.yaml");
        folders = folders
            .pax(&[("path", &file)])
            .file("long", "name: a\nversion: 1.0.0\n");
    }
    refused(&folders.finish(), "nested more than 16 deep");
}

#[test]
fn yaml_that_costs_more_than_it_should() {
    let brackets = format!("a: {}", "[".repeat(40_000));
    refused(
        &chart().file("app/values.yaml", &brackets).finish(),
        "nested more than 64 deep",
    );
    refused(
        &Tar::default().file("app/Chart.yaml", &brackets).finish(),
        "nested more than 64 deep",
    );
    let nodes = format!("a: [{}]", "1,".repeat(2_000_000));
    refused(&chart().file("app/values.yaml", &nodes).finish(), "nodes");
    let laughs = (1..20).fold("a0: &a0 [x, x]\n".to_owned(), |text, at| {
        let before = at - 1;
        text + &format!(
            "a{at}: &a{at} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n"
        )
    });
    // Nothing is expanded, because nothing is kept.
    accepted(&chart().file("app/values.yaml", &laughs).finish());
}

#[test]
fn addons_are_recognised() {
    let addon = chart()
        .file("app/metadata.yaml", "name: app\n")
        .file("app/template.cue", "output: {}\n");
    assert!(accepted(&addon.finish()).is_addon);
    assert!(!accepted(&chart().file("app/metadata.yaml", "").finish()).is_addon);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = (upload(&bytes), stored(&bytes));
        let _ = (upload(&gzip(&bytes)), stored(&gzip(&bytes)));
        let _ = provenance::parse(&bytes);
    }

    /// Also: whatever is let in is also read when it is found, as the same chart.
    #[test]
    fn no_damage_makes_the_reader_panic(
        changes in proptest::collection::vec((0..4096_usize, any::<u8>()), 1..8),
        cut in 0..8192_usize,
    ) {
        let tar = chart().pax(&[("path", "app/templates/x")]).file("x", "y").file("app/values.yaml", "a: [1, {b: c}]\n");
        let mut bytes = Vec::new();
        MultiGzDecoder::new(tar.finish().as_slice()).read_to_end(&mut bytes).expect("good");
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        bytes.truncate(cut.max(512));
        let bytes = gzip(&bytes);
        if let Ok(chart) = upload(&bytes) {
            let again = stored(&bytes).expect("stored is laxer");
            prop_assert_eq!(chart.metadata, again.metadata);
        }
    }
}

//! The fuzz targets over their kept inputs and a bounded number of changed ones, with the compiler of the product.
//!
//! Not guided by coverage: that needs `cargo fuzz` and a nightly compiler (fuzz/README.md). `CHARTGATE_FUZZ_RUNS` says how many
//! inputs each target gets, `CHARTGATE_FUZZ_SEED` which ones.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::support::fake::package;
use crate::support::files_below;

#[path = "../../fuzz/bodies.rs"]
mod bodies;

/// Few enough for every run of the tests.
const RUNS: u64 = 2_000;
/// Inputs do not grow without end.
const MAX_INPUT: usize = 16 << 10;

/// The inputs that are kept for a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut files = files_below(&folder.join(target));
    files.sort();
    assert!(!files.is_empty(), "no inputs are kept for `{target}`");
    let read = |path| std::fs::read(path).expect("an input");
    files.into_iter().map(read).collect()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// splitmix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("below a usize")
    }
}

/// Pieces that parsers care about.
const PIECES: [&[u8]; 24] = [
    b"\n",
    b"\r\n",
    b"\0",
    b"..",
    b"/../",
    b"%2e%2e",
    b"%00",
    b"\"",
    b"'",
    b": ",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"&a ",
    b"*a",
    b"|\n",
    b"~",
    b"\xff\xfe",
    b"\xe2\x80\xa8",
    b"9223372036854775808",
    b"-1",
    b"\\",
    b",",
];

/// One to eight small changes.
fn change(input: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    for _ in 0..=dice.below(8) {
        let at = dice.below(input.len() + 1);
        match dice.below(7) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = dice.roll().to_le_bytes()[0],
            2 => {
                let end = (at + dice.below(32)).min(input.len());
                input.drain(at..end);
            }
            3 => {
                let end = (at + dice.below(64)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 => {
                let other = &others[dice.below(others.len())];
                let from = dice.below(other.len() + 1);
                let end = (from + dice.below(128)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
            5 => input.truncate(at),
            _ => {
                let piece = PIECES[dice.below(PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
        }
        input.truncate(MAX_INPUT);
    }
}

/// Runs `body` over the seeds and what becomes of them. A failure shows the input as a Rust literal, to be kept as a seed.
#[track_caller]
fn fuzz(target: &str, seeds: &[Vec<u8>], body: impl Fn(&[u8])) {
    let seed = number("CHARTGATE_FUZZ_SEED", 1);
    let mut dice = Dice(seed);
    let mut pool = seeds.to_vec();
    let check = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| body(input))).is_err() {
            panic!("`{target}` fails on b\"{}\"", input.escape_ascii());
        }
    };
    seeds.iter().for_each(|input| check(input));
    for _ in 0..number("CHARTGATE_FUZZ_RUNS", RUNS) {
        let chosen = dice.below(pool.len());
        let mut input = pool[chosen].clone();
        change(&mut input, seeds, &mut dice);
        check(&input);
        // A random walk that starts anew before nothing is left of the seeds.
        let place = dice.below(64);
        if place < seeds.len() * 2 {
            if pool.len() < seeds.len() * 3 {
                pool.push(input);
            } else {
                pool[seeds.len() + place] = seeds[place % seeds.len()].clone();
            }
        }
    }
}

#[test]
fn archives() {
    // The checksum of a compressed stream would hide everything behind it.
    let unpack = |package: bytes::Bytes| {
        let mut tar = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(&package[..]);
        std::io::copy(&mut reader, &mut tar).expect("a package");
        tar
    };
    let seeds = [
        package("web", "1.0.0", &[]),
        package("a", "0.1.0-rc.1", &[]),
    ]
    .map(unpack);
    fuzz("archive", &seeds, |tar| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(tar).expect("memory takes it");
        bodies::archive(&packer.finish().expect("memory takes it"));
        bodies::archive(tar);
    });
}

#[test]
fn challenges() {
    fuzz("challenge", &seeds("challenge"), bodies::challenge);
}

#[test]
fn indexes() {
    fuzz("index", &seeds("index"), bodies::index);
}

#[test]
fn manifests() {
    fuzz("manifest", &seeds("manifest"), bodies::manifest);
}

#[test]
fn routes() {
    fuzz("route", &seeds("route"), bodies::route);
}

#[test]
fn versions() {
    fuzz("version", &seeds("version"), bodies::version);
}

#[test]
fn credentials() {
    fuzz("credentials", &seeds("credentials"), bodies::credentials);
}

#[test]
fn tokens() {
    fuzz("token", &seeds("token"), bodies::token);
}

#[test]
fn sets_of_keys() {
    fuzz("keys", &seeds("keys"), bodies::keys);
}

#[test]
fn proxy_headers() {
    fuzz("proxy", &seeds("proxy"), bodies::proxy);
}

#[test]
fn forwarded_fields() {
    fuzz("forwarded", &seeds("forwarded"), bodies::forwarded);
}

#[test]
fn paths_of_registries() {
    fuzz("registry", &seeds("registry"), bodies::registry);
}

#[test]
fn fields() {
    fuzz("fields", &seeds("fields"), bodies::fields);
}

#[test]
fn provenance_files() {
    fuzz("prov", &seeds("prov"), bodies::prov);
}

#[test]
fn configurations() {
    fuzz(
        "configuration",
        &seeds("configuration"),
        bodies::configuration,
    );
}

#[test]
fn every_target_is_run_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("a manifest");
    let mut source = include_str!("mod.rs").to_owned();
    source.retain(|c| !c.is_whitespace());
    let files = files_below(&root.join("fuzz/fuzz_targets"));
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str());
        let name = name.expect("a name");
        let text = std::fs::read_to_string(&file).expect("a target");
        assert!(text.contains(&format!("bodies::{name}(bytes)")), "{name}");
        assert!(
            manifest.contains(&format!("fuzz_targets/{name}.rs")),
            "{name}"
        );
        assert!(source.contains(&format!("fuzz(\"{name}\"")), "{name}");
    }
}

#[test]
#[should_panic(expected = "`broken` fails on b\"")]
fn a_body_that_fails_is_found_and_its_input_shown() {
    fuzz("broken", &[b"harmless".to_vec()], |input| {
        assert!(!input.starts_with(b"h") || !input.contains(&b'"'));
    });
}

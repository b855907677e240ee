use std::time::Instant;

use super::*;
use crate::auth::NamePatterns;
use crate::chart::Metadata;
use crate::digest::Digest;
use crate::index::{Entry, Member, Snapshot, SourceIndex, Style};

fn sight(patterns: &[&str]) -> Sight {
    let texts: Vec<_> = patterns.iter().map(|&text| text.to_owned()).collect();
    Sight::of(vec![NamePatterns::new(&texts).expect("patterns")])
}

fn snapshot(charts: &[(String, &str)]) -> Snapshot {
    let entries = charts.iter().map(|(name, version)| {
        let metadata = Metadata {
            name: name.clone(),
            version: (*version).to_owned(),
            ..Metadata::default()
        };
        let digest = Digest::of(format!("{name} {version}").as_bytes());
        Arc::new(Entry::from_metadata(&metadata, digest, Timestamp::UNIX_EPOCH).expect("listed"))
    });
    let member = Member {
        label: "hosted".into(),
        index: Arc::new(SourceIndex::from_entries(entries)),
        reserves_names: true,
    };
    Snapshot::merge(&[member], &Style::default(), None, Timestamp::UNIX_EPOCH)
}

fn published(charts: &[(&str, &str)]) -> Arc<Published> {
    let owned: Vec<_> = charts
        .iter()
        .map(|(name, version)| ((*name).to_owned(), *version))
        .collect();
    Arc::new(Published::new(snapshot(&owned)))
}

#[tokio::test]
async fn a_part_is_made_once_for_all_who_see_the_same() {
    let whole = published(&[("a-1", "1.0.0"), ("a-2", "1.0.0"), ("b", "1.0.0")]);
    let clock = Clock::system();
    let seen = async |patterns: &[&str]| whole.seen(&sight(patterns), &clock).await.expect("made");
    let part = seen(&["a-*"]).await;
    let names: Vec<_> = part
        .snapshot
        .charts()
        .map(|chart| &**chart.name())
        .collect();
    assert_eq!(names, ["a-1", "a-2"]);
    assert!(Arc::ptr_eq(&part, &seen(&["a-*"]).await));
    assert!(!Arc::ptr_eq(&part, &seen(&["a-*", "c"]).await));
    // An index of these charts alone has the same text and the same tag.
    let alone = published(&[("a-1", "1.0.0"), ("a-2", "1.0.0")]);
    assert_eq!(part.snapshot.etag(), alone.snapshot.etag());
    let text = |snapshot: &Snapshot| snapshot.body().into_pieces().concat();
    assert_eq!(text(&part.snapshot), text(&alone.snapshot));
    assert_eq!(part.snapshot.length(), alone.snapshot.length());
    assert!(part.snapshot.find("b-1.0.0.tgz").is_none());
}

#[tokio::test]
async fn a_part_keeps_its_date_until_it_changes() {
    let first = published(&[("a", "1.0.0"), ("b", "1.0.0")]);
    let clock = Clock::system();
    let only_a = sight(&["a"]);
    let before = first.seen(&only_a, &clock).await.expect("made");
    let next = |previous: &Published, charts: &[(&str, &str)]| {
        let snapshot = Snapshot::clone(&published(charts).snapshot);
        Arc::new(Published::after(previous, snapshot))
    };
    let second = next(&first, &[("a", "1.0.0"), ("b", "2.0.0")]);
    // Nobody asks for it between two changes.
    let third = next(&second, &[("a", "1.0.0"), ("b", "3.0.0")]);
    let after = third.seen(&only_a, &clock).await.expect("made");
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(before.snapshot.etag(), after.snapshot.etag());
    assert_eq!(before.snapshot.modified(), after.snapshot.modified());
    let fourth = next(&third, &[("a", "2.0.0")]);
    let changed = fourth.seen(&only_a, &clock).await.expect("made");
    assert_ne!(changed.snapshot.etag(), after.snapshot.etag());
    assert!(changed.snapshot.modified() > after.snapshot.modified());
}

#[tokio::test]
async fn the_least_recently_used_parts_go_first() {
    let whole = published(&[("a", "1.0.0")]);
    let clock = Clock::system();
    let seen = async |number: usize| {
        let one = sight(&["a", &format!("x{number}")]);
        whole.seen(&one, &clock).await.expect("made")
    };
    let first = seen(0).await;
    let second = seen(1).await;
    for number in 2..=MAX_PARTS {
        seen(number).await;
        assert!(Arc::ptr_eq(&first, &seen(0).await), "{number}");
    }
    assert_eq!(whole.parts(), MAX_PARTS);
    assert!(!Arc::ptr_eq(&second, &seen(1).await), "it was forgotten");
}

/// What a hit costs: `cargo test --release --lib views::tests::figures -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn figures() {
    for count in [100, 10_000] {
        let charts: Vec<_> = (0..count)
            .map(|number| (format!("team-{}-chart-{number}", number % 10), "1.0.0"))
            .collect();
        let whole = Arc::new(Published::new(snapshot(&charts)));
        let clock = Clock::system();
        let part = sight(&["team-3-*", "team-4-*"]);
        let start = Instant::now();
        whole.seen(&part, &clock).await.expect("made");
        let first = start.elapsed();
        const HITS: u32 = 100_000;
        let start = Instant::now();
        for _ in 0..HITS {
            std::hint::black_box(whole.seen(&part, &clock).await.expect("made"));
        }
        let hit = start.elapsed() / HITS;
        println!("{count} charts: a part is made in {first:?}, then found in {hit:?}");
    }
}

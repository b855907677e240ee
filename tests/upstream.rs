//! What comes from upstreams, and every way in which it can go wrong.

use crate::support::fake::FakeHelm;

#[test]
fn a_fake_lists_its_charts() {
    let upstream = FakeHelm::new().chart("nginx", "15.1.0").run();
    assert!(upstream.index_text().starts_with(b"apiVersion: v1"));
}

//! Order, reserved names, what failures mean, and who answers for a digest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::http::Body;
use crate::oci::{Algorithm, Annotations, ManifestType};
use crate::repository::{Content, RemoteContent};

/// A registry that says what it is told, and remembers what it was asked.
#[derive(Debug, Default)]
struct Fake {
    label: Arc<str>,
    /// `name` or `name:tag` or `name@digest` -> bytes.
    holds: BTreeMap<String, &'static str>,
    linked: BTreeSet<String>,
    /// Whether blobs are promised first, and sent when their bytes are wanted.
    promises: bool,
    /// Whether it denies having a repository.
    is_late: bool,
    down: Mutex<Option<ErrorKind>>,
    asked: Mutex<Vec<String>>,
}

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

fn name(text: &str) -> RepoName {
    RepoName::parse(text).expect(text)
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect(text)
}

impl Fake {
    fn new(label: &str) -> Self {
        Self {
            label: label.into(),
            ..Self::default()
        }
    }

    /// Holds a manifest under a tag and its digest, whose blob is called `<text>-blob`.
    fn tag(mut self, name: &str, tag: &str, text: &'static str) -> Self {
        self.holds.insert(format!("{name}:{tag}"), text);
        self.holds.insert(format!("{name}@{}", digest(text)), text);
        self.holds.insert(name.to_owned(), "");
        self
    }

    fn blob(mut self, name: &str, text: &'static str) -> Self {
        self.holds.insert(format!("{name}@{}", digest(text)), text);
        self
    }

    fn linked(mut self, name: &str, text: &str) -> Self {
        self.linked.insert(format!("{name}@{}", digest(text)));
        self
    }

    fn arc(self) -> Arc<Self> {
        Arc::new(self)
    }

    fn fail(&self, kind: ErrorKind) {
        *self.down.lock().expect("no panic") = Some(kind);
    }

    fn work(&self) {
        *self.down.lock().expect("no panic") = None;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    fn find(&self, key: &str) -> Result<&'static str> {
        self.asked.lock().expect("no panic").push(key.to_owned());
        if let Some(kind) = *self.down.lock().expect("no panic") {
            return Err(Error::new(kind, format!("`{}` is down", self.label)));
        }
        let held = self.holds.get(key).copied();
        held.ok_or_else(|| Error::not_found(format!("`{}` has no `{key}`", self.label)))
    }
}

/// A promise that is not kept.
#[derive(Debug)]
struct Broken(u64);

#[async_trait]
impl RemoteContent for Broken {
    fn length(&self) -> Option<u64> {
        Some(self.0)
    }

    async fn body(&self, _: Range<u64>) -> Result<Body> {
        Err(Error::unavailable("cut"))
    }
}

#[async_trait]
impl RegistryRepository for Fake {
    fn label(&self) -> &Arc<str> {
        &self.label
    }

    async fn manifest(&self, name: &RepoName, reference: &Reference) -> Result<FoundManifest> {
        let key = match reference {
            Reference::Tag(tag) => format!("{name}:{tag}"),
            Reference::Digest(digest) => format!("{name}@{digest}"),
        };
        let text = self.find(&key)?;
        Ok(FoundManifest {
            digest: digest(text),
            media_type: ManifestType::Image,
            bytes: Bytes::from(text),
            source: Source::of(Origin::Hit),
        })
    }

    async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<Artifact> {
        let text = self.find(&format!("{name}@{digest}"))?;
        let content = match self.promises {
            true => Content::Remote(Arc::new(Broken(text.len() as u64))),
            false => Content::Bytes(Bytes::from(text)),
        };
        Ok(Artifact {
            content,
            origin: Origin::Hit,
            digest: None,
            warning: None,
        })
    }

    async fn tags(&self, name: &RepoName) -> Result<Listed<Tag>> {
        self.find(name.as_str())?;
        let prefix = format!("{name}:");
        let tags = self
            .holds
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix));
        Ok(Listed {
            items: tags.map(|tag| Tag::parse(tag).expect("a tag")).collect(),
            source: Source::of(Origin::Hit),
        })
    }

    async fn referrers(&self, name: &RepoName, subject: &Digest) -> Result<Listed<Descriptor>> {
        let found = match self.find(&format!("{name}<{subject}")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            found => found.ok(),
        };
        let descriptor = |text: &str| Descriptor {
            // Who said it.
            media_type: self.label.clone(),
            digest: digest(text),
            size: 1,
            artifact_type: None,
            annotations: Annotations::default(),
            platform: None,
        };
        Ok(Listed {
            items: found.into_iter().map(descriptor).collect(),
            source: Source::of(Origin::Hit),
        })
    }

    async fn catalog(&self) -> Result<Vec<RepoName>> {
        let names = self
            .holds
            .keys()
            .filter(|key| !key.contains([':', '@', '<']));
        Ok(names.map(|text| name(text)).collect())
    }

    fn links(&self, name: &RepoName, digest: &Digest) -> bool {
        self.linked.contains(&format!("{name}@{digest}"))
    }
}

#[async_trait]
impl ReservesNames for Fake {
    async fn has(&self, name: &RepoName) -> Result<bool> {
        if self.is_late {
            return Ok(false);
        }
        match self.find(name.as_str()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn group(hosted: Option<&Arc<Fake>>, members: &[&Arc<Fake>]) -> RegistryGroup {
    let hosted = hosted.map(|hosted| hosted.clone() as Arc<dyn ReservesNames>);
    let members = members
        .iter()
        .map(|&one| one.clone() as Arc<dyn RegistryRepository>);
    RegistryGroup::new("acme".into(), hosted, members.collect())
}

async fn pull(group: &RegistryGroup, repository: &str, what: &str) -> Result<String> {
    let found = group.manifest(&name(repository), &reference(what)).await?;
    Ok(String::from_utf8(found.bytes.to_vec()).expect("text"))
}

async fn fetch(group: &RegistryGroup, repository: &str, text: &str) -> Result<String> {
    let artifact = group.blob(&name(repository), &digest(text)).await?;
    match artifact.body(0..u64::MAX).await? {
        Body::Bytes(bytes) => Ok(String::from_utf8(bytes.to_vec()).expect("text")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_hosted_comes_first_and_reserves_its_name() {
    let hosted = Fake::new("hosted").tag("app", "1", "ours").arc();
    let evil = Fake::new("hub")
        .tag("app", "1", "theirs")
        .tag("app", "2", "newer")
        .arc();
    let group = group(Some(&hosted), &[&evil]);
    assert_eq!(pull(&group, "app", "1").await.expect("ours"), "ours");
    let absent = pull(&group, "app", "2").await.expect_err("reserved");
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let by_digest = digest("newer").to_string();
    assert!(pull(&group, "app", &by_digest).await.is_err());
    assert!(fetch(&group, "app", "newer").await.is_err());
    let tags = group.tags(&name("app")).await.expect("a list");
    assert_eq!(tags.items.len(), 1);
    let subject = digest("ours");
    let referrers = group
        .referrers(&name("app"), &subject)
        .await
        .expect("a list");
    assert!(referrers.items.is_empty());
    assert_eq!(
        evil.asked(),
        [""; 0],
        "nobody else is asked for a hosted name"
    );
}

#[tokio::test]
async fn a_store_that_cannot_say_hands_no_name_to_others() {
    let hosted = Fake::new("hosted").tag("app", "1", "ours").arc();
    let evil = Fake::new("hub").tag("app", "1", "theirs").arc();
    let group = group(Some(&hosted), &[&evil]);
    hosted.fail(ErrorKind::Internal);
    for what in ["1", &digest("theirs").to_string()] {
        let error = pull(&group, "app", what).await.expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
    assert!(fetch(&group, "app", "theirs").await.is_err());
    assert!(group.tags(&name("app")).await.is_err());
    assert!(group.referrers(&name("app"), &digest("x")).await.is_err());
    assert_eq!(evil.asked(), [""; 0]);
}

/// Another replica took the push a moment ago, and absence is believed for as long.
#[tokio::test]
async fn what_was_pushed_just_now_is_not_told_to_be_absent() {
    let late = Fake {
        is_late: true,
        ..Fake::new("hosted").tag("app", "1", "ours")
    };
    let hosted = late.blob("app", "layer").arc();
    let hub = Fake::new("hub").arc();
    let group = group(Some(&hosted), &[&hub]);
    let by_digest = digest("ours").to_string();
    for what in ["1", &by_digest] {
        assert_eq!(pull(&group, "app", what).await.expect("ours"), "ours");
    }
    assert_eq!(fetch(&group, "app", "layer").await.expect("ours"), "layer");
    let tags = group.tags(&name("app")).await.expect("a list");
    assert_eq!(tags.items.len(), 1);
    // Neither has it: the upstream's words.
    let error = pull(&group, "app", "2").await.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("`hub`"), "{error}");
    // Nobody can say, then, that it is not there.
    hosted.fail(ErrorKind::Internal);
    let error = pull(&group, "app", "1").await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_blob_that_one_member_cannot_send_comes_from_another_that_has_it() {
    let broken = |text: &'static str| {
        let fake = Fake {
            promises: true,
            ..Fake::new("broken")
        };
        fake.blob("a", text).linked("a", text).arc()
    };
    let first = broken("one");
    let second = Fake::new("second")
        .blob("a", "one")
        .linked("a", "one")
        .arc();
    let third = Fake::new("third").blob("a", "one").arc();
    let both = group(None, &[&first, &second]);
    assert_eq!(fetch(&both, "a", "one").await.expect("found"), "one");
    let artifact = both.blob(&name("a"), &digest("one")).await.expect("a blob");
    assert_eq!(artifact.length(), Some(3));
    // Who is not known to have it is not asked for the bytes of another one.
    let error = fetch(&group(None, &[&first, &third]), "a", "one").await;
    assert_eq!(error.expect_err("cut").message(), "cut");
    assert_eq!(third.asked(), [""; 0]);
    // All fail: the reason of the first.
    second.fail(ErrorKind::RateLimited);
    let error = fetch(&both, "a", "one").await.expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
}

#[tokio::test]
async fn the_first_member_that_has_a_tag_answers() {
    let first = Fake::new("first").tag("a", "1", "one").arc();
    let second = Fake::new("second")
        .tag("a", "1", "other")
        .tag("a", "2", "two")
        .arc();
    let group = group(None, &[&first, &second]);
    assert_eq!(pull(&group, "a", "1").await.expect("found"), "one");
    assert_eq!(second.asked(), [""; 0]);
    assert_eq!(pull(&group, "a", "2").await.expect("found"), "two");
    let error = pull(&group, "a", "3").await.expect_err("nowhere");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // One name, one source: no union.
    let tags = group.tags(&name("a")).await.expect("a list").items;
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["1"]);
    assert!(group.tags(&name("b")).await.is_err());
}

#[tokio::test]
async fn absence_needs_every_member() {
    let first = Fake::new("first").arc();
    let second = Fake::new("second").tag("a", "1", "one").arc();
    let group = group(None, &[&first, &second]);
    for (kind, seen) in [
        (
            ErrorKind::UpstreamUnavailable,
            ErrorKind::UpstreamUnavailable,
        ),
        (ErrorKind::RateLimited, ErrorKind::RateLimited),
        (
            ErrorKind::UpstreamUnauthorized,
            ErrorKind::UpstreamUnauthorized,
        ),
        (ErrorKind::UpstreamDenied, ErrorKind::UpstreamDenied),
    ] {
        first.fail(kind);
        // Somebody else has it.
        assert_eq!(pull(&group, "a", "1").await.expect("found"), "one");
        assert_eq!(fetch(&group, "a", "one").await.expect("found"), "one");
        // Nobody else has it.
        let error = pull(&group, "b", "1").await.expect_err("unknown");
        assert_eq!(error.kind(), seen);
        let error = fetch(&group, "b", "x").await.expect_err("unknown");
        assert_eq!(error.kind(), seen);
        let error = group.tags(&name("b")).await.expect_err("unknown");
        assert_eq!(error.kind(), seen);
    }
    first.work();
    let error = pull(&group, "b", "1").await.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_tag_does_not_become_another_members_while_its_own_is_away() {
    let first = Fake::new("first").tag("a", "1", "one").arc();
    let second = Fake::new("second").tag("a", "1", "other").arc();
    let group = group(None, &[&first, &second]);
    assert_eq!(pull(&group, "a", "1").await.expect("found"), "one");
    first.fail(ErrorKind::UpstreamUnavailable);
    let error = pull(&group, "a", "1").await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert!(group.tags(&name("a")).await.is_err());
    assert_eq!(second.asked(), [""; 0]);
    // What it says is another matter: the tag is gone there.
    first.fail(ErrorKind::NotFound);
    assert_eq!(pull(&group, "a", "1").await.expect("found"), "other");
    // And the first one's word counts again when it has it.
    first.work();
    assert_eq!(pull(&group, "a", "1").await.expect("found"), "one");
}

#[tokio::test]
async fn digests_are_asked_for_where_they_are_known_to_be() {
    let first = Fake::new("first")
        .tag("a", "1", "one")
        .blob("a", "layer")
        .arc();
    let second = Fake::new("second")
        .tag("a", "2", "two")
        .blob("a", "layer")
        .linked("a", "layer")
        .arc();
    let group = group(None, &[&first, &second]);
    assert_eq!(fetch(&group, "a", "layer").await.expect("found"), "layer");
    assert_eq!(first.asked(), [""; 0], "the second one has a link");
    second.asked();
    // The member that answered for the repository comes next.
    pull(&group, "a", "2").await.expect("found");
    first.asked();
    let two = digest("two").to_string();
    assert_eq!(pull(&group, "a", &two).await.expect("found"), "two");
    assert_eq!(first.asked(), [""; 0]);
    // But everybody is asked before it is absent.
    let one = digest("one").to_string();
    assert_eq!(pull(&group, "a", &one).await.expect("found"), "one");
    assert!(
        group.links(&name("a"), &digest("layer")) && !group.links(&name("b"), &digest("layer"))
    );
}

#[tokio::test]
async fn referrers_are_those_of_the_member_that_has_the_manifest() {
    let mut first = Fake::new("first").tag("a", "1", "one");
    first
        .holds
        .insert(format!("a<{}", digest("one")), "signature");
    let mut second = Fake::new("second").tag("b", "1", "bee");
    second
        .holds
        .insert(format!("a<{}", digest("one")), "forged");
    second
        .holds
        .insert(format!("b<{}", digest("bee")), "signature");
    let (first, second) = (first.arc(), second.arc());
    let group = group(None, &[&first, &second]);
    let by = async |repository: &str, subject: &str| {
        let list = group.referrers(&name(repository), &digest(subject)).await?;
        Ok::<_, Error>(
            list.items
                .iter()
                .map(|one| one.media_type.to_string())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(by("a", "one").await.expect("a list"), ["first"]);
    assert_eq!(by("b", "bee").await.expect("a list"), ["second"]);
    assert_eq!(by("c", "x").await.expect("a list"), [""; 0]);
    pull(&group, "a", "1").await.expect("found");
    first.fail(ErrorKind::UpstreamUnavailable);
    assert!(by("a", "one").await.is_err(), "nobody else's count");
    assert!(
        by("c", "x").await.is_err(),
        "an empty list would say that there are none"
    );
}

#[tokio::test]
async fn the_catalog_is_everybodys() {
    let hosted = Fake::new("hosted").tag("b", "1", "x").arc();
    let member = Fake::new("hub").tag("a", "1", "x").tag("b", "1", "y").arc();
    let names = group(Some(&hosted), &[&member])
        .catalog()
        .await
        .expect("names");
    assert_eq!(names, [name("a"), name("b")]);
}

#[tokio::test]
async fn a_view_keeps_repositories_out_for_every_question() {
    use super::super::NameRules;
    use super::super::view::{RegistryView, docker_library};

    let inner = Fake::new("hub")
        .tag("library/nginx", "1", "x")
        .tag("nginx", "1", "x")
        .tag("acme/app", "1", "x")
        .linked("acme/app", "x")
        .arc();
    let rules = NameRules::new(&["nginx".into()], &[]).expect("patterns");
    let view = RegistryView::build(inner.clone(), rules, docker_library);
    let digest = digest("x");
    for (repository, let_in) in [
        ("library/nginx", true),
        ("nginx", true),
        ("acme/app", false),
    ] {
        let name = name(repository);
        assert_eq!(
            view.manifest(&name, &reference("1")).await.is_ok(),
            let_in,
            "{name}"
        );
        assert_eq!(view.blob(&name, &digest).await.is_ok(), let_in, "{name}");
        assert_eq!(view.tags(&name).await.is_ok(), let_in, "{name}");
        assert!(
            view.referrers(&name, &digest)
                .await
                .expect("never absent")
                .items
                .is_empty()
        );
    }
    assert!(!view.links(&name("acme/app"), &digest) && inner.links(&name("acme/app"), &digest));
    let asked = inner.asked();
    assert!(
        !asked.iter().any(|key| key.starts_with("acme")),
        "{asked:?}"
    );
    assert_eq!(view.catalog().await.expect("names").len(), 2);
}

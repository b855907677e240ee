//! Tokens from their making to their end, in a folder, with a clock that is moved by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::auth::names::About;
use crate::auth::{Identity, Policy};
use crate::config::{self, Access, Rule, Subject};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// A folder with tokens, and as many processes on it as a test opens.
struct World {
    folder: TempDir,
    clock: Clock,
    config: Config,
}

impl World {
    fn new() -> Self {
        Self::with("true")
    }

    fn with(api_tokens: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text =
            format!("auth: {{api_tokens: {api_tokens}}}\ntenants: {{acme: {{hosted: true}}}}");
        let mut config = config::parse(&text, folder.path(), &|_| None).expect("a configuration");
        config.set_data_dir(&folder.path().join("data"));
        Self {
            clock: Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time")),
            folder,
            config,
        }
    }

    /// A process, which knows nothing yet.
    fn open(&self) -> ApiTokens {
        let tokens = ApiTokens::open(&self.config, &Clients::new(), &self.clock);
        tokens.expect("opened").expect("switched on")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data/tokens")
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path()).expect("the folder");
        let mut names: Vec<_> = names
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.sort();
        names
    }
}

fn wish(name: &str, lasts: Lasts) -> Wish {
    wish_for(name, &["acme/*"], &[Action::Pull], &[], lasts)
}

fn wish_for(
    name: &str,
    tenants: &[&str],
    actions: &[Action],
    names: &[&str],
    lasts: Lasts,
) -> Wish {
    let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
    Wish::new(name, &owned(tenants), actions, &owned(names), lasts).expect("a wish")
}

async fn kind(tokens: &ApiTokens, text: &str) -> Option<ErrorKind> {
    let verified = tokens.verify(text).await.expect("one of ours");
    verified.err().map(|error| error.kind())
}

/// What is refused is refused with 401.
async fn counts(tokens: &ApiTokens, text: &str) -> bool {
    match kind(tokens, text).await {
        None => true,
        Some(ErrorKind::Unauthenticated) => false,
        Some(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_the_whole_text_counts_and_only_its_digest_is_kept() {
    let world = World::new();
    let tokens = world.open();
    let made = tokens
        .create(wish("ci", Lasts::Usually))
        .await
        .expect("made");
    let text = made.text.reveal();
    let token = tokens.verify(text).await.expect("ours").expect("counts");
    assert_eq!(token.id(), &made.listed.id);
    assert_eq!(&**token.name(), "ci");
    assert!(tokens.verify("secret").await.is_none());
    assert!(tokens.verify("eyJ.x.y").await.is_none());
    // Another secret under the same id, with a right checksum.
    let forged = text::generate(made.listed.id).expect("a text");
    assert!(!counts(&tokens, &forged).await);
    // An id that is not there.
    let other = text::generate(TokenId::new().expect("an id")).expect("a text");
    assert!(!counts(&tokens, &other).await);

    let secret = &text[17..47];
    for file in std::fs::read_dir(world.path()).expect("the folder") {
        use std::os::unix::fs::PermissionsExt as _;
        let path = file.expect("an entry").path();
        let kept = std::fs::read_to_string(&path).expect("text");
        assert!(!kept.contains(secret), "{kept}");
        let mode = path.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    assert!(!format!("{made:?}{token:?}{tokens:?}").contains(secret));
}

#[tokio::test]
async fn what_one_process_does_counts_in_another_within_a_second() {
    let world = World::new();
    let (one, other) = (world.open(), world.open());
    let made = one.create(wish("ci", Lasts::Usually)).await.expect("made");
    let text = made.text.reveal();
    assert!(counts(&other, text).await, "it has never looked before");
    let second = one
        .create(wish("second", Lasts::Usually))
        .await
        .expect("made");
    world.clock.advance(Duration::from_millis(100));
    assert!(
        counts(&other, second.text.reveal()).await,
        "looked for again"
    );

    one.revoke(made.listed.id).await.expect("revoked");
    assert!(!counts(&one, text).await, "at once");
    assert!(counts(&other, text).await, "not looked at yet");
    world.clock.advance(SECOND);
    assert!(!counts(&other, text).await);
    assert!(counts(&other, second.text.reveal()).await);
    let error = one.revoke(made.listed.id).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// However long nobody has asked: nobody is let in by what was known then.
#[tokio::test]
async fn those_who_come_together_after_a_rest_all_meet_the_new_state() {
    let world = World::new();
    let (one, other) = (world.open(), world.open());
    let made = one.create(wish("ci", Lasts::Usually)).await.expect("made");
    assert!(counts(&other, made.text.reveal()).await);
    one.revoke(made.listed.id).await.expect("revoked");
    world.clock.advance(600 * SECOND);
    let all = (0..50).map(|_| counts(&other, made.text.reveal()));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|counts| !counts));
}

#[tokio::test]
async fn tokens_end_when_they_said_and_no_later_than_the_configuration_says() {
    let world = World::new();
    let tokens = world.open();
    let short = tokens
        .create(wish("short", Lasts::For(SECOND * 60)))
        .await
        .expect("made");
    let usual = tokens
        .create(wish("usual", Lasts::Usually))
        .await
        .expect("made");
    let forever = tokens
        .create(wish("forever", Lasts::Forever))
        .await
        .expect("made");
    assert_eq!(forever.listed.expires, None);
    let all = |tokens: ApiTokens| {
        let texts = [&short, &usual, &forever].map(|made| made.text.reveal().to_owned());
        async move {
            let mut all = Vec::new();
            for text in &texts {
                all.push(counts(&tokens, text).await);
            }
            all
        }
    };
    world.clock.advance(59 * SECOND);
    assert_eq!(all(tokens.clone()).await, [true, true, true]);
    world.clock.advance(SECOND);
    assert_eq!(all(tokens.clone()).await, [false, true, true]);
    let error = tokens
        .by_id(short.listed.id.as_str())
        .await
        .expect_err("over");
    assert!(error.message().contains("expired"), "{error}");
    world.clock.advance(90 * DAY);
    assert_eq!(all(tokens.clone()).await, [false, false, true]);
    let states: Vec<_> = tokens
        .list()
        .await
        .expect("listed")
        .iter()
        .map(|one| one.state)
        .collect();
    assert_eq!(
        states
            .iter()
            .filter(|state| **state == State::Expired)
            .count(),
        2
    );

    // A limit that comes later counts for what is there, too.
    let mut strict = world.config.clone();
    strict.auth.api_tokens = Some(config::ApiTokens {
        max_age: Some(30 * DAY),
        folder: None,
    });
    let strict = ApiTokens::open(&strict, &Clients::new(), &world.clock);
    let strict = strict.expect("opened").expect("switched on");
    assert_eq!(all(strict.clone()).await, [false, false, false]);
    let error = strict
        .create(wish("long", Lasts::Forever))
        .await
        .expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let new = strict
        .create(wish("new", Lasts::Usually))
        .await
        .expect("made");
    let lasts = new
        .listed
        .expires
        .map(|end| end.duration_since(world.clock.now()).as_hours());
    assert_eq!(lasts, Some(30 * 24));

    // What has ended long ago has gone with that; what only the configuration has ended stays.
    let is_kept = |made: &NewToken| {
        // A note about its last use may come later, and goes another time.
        let file = format!("{}.json", made.listed.id);
        world.files().contains(&file)
    };
    assert_eq!([&short, &usual, &forever].map(is_kept), [false, true, true]);
    world.clock.advance(31 * DAY);
    strict
        .create(wish("another", Lasts::Usually))
        .await
        .expect("made");
    assert_eq!(
        [&short, &usual, &forever].map(is_kept),
        [false, false, true]
    );
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing() {
    let world = World::new();
    let made = (0..20).map(|number| {
        let tokens = world.open();
        async move {
            tokens
                .create(wish(&format!("n{number}"), Lasts::Usually))
                .await
        }
    });
    let made = futures_util::future::join_all(made).await;
    let other = world.open();
    assert_eq!(other.list().await.expect("listed").len(), 20);
    let mut ids = std::collections::HashSet::new();
    for made in made {
        let made = made.expect("made");
        assert!(ids.insert(made.listed.id));
        assert!(counts(&other, made.text.reveal()).await);
    }
    let files = world.files();
    assert!(
        files
            .iter()
            .all(|name| name.ends_with(".json") || name.ends_with(".used")),
        "{files:?}"
    );
}

/// What a crash between write and rename leaves, what somebody else put there, and what was damaged.
#[tokio::test]
async fn what_is_no_token_counts_for_nothing_and_harms_nobody() {
    let world = World::new();
    let tokens = world.open();
    let good = tokens
        .create(wish("good", Lasts::Usually))
        .await
        .expect("made");
    let bad = tokens
        .create(wish("bad", Lasts::Usually))
        .await
        .expect("made");
    let put =
        |name: &str, text: &[u8]| std::fs::write(world.path().join(name), text).expect("written");
    let whole =
        std::fs::read(world.path().join(format!("{}.json", good.listed.id))).expect("there");
    put(".new-0123456789abcdef", &whole[..whole.len() / 2]);
    put(&format!("{}.json", bad.listed.id), b"{\"id\": nonsense");
    put("0123456789ab.json", &whole);
    put("00000000000a.json", &vec![b' '; 1 << 20]);
    put("README.txt", b"hello");
    put("0123456789ac.used", b"");
    std::fs::create_dir(world.path().join("00000000000b.json")).expect("a folder");
    std::os::unix::fs::symlink("/nonexistent", world.path().join("00000000000c.json"))
        .expect("a link");
    world.clock.advance(SECOND);

    assert!(counts(&tokens, good.text.reveal()).await);
    assert!(!counts(&tokens, bad.text.reveal()).await);
    let again = world.open();
    assert!(counts(&again, good.text.reveal()).await);
    assert!(!counts(&again, bad.text.reveal()).await);
    let listed = again.list().await.expect("listed");
    let damaged: Vec<_> = listed
        .iter()
        .filter(|one| one.state == State::Damaged)
        .map(|one| one.id.to_string())
        .collect();
    assert_eq!(damaged.len(), 3, "{listed:?}");
    assert!(damaged.contains(&bad.listed.id.to_string()));
    for id in damaged {
        again
            .revoke(id.parse().expect("an id"))
            .await
            .expect("removed");
    }
    assert_eq!(again.list().await.expect("listed").len(), 1);

    // A good file again: it counts again.
    put(&format!("{}.json", bad.listed.id), &whole);
    assert_eq!(
        again.list().await.expect("listed").len(),
        2,
        "says another id than its name"
    );
    assert!(!counts(&again, bad.text.reveal()).await);

    // What writers left behind an hour ago goes with the next one.
    let left = world.path().join(".new-0123456789abcdef");
    let file = std::fs::File::options()
        .write(true)
        .open(&left)
        .expect("there");
    again
        .create(wish("next", Lasts::Usually))
        .await
        .expect("made");
    assert!(left.exists(), "somebody may be writing it");
    let old = std::time::SystemTime::now() - Duration::from_hours(2);
    file.set_modified(old).expect("set");
    again
        .create(wish("next", Lasts::Usually))
        .await
        .expect("made");
    assert!(!left.exists());
}

#[tokio::test]
async fn a_place_that_does_not_answer_makes_nobody_unknown() {
    let world = World::new();
    let tokens = world.open();
    let made = tokens
        .create(wish("ci", Lasts::Usually))
        .await
        .expect("made");
    let text = made.text.reveal();
    let stranger = text::generate(TokenId::new().expect("an id")).expect("a text");
    let away = world.folder.path().join("away");
    std::fs::rename(world.path(), &away).expect("moved");
    // In its place something that cannot be listed, whoever asks.
    std::fs::write(world.path(), b"").expect("written");
    for _ in 0..3 {
        world.clock.advance(2 * SECOND);
        assert!(counts(&tokens, text).await, "known a moment ago");
        assert_eq!(
            kind(&tokens, &stranger).await,
            Some(ErrorKind::UpstreamUnavailable)
        );
    }
    assert!(tokens.create(wish("new", Lasts::Usually)).await.is_err());
    assert!(tokens.list().await.is_err());
    assert!(
        ApiTokens::open(&world.config, &Clients::new(), &world.clock).is_err(),
        "told at a start"
    );
    world.clock.advance(DAY);
    assert_eq!(
        kind(&tokens, text).await,
        Some(ErrorKind::UpstreamUnavailable),
        "too long ago"
    );

    std::fs::remove_file(world.path()).expect("removed");
    std::fs::rename(&away, world.path()).expect("moved");
    world.clock.advance(2 * SECOND);
    assert!(counts(&tokens, text).await);
    assert!(!counts(&tokens, &stranger).await);
}

#[tokio::test]
async fn the_last_use_is_kept_to_the_hour_and_over_a_restart() {
    let world = World::new();
    let tokens = world.open();
    let made = tokens
        .create(wish("ci", Lasts::Usually))
        .await
        .expect("made");
    let used = world.path().join(format!("{}.used", made.listed.id));
    let last = |tokens: ApiTokens| async move {
        let listed = tokens.list().await.expect("listed");
        listed[0].token.as_ref().and_then(|token| token.last_used())
    };
    assert_eq!(last(tokens.clone()).await, None);
    let first = world.clock.now();
    for _ in 0..100 {
        assert!(counts(&tokens, made.text.reveal()).await);
        world.clock.advance(Duration::from_millis(10));
    }
    until(|| used.exists()).await;
    assert_eq!(last(tokens.clone()).await, Some(first));
    assert_eq!(last(world.open()).await, Some(first));
    world.clock.advance(Duration::from_hours(1));
    let second = world.clock.now();
    assert!(counts(&tokens, made.text.reveal()).await);
    until(|| modified(&used) == second.as_second()).await;
    assert_eq!(last(world.open()).await, Some(second));

    // A note that comes after the end brings nobody back.
    tokens.revoke(made.listed.id).await.expect("revoked");
    assert!(!used.exists());
    std::fs::write(&used, b"").expect("written");
    world.clock.advance(SECOND);
    assert!(!counts(&tokens, made.text.reveal()).await);
    assert!(world.open().list().await.expect("listed").is_empty());
}

fn modified(path: &Path) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().map_or(0, |metadata| metadata.mtime())
}

/// Waits for work that is done behind an answer.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        tokio::task::spawn_blocking(std::thread::yield_now)
            .await
            .expect("a thread");
    }
    panic!("it was never done");
}

#[tokio::test]
async fn a_reload_goes_on_with_what_is_known() {
    let world = World::new();
    let old = world.open();
    old.create(wish("ci", Lasts::Usually)).await.expect("made");
    let mut new = world.open();
    new.take_over(&old);
    assert!(Arc::ptr_eq(&new.book, &old.book));
    let other = World::new();
    let mut elsewhere = other.open();
    elsewhere.take_over(&old);
    assert!(!Arc::ptr_eq(&elsewhere.book, &old.book));
    assert!(elsewhere.list().await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_token_may_do_what_it_was_made_for_and_what_strangers_may() {
    use Action::{Admin, Delete, Pull, Push};
    let world = World::new();
    let tokens = world.open();
    // It has the name of a user with every right, and `user:*` has some.
    let access = Access {
        anonymous: vec![],
        rules: vec![
            Rule {
                subjects: vec![Subject::User("ci".into())],
                actions: vec![Admin],
                names: Vec::new(),
            },
            Rule {
                subjects: vec![Subject::AnyUser, Subject::Group("ci".into())],
                actions: vec![Delete],
                names: Vec::new(),
            },
        ],
    };
    let mut auth = config::Auth::default();
    auth.groups.insert("ci".to_owned(), vec!["ci".to_owned()]);
    auth.users.insert("ci".to_owned(), Secret::new("x"));
    let callers = config::Callers::new(&auth, false);
    let policy = Policy::new(&access, &callers).expect("a policy");
    let open = Access {
        anonymous: vec![Pull],
        rules: Vec::new(),
    };
    let open = Policy::new(&open, &callers).expect("a policy");
    let identity = |wish: Wish| {
        let tokens = tokens.clone();
        async move {
            let made = tokens.create(wish).await.expect("made");
            Identity::ApiToken(made.listed.token.expect("a token"))
        }
    };
    let pulls = identity(wish_for(
        "ci",
        &["acme/*", "/"],
        &[Pull],
        &[],
        Lasts::Usually,
    ))
    .await;
    let some = identity(wish_for(
        "ci",
        &["acme/*"],
        &[Pull, Push],
        &["app-*"],
        Lasts::Usually,
    ))
    .await;
    let all = identity(wish_for("ci", &["acme/a"], &[Admin], &[], Lasts::Usually)).await;
    let kept = identity(wish_for(
        "ci",
        &["acme/a"],
        &[Admin],
        &["app"],
        Lasts::Usually,
    ))
    .await;
    for (who, path, action, name, expected) in [
        (&pulls, "acme/a", Pull, "app", true),
        (&pulls, "", Pull, "app", true),
        (&pulls, "acme/a", Push, "app", false),
        (&pulls, "acme/a", Delete, "app", false),
        (&pulls, "acme", Pull, "app", false),
        (&pulls, "acme/a/b", Pull, "app", false),
        (&some, "acme/a", Pull, "app-1", true),
        (&some, "acme/a", Push, "app-1", true),
        (&some, "acme/a", Pull, "app", false),
        (&some, "acme/a", Push, "lib", false),
        (&all, "acme/a", Admin, "x", true),
        (&all, "acme/a", Delete, "x", true),
        (&all, "acme/b", Pull, "x", false),
        (&kept, "acme/a", Delete, "app", true),
        (&kept, "acme/a", Admin, "app", false),
    ] {
        let about = About::Name(name);
        assert_eq!(
            policy.allows(who, path, action, about),
            expected,
            "{path} {action} {name}"
        );
        assert_eq!(policy.sight(who, path, action).shows(name), expected);
        let refused = policy.authorize(who, path, action, about).err();
        assert_eq!(refused.is_none(), expected);
        assert!(
            refused.is_none_or(|error| error.kind() != ErrorKind::Unauthenticated),
            "another token would not help"
        );
        assert!(open.allows(who, path, Pull, about), "as strangers");
    }
    assert!(
        policy.allows(&some, "acme/a", Push, About::Tenant),
        "to something"
    );
    assert!(!policy.allows(&some, "acme/b/c", Push, About::Tenant));
    assert_eq!(pulls.kind(), "api_token");
    assert_eq!(pulls.log_name(), "ci");
    assert_ne!(pulls, some, "though they have one name");
}

//! What the gate costs on a cached hit: who asks, and whether he may. `cargo bench --bench gate`.
//!
//! Each row is one request for an index: its credentials are read and verified, the tenant is found, its rules are asked.
//! Everybody has been seen before. Nothing of the answer itself is measured.

use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use chartgate::audit::Audit;
use chartgate::auth::{About, Lasts, Wish};
use chartgate::base64;
use chartgate::cache::Cache;
use chartgate::clock::Clock;
use chartgate::config::{self, Action};
use chartgate::gateway::{Ask, Gateway, Shared};
use chartgate::http::{HeaderMap, HeaderValue, Method, Request, header};
use chartgate::limit::Demand;
use chartgate::metrics::Metrics;
use chartgate::net::Clients;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CONFIG: &str = "
auth:
  users_file: htpasswd
  api_tokens: true
  groups: {dev: [alice, bob]}
  jwt:
    - {public_key_file: tokens.pem, audience: charts, subject_claim: sub}
tenants:
  open: {hosted: true, access: {anonymous: pull}}
  acme:
    hosted: true
    access:
      rules:
        - {subjects: ['user:alice', 'group:ops'], actions: [pull, push, delete]}
        - {subjects: ['group:dev'], actions: push}
        - {subjects: ['claim:repository=acme/*'], actions: pull}
        - {subjects: ['user:ci'], actions: [pull, push]}
  named:
    hosted: true
    access:
      rules:
        - {subjects: ['user:alice', 'group:ops'], actions: [pull, push, delete], names: ['infra-*']}
        - {subjects: ['user:ci', 'claim:repository=acme/*'], actions: pull, names: ['lib-*', 'base']}
        - {subjects: ['user:ci', 'claim:repository=acme/*'], actions: [pull, push], names: ['app', 'team-*']}
";

/// `secret`, at a cost that nobody could afford to compute with every request: a quarter of a second.
const USERS: &str = "ci:$2y$12$abcdefghijklmnopqrstuuT1Iwu6o8Wx7BoOyIMHfgVJq6JO/IJhW\n";

/// A token as a job of GitHub Actions has it, and the key that it is signed for.
fn token(folder: &Path) -> String {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    std::fs::write(folder.join("tokens.pem"), pair.public_key_pem()).expect("written");
    let key = jsonwebtoken::EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes());
    let claims = json!({
        "aud": "charts", "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app",
        "repository_owner": "acme", "ref": "refs/heads/main", "ref_type": "branch", "workflow": "release",
        "job_workflow_ref": "acme/app/.github/workflows/release.yml@refs/heads/main", "run_id": "1234567890",
        "actor": "octocat", "event_name": "push", "runner_environment": "github-hosted",
        "exp": jiff::Timestamp::now().as_second() + 86_400,
    });
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    jsonwebtoken::encode(&header, &claims, &key.expect("a key")).expect("signed")
}

async fn open(folder: &Path) -> Arc<Gateway> {
    std::fs::write(folder.join("htpasswd"), USERS).expect("written");
    let mut config = config::parse(CONFIG, folder, &|_| None).expect("a configuration");
    config.set_data_dir(&folder.join("data"));
    let (metrics, clock) = (Arc::new(Metrics::new()), Clock::system());
    let place = config.data_dir.join("cache");
    let cache = Cache::open(&config.cache, place, metrics.clone(), clock.clone()).await;
    let shared = Shared {
        cache: cache.expect("a cache"),
        clients: Arc::new(Clients::new()),
        metrics,
        clock,
        places: Arc::default(),
        audit: Arc::new(Audit::off()),
        unpacking: Arc::new(Semaphore::new(1)),
    };
    let gateway = Gateway::build(config, &shared, None, &(Arc::new(|_, _| ()) as _)).await;
    gateway.expect("a gateway")
}

async fn api_token(gateway: &Gateway) -> String {
    let tokens = gateway.authenticator().api_tokens().expect("configured");
    let wish = Wish::new(
        "bench",
        &["acme".to_owned()],
        &[Action::Pull],
        &[],
        Lasts::Usually,
    );
    let made = tokens.create(wish.expect("a wish")).await.expect("a token");
    made.text.reveal().to_owned()
}

fn request(authorization: Option<&str>) -> Request {
    let mut headers = HeaderMap::new();
    if let Some(authorization) = authorization {
        let value = HeaderValue::from_str(authorization).expect("a value");
        headers.insert(header::AUTHORIZATION, value);
    }
    Request {
        method: Method::GET,
        path: "/acme/index.yaml".to_owned(),
        query: None,
        headers,
        host: Some("charts.example.com".to_owned()),
        secure: false,
        peer: "10.1.2.3:4567".parse().ok(),
        certificate_subject: None,
        id: String::new(),
        account: OnceLock::new(),
    }
}

fn basic(name: &str, password: &str) -> String {
    let text = base64::encode(format!("{name}:{password}").as_bytes());
    format!("Basic {text}")
}

fn gate(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let token = token(folder.path());
    let runtime = Runtime::new().expect("a runtime");
    let gateway = runtime.block_on(open(folder.path()));
    let own = runtime.block_on(api_token(&gateway));
    let mut group = c.benchmark_group("gate");
    for (name, tenant, authorization) in [
        ("anonymous", "open", None),
        (
            "token seen before, as Bearer",
            "acme",
            Some(format!("Bearer {token}")),
        ),
        (
            "token seen before, as password",
            "acme",
            Some(basic("x", &token)),
        ),
        ("API token", "acme", Some(format!("Bearer {own}"))),
        (
            "bcrypt user seen before",
            "acme",
            Some(basic("ci", "secret")),
        ),
        (
            "token seen before, rules limited to names",
            "named",
            Some(format!("Bearer {token}")),
        ),
        (
            "bcrypt user seen before, rules limited to names",
            "named",
            Some(basic("ci", "secret")),
        ),
    ] {
        let request = request(authorization.as_deref());
        let address = request.peer.map(|peer| peer.ip());
        let about = match tenant {
            "named" => About::Name("team-app"),
            _ => About::Tenant,
        };
        let pass = async || {
            let identity = gateway.authenticate(&request).await.expect("known");
            let ask = Ask {
                identity: &identity,
                address,
                action: Action::Pull,
                about,
                demand: Demand::Request,
            };
            gateway.admit(tenant, &ask).await.expect("allowed")
        };
        runtime.block_on(pass());
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(async { black_box(pass().await) }));
        });
    }
    group.finish();
}

criterion_group!(benches, gate);
criterion_main!(benches);

//! Who asks an object store, under which address, and with which wishes: what the settings that no installable server can
//! prove become on the wire.

use std::path::Path;
use std::process::Command;

use chartgate::config::{self, Client, ObjectStore, Place, S3, Secret, Service};

use crate::suites::bucket::{open, put};
use crate::support::fake::{Asked, FakeService, Said};
use crate::support::stores::{client, s3};

const TAG: &str = "\"9a0364b9e99bb480dd25e1f0284c8555\"";
const TIME: &str = "Fri, 20 Nov 2026 15:59:01 GMT";

fn service() -> FakeService {
    FakeService::run(|asked| match asked.method.as_str() {
        "PUT" => Said::new(200, "").with("ETag", TAG),
        _ => Said::new(200, "content")
            .with("ETag", TAG)
            .with("Last-Modified", TIME),
    })
}

/// What a bucket with these settings asks while an object is written.
async fn written(
    service: &FakeService,
    client: Client,
    change: impl FnOnce(&mut S3),
) -> Vec<Asked> {
    let mut bucket = s3(&service.url());
    let Service::S3(settings) = &mut bucket else {
        panic!("{bucket:?}");
    };
    change(settings);
    let place = ObjectStore {
        service: bucket,
        prefix: "team".into(),
        client,
    };
    put(&open(&place), "org1/a-1.0.0.tgz", "content").await;
    service.asked()
}

fn is_put(asked: &&Asked) -> bool {
    asked.method == "PUT"
}

#[tokio::test]
async fn temporary_credentials_send_their_token_and_sign_it() {
    let service = service();
    let asked = written(&service, client(), |s3| {
        s3.session_token = Some(Secret::new("the-session"));
    })
    .await;
    assert!(!asked.is_empty());
    for asked in &asked {
        assert_eq!(asked.header("x-amz-security-token"), Some("the-session"));
        let signature = asked.header("authorization").expect("a signature");
        assert!(signature.contains("Credential=minio-user/"), "{signature}");
        let signed = signature.split("SignedHeaders=").nth(1).expect("a list");
        assert!(signed.contains("x-amz-security-token"), "{signature}");
    }
    // Nobody sends one that is not there.
    let service = self::service();
    let asked = written(&service, client(), |_| {}).await;
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("x-amz-security-token").is_none())
    );
}

#[tokio::test]
async fn the_bucket_is_in_the_path_or_in_the_host() {
    let service = service();
    let asked = written(&service, client(), |_| {}).await;
    let put = asked.iter().find(is_put).expect("a PUT");
    assert_eq!(put.target, "/charts/team/org1/a-1.0.0.tgz");

    // The host leads nowhere; a proxy sees the whole URL.
    let service = self::service();
    let through = Client {
        proxy: Some(service.url().parse().expect("a URL")),
        ..client()
    };
    let asked = written(&service, through, |s3| {
        s3.endpoint = Some("http://s3.eu-west-1.example.com".into());
        s3.path_style = false;
    })
    .await;
    for asked in &asked {
        assert_eq!(
            asked.target,
            "http://charts.s3.eu-west-1.example.com/team/org1/a-1.0.0.tgz"
        );
        assert_eq!(
            asked.header("host"),
            Some("charts.s3.eu-west-1.example.com")
        );
    }
    assert!(asked.iter().any(|asked| is_put(&asked)));
}

#[tokio::test]
async fn uploads_ask_for_encryption_where_it_is_wished() {
    for wish in ["AES256", "aws:kms"] {
        let service = service();
        let asked = written(&service, client(), |s3| {
            s3.server_side_encryption = Some(wish.into());
        })
        .await;
        let put = asked.iter().find(is_put).expect("a PUT");
        assert_eq!(put.header("x-amz-server-side-encryption"), Some(wish));
        let signature = put.header("authorization").expect("a signature");
        assert!(
            signature.contains("x-amz-server-side-encryption"),
            "{signature}"
        );
    }
    let service = service();
    let asked = written(&service, client(), |_| {}).await;
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("x-amz-server-side-encryption").is_none())
    );
}

/// The store that ChartMuseum's flags and variables become.
fn migrated(flags: &[&str], variables: &[(&str, String)]) -> ObjectStore {
    let output = Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .args(["migrate", "chartmuseum"])
        .args(flags)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("running the program");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let env = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone())
    };
    let config = config::parse(&text, Path::new("/"), &env)
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    match config.store.place {
        Place::Objects(objects) => *objects,
        Place::Folder(folder) => panic!("{}", folder.display()),
    }
}

/// Swift's own service and Ceph's gateway call their logins by different names.
#[tokio::test]
async fn swift_version_1_is_asked_for_as_chartmuseum_does() {
    for login in ["/auth/v1.0", "/auth/1.0", "/auth", "/auth/v1.0/"] {
        let service = FakeService::run(|asked| {
            if asked.target.starts_with("/auth") {
                let host = asked.header("host").expect("a host");
                return Said::new(204, "")
                    .with("X-Auth-Token", "v1-token")
                    .with("X-Storage-Url", &format!("http://{host}/v1/AUTH_x"));
            }
            Said::new(404, "")
        });
        let flags = [
            "--storage=openstack",
            "--storage-openstack-auth=v1",
            "--storage-openstack-container=charts",
            "--storage-openstack-prefix=/team/",
        ];
        let variables = [
            ("ST_AUTH", format!("{}{login}", service.url())),
            ("ST_USER", "account:user".to_owned()),
            ("ST_KEY", "the-key".to_owned()),
        ];
        let bucket = open(&migrated(&flags, &variables));
        assert_eq!(bucket.stat("a").await.expect("answered"), None, "{login}");
        let asked = service.asked();
        assert_eq!(asked[0].method, "GET");
        assert_eq!(asked[0].target, login.trim_end_matches('/'));
        assert_eq!(asked[0].header("x-auth-user"), Some("account:user"));
        assert_eq!(asked[0].header("x-auth-key"), Some("the-key"));
        assert_eq!(asked[1].target, "/v1/AUTH_x/charts/team/a");
        assert_eq!(asked[1].header("x-auth-token"), Some("v1-token"));
    }
}

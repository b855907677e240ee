//! User and password for an upstream: as configured, or from a program that makes them.
//!
//! Some registries hand out passwords that last for hours only (ECR: 12 h, from an API of their own). Programs that fetch them
//! exist already: Docker's credential helpers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use url::Url;

use super::settings::{Credentials, Settings};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, ErrorKind, Result};

/// Who we are.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: Secret,
    /// The password is a refresh token.
    pub(super) is_refresh_token: bool,
}

/// Knows who we are, or asks.
pub(super) struct Login {
    upstream: Arc<str>,
    host: String,
    credentials: Option<Credentials>,
    /// What the helper said, and when.
    asked: tokio::sync::Mutex<Option<(User, Timestamp)>>,
    patience: Duration,
    clock: Clock,
}

impl Login {
    pub(super) fn new(
        upstream: Arc<str>,
        registry: &Url,
        settings: &Settings,
        clock: Clock,
    ) -> Self {
        let host = registry.host_str().unwrap_or_default();
        Self {
            upstream,
            host: match registry.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            credentials: settings.credentials.clone(),
            asked: tokio::sync::Mutex::default(),
            patience: settings.client.timeout,
            clock,
        }
    }

    /// User and password. `None`: there are none. Errors: the helper fails.
    pub(super) async fn user(&self) -> Result<Option<User>> {
        let user = |name: &String, password: &Secret, is_refresh_token| {
            Some(User {
                name: name.clone(),
                password: password.clone(),
                is_refresh_token,
            })
        };
        match &self.credentials {
            None | Some(Credentials::Bearer(_)) => Ok(None),
            Some(Credentials::Basic(name, password)) => Ok(user(name, password, false)),
            Some(Credentials::Refresh(name, token)) => Ok(user(name, token, true)),
            Some(Credentials::Helper(program, life)) => {
                let mut asked = self.asked.lock().await;
                if let Some((user, when)) = &*asked
                    && self.clock.since(*when) < *life
                {
                    return Ok(Some(user.clone()));
                }
                // It is asked outside of any client's time, and one at a time: the lock is meant to be held.
                let outcome = tokio::time::timeout(self.patience, ask(program, &self.host)).await;
                let outcome = outcome.unwrap_or_else(|_| Err("does not end".into()));
                match outcome {
                    Ok(user) => {
                        *asked = Some((user.clone(), self.clock.now()));
                        Ok(Some(user))
                    }
                    Err(why) => Err(Error::new(
                        ErrorKind::UpstreamUnavailable,
                        format!(
                            "the credential helper `{}` of upstream `{}` {why}",
                            program.display(),
                            self.upstream
                        ),
                    )),
                }
            }
        }
    }

    /// What was said is not good any more.
    pub(super) async fn refused(&self) {
        *self.asked.lock().await = None;
    }
}

/// Docker's protocol of credential helpers. The error says what the program did, never what it wrote.
async fn ask(program: &Path, host: &str) -> Result<User, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Said {
        username: String,
        secret: String,
    }
    let mut child = Command::new(PathBuf::from(program))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that reads nothing has closed it; its answer counts.
        let _ = input.write_all(host.as_bytes()).await;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !output.status.success() {
        return Err(format!("failed ({})", output.status));
    }
    let said: Said = serde_json::from_slice(&output.stdout)
        .map_err(|_| "did not answer with `Username` and `Secret`".to_owned())?;
    let is_refresh_token = said.username == "<token>";
    Ok(User {
        name: said.username,
        password: Secret::new(said.secret),
        is_refresh_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(script: &str) -> (Login, Clock, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("docker-credential-test");
        // Written by another process: a fork of this one that still has the file open would make it "busy".
        let written = std::process::Command::new("sh")
            .args([
                "-c",
                r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#,
                "sh",
                script,
            ])
            .arg(&program)
            .status();
        assert!(written.expect("a shell").success());
        let url = Url::parse("https://123.dkr.ecr.eu-west-1.amazonaws.com/").expect("a URL");
        let client = crate::config::Client {
            timeout: Duration::from_secs(20),
            ..crate::config::Client::default()
        };
        let settings = Settings {
            credentials: Some(Credentials::Helper(program, Duration::from_hours(6))),
            ..Settings::new(url.clone(), client)
        };
        let clock = Clock::manual("2026-11-20T15:59:01Z".parse().expect("a time"));
        let login = Login::new(Arc::from("ecr"), &url, &settings, clock.clone());
        (login, clock, folder)
    }

    #[tokio::test]
    async fn a_helper_is_asked_with_the_host_and_again_when_its_answer_is_old_or_refused() {
        let (login, clock, folder) = login(
            r#"host=$(cat); echo x >> "$(dirname "$0")/calls"
               echo "{\"ServerURL\":\"$host\",\"Username\":\"AWS\",\"Secret\":\"for $1 $host\"}""#,
        );
        let calls = || {
            std::fs::read_to_string(folder.path().join("calls")).map_or(0, |t| t.lines().count())
        };
        let user = login.user().await.expect("an answer").expect("a user");
        assert_eq!(user.name, "AWS");
        assert_eq!(
            user.password.reveal(),
            "for get 123.dkr.ecr.eu-west-1.amazonaws.com"
        );
        login.user().await.expect("an answer");
        assert_eq!(calls(), 1);
        clock.advance(Duration::from_hours(6));
        login.user().await.expect("an answer");
        assert_eq!(calls(), 2);
        login.refused().await;
        login.user().await.expect("an answer");
        assert_eq!(calls(), 3);
    }

    #[tokio::test]
    async fn a_token_in_place_of_a_password_is_known_by_its_user() {
        let (login, _clock, _folder) = login(r#"echo '{"Username":"<token>","Secret":"s"}'"#);
        let user = login.user().await.expect("an answer").expect("a user");
        assert!(user.is_refresh_token);
    }

    #[tokio::test]
    async fn what_a_helper_does_wrong_is_told_without_what_it_wrote() {
        for (script, words) in [
            ("echo s3cret; exit 1", "failed (exit status: 1)"),
            ("echo s3cret", "did not answer with"),
            ("exec 1>&-; exit 0", "did not answer with"),
        ] {
            let (login, _clock, _folder) = login(script);
            let error = login.user().await.expect_err("no user");
            assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
            assert!(error.message().contains(words), "{error}");
            assert!(!error.chain().contains("s3cret"), "{}", error.chain());
        }
        let (mut login, _, folder) = login("");
        login.credentials = Some(Credentials::Helper(
            folder.path().join("none"),
            Duration::MAX,
        ));
        let error = login.user().await.expect_err("no user");
        assert!(error.message().contains("cannot be started"), "{error}");
    }
}

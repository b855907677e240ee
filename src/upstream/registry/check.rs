//! Whether a registry can be reached, for operators.

use super::answer::Identity;
use super::{Lane, Question, Registry};
use crate::error::Result;
use crate::http::{HeaderMap, Method, StatusCode};

impl Registry {
    /// Whether it answers and takes our credentials, and what it said in a few words; for `chartgate check --connect`.
    pub async fn check(&self) -> Result<String> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}v2/", self.base.path()));
        let question = Question {
            lane: Lane::Lists,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            repository: None,
            max_redirects: 0,
        };
        let (answer, identity) = self.ask(&question).await?;
        let has_credentials = self.doorman.has_credentials();
        let text = match (answer.status, identity) {
            (StatusCode::OK, Identity::Nobody) if has_credentials => {
                "answers without asking for the credentials"
            }
            (StatusCode::OK, Identity::Nobody) => "answers strangers",
            (StatusCode::OK, _) if has_credentials => "answers and takes the credentials",
            (StatusCode::OK, _) => "answers and gives strangers a token",
            // Some give tokens for repositories only.
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Identity::Token)
                if !has_credentials =>
            {
                "answers; strangers get tokens for single repositories"
            }
            _ => return Err(self.refusal(&answer, identity, &question.object())),
        };
        answer.discard().await;
        Ok(text.to_owned())
    }
}

//! `chartgate token`: makes, lists and revokes API tokens where the gateway keeps them, whether or not it runs.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;

use super::args::{Token, TokenCreate, TokenList, TokenRevoke};
use super::failure::Failure;
use super::inspect::print;
use super::noted::Noted;
use super::serve;
use super::table::{self, Cells};
use crate::audit::{Object, Outcome, error_word};
use crate::auth::{ApiTokens, Identity, Lasts, Listed, NewToken, State, TokenId, Wish};
use crate::clock::Clock;
use crate::config::{AuditPlace, Config};
use crate::error::{Error, Result};
use crate::http::Body;
use crate::net::Clients;
use crate::server;

/// Runs one of the commands.
pub(super) fn run(command: &Token) -> Result<(), Failure> {
    match command {
        Token::Create(arguments) => create(arguments),
        Token::List(arguments) => list(arguments),
        Token::Revoke(arguments) => revoke(arguments),
    }
}

/// The text of the token goes to standard output, alone, so that it can be piped; what it is goes to standard error.
fn create(arguments: &TokenCreate) -> Result<(), Failure> {
    let wish = Wish::new(
        &arguments.name,
        &arguments.tenants,
        &arguments.actions,
        &arguments.names,
        arguments.expires.unwrap_or(Lasts::Usually),
    )?;
    let desk = Desk::open(arguments.config.as_deref())?;
    let create = async |tokens: &ApiTokens| tokens.create(wish).await;
    let (made, noted) = desk.change("token_create", |made: &NewToken| &made.listed, create)?;
    let text = made.text.reveal();
    if arguments.json {
        let mut described = serde_json::to_value(&made.listed)
            .map_err(|cause| Error::internal("the token could not be described", cause))?;
        described["token"] = text.into();
        out(format!("{described:#}\n"))?;
    } else {
        out(format!("{text}\n"))?;
        eprintln!(
            "{}\nkeep it now: it is not shown again; `chartgate token revoke {}` ends it",
            sentence(&made.listed),
            made.listed.id
        );
    }
    noted.close()
}

fn list(arguments: &TokenList) -> Result<(), Failure> {
    let desk = Desk::open(arguments.config.as_deref())?;
    let all = desk.run(async |tokens| tokens.list().await)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "tokens": all }));
        let text = text.map_err(|cause| Error::internal("the list could not be made", cause))?;
        return out(text + "\n");
    }
    if all.is_empty() {
        eprintln!("there are no tokens; `chartgate token create` makes one");
        return Ok(());
    }
    out(list_of(&all))
}

fn revoke(arguments: &TokenRevoke) -> Result<(), Failure> {
    let id = id(&arguments.id)?;
    let desk = Desk::open(arguments.config.as_deref())?;
    let revoke = async |tokens: &ApiTokens| tokens.revoke(id).await;
    let (revoked, noted) = desk.change("token_revoke", |revoked: &Listed| revoked, revoke)?;
    match &revoked.token {
        Some(token) => eprintln!("revoked `{token}` ({id})"),
        None => eprintln!("removed `{id}`, which was damaged"),
    }
    noted.close()
}

/// The holder of the token with this id, for questions about what he may do. Errors: it counts nowhere.
pub(super) fn holder(config: &Config, text: &str) -> Result<Identity, Failure> {
    let id = id(text)?;
    let all = Desk::of(config.clone())?.run(async |tokens| tokens.list().await)?;
    let found = all.into_iter().find(|listed| listed.id == id);
    match found {
        Some(Listed {
            state: State::Active,
            token: Some(token),
            ..
        }) => Ok(Identity::ApiToken(token)),
        Some(listed) => Err(Failure::Usage(format!(
            "token `{id}` is {} and may do nothing",
            listed.state.as_str()
        ))),
        None => Err(Failure::Usage(format!(
            "there is no token `{id}`; `chartgate token list` shows all"
        ))),
    }
}

/// An id, or a token itself, which somebody has found where it should not be.
fn id(text: &str) -> Result<TokenId> {
    let id = text.strip_prefix("cgt_").unwrap_or(text);
    id.split('_').next().unwrap_or(id).parse()
}

/// What the commands need.
struct Desk {
    config: Config,
    runtime: tokio::runtime::Runtime,
}

impl Desk {
    fn open(file: Option<&Path>) -> Result<Self, Failure> {
        Self::of(serve::read(file)?)
    }

    fn of(config: Config) -> Result<Self, Failure> {
        if config.auth.api_tokens.is_none() {
            return Err(Failure::Usage(
                "the configuration has no API tokens; set `auth.api_tokens: true`".to_owned(),
            ));
        }
        let runtime = server::runtime(&config.server)?;
        Ok(Self { config, runtime })
    }

    fn run<T>(&self, work: impl AsyncFnOnce(&ApiTokens) -> Result<T>) -> Result<T> {
        self.runtime.block_on(async {
            let tokens = ApiTokens::open(&self.config, &Clients::new(), &Clock::system())?;
            let tokens = tokens.ok_or_else(|| Error::invalid("`auth.api_tokens` is not set"))?;
            work(&tokens).await
        })
    }

    /// As [`Desk::run`] for what changes something, with a line in the audit log about the token that `about` finds in the result.
    fn change<T>(
        &self,
        route: &'static str,
        about: impl FnOnce(&T) -> &Listed,
        work: impl AsyncFnOnce(&ApiTokens) -> Result<T>,
    ) -> Result<(T, Noted), Failure> {
        let mut config = self.config.clone();
        // Standard output is the gateway's log, and here what the command prints.
        config.audit = config
            .audit
            .filter(|audit| audit.place != AuditPlace::Stdout);
        let noted = Noted::open(&config, route)?;
        match self.run(work) {
            Ok(done) => {
                noted.note("admin", Outcome::Done, |event| {
                    let listed = about(&done);
                    let name = listed.token.as_ref().map_or("", |token| token.name());
                    let id = Some(listed.id.as_str());
                    event.object = Some(Object::own("api_token", name, id));
                });
                Ok((done, noted))
            }
            Err(error) => {
                noted.note("admin", Outcome::Failed, |event| {
                    event.error = Some(error_word(error.kind()));
                });
                // The first failure is the one to be told.
                let _ = noted.close();
                Err(error.into())
            }
        }
    }
}

fn out(text: String) -> Result<(), Failure> {
    print(&Body::Bytes(text.into()))
}

/// `token `ci` (a1b2…) may pull, push in acme/*, charts and repositories app-*, until 2027-02-19`
fn sentence(listed: &Listed) -> String {
    let Some(token) = &listed.token else {
        return String::new();
    };
    let names = match token.names() {
        [] => String::new(),
        names => format!(", only {}", names.join(", ")),
    };
    let end = match listed.expires {
        Some(end) => format!("until {}", minute(end)),
        None => "until it is revoked".to_owned(),
    };
    format!(
        "token `{token}` ({}) may {} in {}{names}, {end}",
        listed.id,
        actions(listed),
        tenants(listed)
    )
}

fn list_of(all: &[Listed]) -> String {
    let head = [
        "ID",
        "NAME",
        "STATE",
        "TENANTS",
        "ACTIONS",
        "NAMES",
        "CREATED",
        "EXPIRES",
        "LAST USED",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for listed in all {
        let token = listed.token.as_ref();
        let never = || "never".to_owned();
        rows.push([
            listed.id.to_string(),
            token.map_or("-".to_owned(), |token| token.name().to_string()),
            listed.state.as_str().to_owned(),
            tenants(listed),
            actions(listed),
            token.map_or(String::new(), |token| match token.names() {
                [] => "all".to_owned(),
                names => names.join(","),
            }),
            token.map_or(String::new(), |token| minute(token.created())),
            token.map_or(String::new(), |_| listed.expires.map_or_else(never, minute)),
            token.map_or(String::new(), |token| {
                token.last_used().map_or_else(never, minute)
            }),
        ]);
    }
    let mut text = table::render(&rows, Cells::Texts);
    for listed in all {
        if let Some(problem) = &listed.problem {
            let _ = writeln!(text, "`{}` does not count: {problem}", listed.id);
        }
    }
    text
}

fn tenants(listed: &Listed) -> String {
    let tenants = listed
        .token
        .as_ref()
        .map(|token| token.tenants().collect::<Vec<_>>());
    tenants.unwrap_or_default().join(",")
}

fn actions(listed: &Listed) -> String {
    let actions = listed.token.iter().flat_map(|token| token.actions());
    let words: Vec<_> = actions.map(|action| action.as_str()).collect();
    words.join(",")
}

/// `2026-11-21T18:03Z`
fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    match text.get(..16) {
        Some(minute) => format!("{minute}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_found_can_be_revoked_as_it_is() {
        let secret = "0".repeat(36);
        for text in [
            "0123456789ab".to_owned(),
            "cgt_0123456789ab".to_owned(),
            format!("cgt_0123456789ab_{secret}"),
        ] {
            assert_eq!(id(&text).expect("an id").as_str(), "0123456789ab");
        }
        for wrong in ["", "ci", "cgt_", "0123456789ab/.."] {
            let error = id(wrong).expect_err(wrong);
            assert!(!error.message().contains(&secret));
        }
    }
}

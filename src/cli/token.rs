//! `chartgate token`: makes, lists and revokes API tokens where the gateway keeps them, whether or not it runs.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;

use super::args::{Token, TokenCreate, TokenList, TokenRevoke};
use super::failure::Failure;
use super::inspect::print;
use super::serve;
use super::table::{self, Cells};
use crate::audit::{Audit, Event, Object, Outcome, Who, error_word};
use crate::auth::{ApiTokens, Lasts, Listed, TokenId, Wish};
use crate::clock::Clock;
use crate::config::{AuditPlace, Config};
use crate::error::{Error, Result};
use crate::http::Body;
use crate::metrics::Metrics;
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
    let made = desk.run(async |tokens| tokens.create(wish).await);
    let about = made.as_ref().ok().map(|made| &made.listed);
    desk.record("token_create", about, made.as_ref().err());
    let made = made?;
    let text = made.text.reveal();
    if arguments.json {
        let mut described = serde_json::to_value(&made.listed)
            .map_err(|cause| Error::internal("the token could not be described", cause))?;
        described["token"] = text.into();
        return out(format!("{described:#}\n"));
    }
    out(format!("{text}\n"))?;
    eprintln!(
        "{}\nkeep it now: it is not shown again; `chartgate token revoke {}` ends it",
        sentence(&made.listed),
        made.listed.id
    );
    Ok(())
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
    let revoked = desk.run(async |tokens| tokens.revoke(id).await);
    desk.record(
        "token_revoke",
        revoked.as_ref().ok(),
        revoked.as_ref().err(),
    );
    let revoked = revoked?;
    match &revoked.token {
        Some(token) => eprintln!("revoked `{token}` ({id})"),
        None => eprintln!("removed `{id}`, which was damaged"),
    }
    Ok(())
}

/// An id, or a token itself, which somebody has found where it should not be.
fn id(text: &str) -> Result<TokenId> {
    let id = text.strip_prefix("cgt_").unwrap_or(text);
    id.split('_').next().unwrap_or(id).parse()
}

/// What the commands need: the tokens, and the log of who did what.
struct Desk {
    config: Config,
    runtime: tokio::runtime::Runtime,
    audit: Audit,
}

impl Desk {
    fn open(file: Option<&std::path::Path>) -> Result<Self, Failure> {
        let config = serve::read(file)?;
        if config.auth.api_tokens.is_none() {
            return Err(Failure::Usage(
                "the configuration has no API tokens; set `auth.api_tokens: true`".to_owned(),
            ));
        }
        // Where the log is standard output, that is the gateway's and not this one.
        let place = config.audit.as_ref();
        let audited = place.filter(|audit| audit.place != AuditPlace::Stdout);
        let audit = Audit::open(audited, Arc::new(Metrics::new()), Clock::system())?;
        Ok(Self {
            runtime: server::runtime(&config.server)?,
            config,
            audit,
        })
    }

    fn run<T>(&self, work: impl AsyncFnOnce(&ApiTokens) -> Result<T>) -> Result<T> {
        self.runtime.block_on(async {
            let tokens = ApiTokens::open(&self.config, &Clients::new(), &Clock::system())?;
            let tokens = tokens.ok_or_else(|| Error::invalid("`auth.api_tokens` is not set"))?;
            work(&tokens).await
        })
    }

    /// Writes down what was done, or was not.
    fn record(&self, route: &'static str, about: Option<&Listed>, failed: Option<&Error>) {
        if !self.audit.is_on() {
            return;
        }
        let object = |listed: &Listed| {
            let name = listed.token.as_ref().map(|token| token.name().to_string());
            Object::own(
                "api_token",
                &name.unwrap_or_default(),
                Some(listed.id.as_str()),
            )
        };
        self.audit.record(Event {
            time: self.audit.now(),
            request_id: "".into(),
            action: "admin",
            route,
            tenant: None,
            who: Who::operator(),
            object: about.map(object),
            digest: None,
            address: None,
            result: match failed {
                None => Outcome::Done,
                Some(_) => Outcome::Failed,
            },
            status: 0,
            error: failed.map(|error| error_word(error.kind())),
            repeated: 0,
        });
        self.audit.close();
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

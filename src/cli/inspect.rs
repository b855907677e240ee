//! `chartgate index` and `chartgate explain`: a gateway that is built, asked once and gone.
//!
//! It reads the hosted packages where they are, but keeps nothing in the data folder, because a running gateway owns that.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::images::Image;
use super::{args, serve, token};
use crate::auth::Identity;
use crate::config::{Action, Callers, Config};
use crate::error::{Error, Result};
use crate::gateway::{Gateway, Tenant, rights};
use crate::http::Body;
use crate::index::{Found, Member};
use crate::names::TenantPattern;
use crate::server;

/// Prints the merged index of a tenant.
pub(super) fn index(arguments: &args::Index) -> Result<(), Failure> {
    print_index(serve::read(arguments.config.as_deref())?, &arguments.tenant)
}

/// Prints the merged index of a tenant of `config`.
pub(super) fn print_index(config: Config, tenant: &str) -> Result<(), Failure> {
    let body = with_gateway(config, tenant, async |_, tenant| {
        Ok(tenant.charts().snapshot().body())
    })?;
    print(&body)
}

/// Prints where the versions of a chart come from, who answers for an image, or which rule decides about somebody.
pub(super) fn explain(arguments: &args::Explain) -> Result<(), Failure> {
    let config = serve::read(arguments.config.as_deref())?;
    let what = arguments.chart.as_deref();
    if let Some(subjects) = &arguments.as_whom {
        let identity = match subjects.strip_prefix("token:") {
            Some(id) => token::holder(&config, id)?,
            None => Identity::imagined(subjects, &Callers::of(&config))?,
        };
        let action = Action::parse(what.unwrap_or("pull")).map_err(Failure::Usage)?;
        let said = rights::explain(&config, &identity, &arguments.tenant, action)?;
        return print(&Body::Bytes(format!("{said}\n").into()));
    }
    let what = what.unwrap_or_default();
    let image = match arguments.version {
        Some(_) => None,
        None => Image::parse(what),
    };
    let text = with_gateway(config, &arguments.tenant, async |gateway, tenant| {
        let version = arguments.version.as_deref();
        let charts = explanation(gateway, tenant, what, version);
        let image = match &image {
            // A chart of that name is what was meant, as a rule.
            Some(image) if charts.is_err() || image.is_certain() => {
                image.explain(gateway, tenant).await?
            }
            _ => None,
        };
        match (charts, image) {
            (Ok(charts), image) => Ok(charts + &image.unwrap_or_default()),
            (Err(_), Some(image)) => Ok(image),
            (Err(error), None) => Err(error),
        }
    })?;
    print(&Body::Bytes(text.into()))
}

/// Writes to standard output. A reader that has gone is no failure.
pub(super) fn print(body: &Body) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = match body {
        Body::Bytes(bytes) => out.write_all(bytes),
        Body::Rope(pieces, _) => pieces.iter().try_for_each(|piece| out.write_all(piece)),
        Body::Empty | Body::Stream(_) => Ok(()),
    };
    match written.and_then(|()| out.flush()) {
        // `chartgate index acme | head` is no failure.
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::internal(format!("cannot write to standard output: {cause}"), cause).into())
        }
        _ => Ok(()),
    }
}

fn with_gateway<T>(
    mut config: Config,
    tenant: &str,
    ask: impl AsyncFnOnce(&Gateway, &Tenant) -> Result<T>,
) -> Result<T, Failure> {
    let path = tenant.trim_matches('/').to_owned();
    let fits = |pattern: &TenantPattern| pattern.fits(&path);
    if !config.tenants.contains_key(path.as_str()) && !config.patterns.keys().any(fits) {
        let tenants = config.tenants.keys().map(|path| &**path.label());
        let patterns = config.patterns.keys().map(TenantPattern::as_str);
        let known: Vec<&str> = tenants.chain(patterns).collect();
        return Err(Failure::Usage(format!(
            "tenant `{tenant}` is not configured; there are `{}`",
            known.join("`, `")
        )));
    }
    config.tenants.retain(|known, _| known.as_str() == path);
    let scratch = Scratch::beside(&config.data_dir)?;
    config.data_dir.clone_from(&scratch.0);
    // Of the gateway that runs; this is a look at a copy.
    config.audit = None;
    let runtime = server::runtime(&config.server)?;
    let answer = runtime.block_on(async {
        let shared = serve::open_shared(&config).await?;
        let gateway = Gateway::build(config, &shared, None, &serve::no_progress()).await?;
        gateway.settled().await;
        let tenant = gateway.tenant(&path).await?;
        tenant.charts().settled().await;
        ask(&gateway, &tenant).await
    })?;
    Ok(answer)
}

/// A data folder for one command, with copies of the indexes that the real one keeps.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(data_dir: &Path) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("chartgate-{}", std::process::id()));
        let failed = |cause: std::io::Error| {
            Error::internal(
                format!(
                    "cannot use the temporary folder `{}`: {cause}",
                    path.display()
                ),
                cause,
            )
        };
        let (kept, copies) = (
            data_dir.join("cache").join("index"),
            path.join("cache").join("index"),
        );
        std::fs::create_dir_all(&copies).map_err(failed)?;
        let scratch = Self(path.clone());
        for file in std::fs::read_dir(kept).into_iter().flatten().flatten() {
            std::fs::copy(file.path(), copies.join(file.file_name())).map_err(failed)?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the system's temporary folder and small.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn explanation(
    gateway: &Gateway,
    tenant: &Tenant,
    chart: &str,
    version: Option<&str>,
) -> Result<String> {
    let snapshot = tenant.charts().snapshot();
    let members = snapshot.members();
    let keep = gateway
        .config()
        .tenants
        .get(tenant.path())
        .map_or(0, |tenant| tenant.index.keep);
    let mut text = String::new();
    if let Some(view) = snapshot.chart(chart) {
        for (position, found) in view.versions().enumerate() {
            if version.is_none_or(|version| found.entry.version.as_str() == version) {
                let hidden = (keep > 0 && position >= keep).then_some(keep);
                describe(&mut text, members, chart, found, hidden);
            }
        }
    }
    hidden_versions(&mut text, gateway, tenant, members, chart, version);
    if text.is_empty() {
        return Err(Error::not_found(format!(
            "no source of `{}` has `{chart}`{}; `chartgate index {0}` prints what it shows",
            tenant.path(),
            version
                .map(|version| format!(" in version `{version}`"))
                .unwrap_or_default(),
        )));
    }
    Ok(text)
}

/// A version that the merged index has: its source, and who else had it.
fn describe(
    text: &mut String,
    members: &[Member],
    chart: &str,
    found: Found<'_>,
    hidden: Option<usize>,
) {
    let entry = found.entry;
    let label = members
        .get(found.member)
        .map_or("?", |member| &member.label);
    let digest = entry
        .digest
        .map_or_else(|| "no digest".to_owned(), |digest| digest.to_string());
    text.push_str(&format!(
        "{chart} {} from `{label}`, {digest}\n",
        entry.version
    ));
    for url in &entry.urls {
        text.push_str(&format!("  url {url}\n"));
    }
    if let Some(keep) = hidden {
        text.push_str(&format!("  not in the index: `index.keep: {keep}` shows newer ones only; it can still be pulled\n"));
    }
    for (position, member) in members
        .iter()
        .enumerate()
        .filter(|(position, _)| *position != found.member)
    {
        let Some(other) = member
            .index
            .get(chart)
            .and_then(|chart| chart.get(entry.version.as_str()))
        else {
            continue;
        };
        let verdict = match (other.digest, entry.digest) {
            (Some(theirs), Some(ours)) if theirs == ours => "the same bytes".to_owned(),
            (Some(theirs), _) => format!("other bytes, {theirs}: a conflict"),
            (None, _) => "no digest".to_owned(),
        };
        let order = if position < found.member {
            "before"
        } else {
            "after"
        };
        text.push_str(&format!(
            "  also in `{}` ({order} it in the order): {verdict}\n",
            member.label
        ));
    }
}

/// Versions that sources have and the merged index does not, each with its reason.
fn hidden_versions(
    text: &mut String,
    gateway: &Gateway,
    tenant: &Tenant,
    members: &[Member],
    chart: &str,
    version: Option<&str>,
) {
    let snapshot = tenant.charts().snapshot();
    let view = snapshot.chart(chart);
    let reserved = members
        .iter()
        .find(|member| member.reserves_names && member.index.get(chart).is_some());
    let wanted = |text: &str| version.is_none_or(|version| version == text);
    for member in members {
        let source = gateway
            .upstream(&member.label)
            .ok()
            .map(|proxy| crate::repository::ChartRepository::index(&**proxy));
        let source = source.as_ref().unwrap_or(&member.index);
        for entry in source
            .get(chart)
            .map(|chart| chart.entries())
            .unwrap_or_default()
        {
            let shown = view.is_some_and(|view| view.get(entry.version.as_str()).is_some());
            if shown || !wanted(entry.version.as_str()) {
                continue;
            }
            let selected = member
                .index
                .get(chart)
                .is_some_and(|chart| chart.get(entry.version.as_str()).is_some());
            let reason = match reserved {
                _ if !selected => {
                    "the member's `include`, `exclude` or `versions` keep it out".to_owned()
                }
                Some(owner) => format!(
                    "`{}` has a chart of that name, and hosted names are reserved",
                    owner.label
                ),
                None => "it is not in the merged index".to_owned(),
            };
            text.push_str(&format!(
                "{chart} {} from `{}` is hidden: {reason}\n",
                entry.version, member.label
            ));
        }
        let dropped = &source.report().dropped.items;
        for note in dropped
            .iter()
            .filter(|note| *note.chart == *chart && wanted(&note.version))
        {
            text.push_str(&format!(
                "{chart} {} from `{}` is dropped: {}\n",
                note.version, member.label, note.detail
            ));
        }
    }
}

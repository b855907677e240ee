//! `chartgate gc`: what no hosted repository needs, counted or removed, and what is damaged.

use std::fmt::Write as _;

use super::bar::Bar;
use super::failure::Failure;
use super::inspect::print;
use super::noted::Noted;
use super::table::{self, Cells};
use super::{args, serve};
use crate::audit::{Event, Object, Outcome};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;
use crate::net::Clients;
use crate::server;
use crate::store::registry::{Collected, RegistryStore, Removed, Rules, Step, Tally};
use crate::store::{Parts, Places};

/// Collects, and prints what came of it. Damage is a failure: somebody should look.
pub(super) fn run(arguments: &args::Gc) -> Result<(), Failure> {
    let config = serve::read(arguments.config.as_deref())?;
    let rules = Rules {
        grace: arguments.grace,
        delete: arguments.delete,
        untagged: arguments.untagged,
        belief: None,
    };
    let noted = match rules.delete {
        true => Some(Noted::open(&config, "gc")?),
        false => None,
    };
    let runtime = server::runtime(&config.server)?;
    let collected = runtime.block_on(collect(&config, &rules, noted.as_ref()));
    let closed = noted.map_or(Ok(()), |noted| {
        let result = match &collected {
            Ok(_) => Outcome::Done,
            Err(_) => Outcome::Failed,
        };
        noted.note("admin", result, |_| {});
        noted.close()
    });
    let collected = collected?;
    print(&Body::Bytes(report(&collected, &rules).into()))?;
    closed?;
    match collected.broken.len() {
        0 => Ok(()),
        count => Err(Error::new(
            ErrorKind::Internal,
            format!("{count} things are damaged; see above"),
        )
        .into()),
    }
}

async fn collect(config: &Config, rules: &Rules, noted: Option<&Noted>) -> Result<Collected> {
    let clients = Clients::new();
    let parts = Parts {
        state_dir: config.data_dir.join("cache").join("hosted"),
        clients: &clients,
        clock: Clock::system(),
        places: &Places::default(),
    };
    let store = RegistryStore::open(&config.store, parts).await?;
    let (mark, sweep) = (Bar::new("repositories"), Bar::new("contents"));
    let progress = |step, done, total| {
        let bar = match step {
            Step::Mark => &mark,
            Step::Sweep => &sweep,
        };
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        bar.show(number(done), number(total));
    };
    let told = |removed: Removed<'_>| {
        if let Some(noted) = noted {
            noted.note("delete", Outcome::Done, |event| describe(&removed, event));
        }
    };
    let collected = store.collect_and_tell(rules, &progress, &told).await;
    mark.finish();
    sweep.finish();
    collected
}

/// What the audit log says about one thing that is gone.
fn describe(removed: &Removed<'_>, event: &mut Event) {
    match removed {
        Removed::Link {
            tenant,
            repository,
            digest,
        } => {
            let digest = digest.to_string();
            event.tenant = Some(label(tenant).into());
            let name = repository.replace('+', "/");
            event.object = Some(Object::repository(&name, Some(&digest)));
            event.digest = Some(digest.into());
        }
        Removed::Content(digest) => {
            event.object = Some(Object::own("content", "", None));
            event.digest = Some(digest.to_string().into());
        }
    }
}

/// A tenant's name for people, from its segment in keys.
fn label(segment: &str) -> String {
    match segment {
        "_root" => "/".to_owned(),
        tenant => tenant.replace('+', "/"),
    }
}

/// The tables.
fn report(collected: &Collected, rules: &Rules) -> String {
    let done = match rules.delete {
        true => "removed",
        false => "to remove",
    };
    let head = [
        "tenant".to_owned(),
        "repositories".to_owned(),
        "tags".to_owned(),
        "manifests".to_owned(),
        "blobs".to_owned(),
        format!("manifests {done}"),
        format!("blobs {done}"),
    ];
    let mut rows = vec![head];
    for share in &collected.tenants {
        rows.push([
            label(&share.tenant),
            share.repositories.to_string(),
            share.tags.to_string(),
            tally(share.manifests),
            tally(share.blobs),
            tally(share.loose_manifests),
            tally(share.loose_blobs),
        ]);
    }
    let mut text = String::new();
    if rows.len() > 1 {
        text.push_str(&table::render(&rows, Cells::Numbers));
        text.push('\n');
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "stored:    {}", tally(collected.contents));
    let _ = writeln!(text, "{done}: {}", tally(collected.garbage));
    let _ = writeln!(
        text,
        "unused, but younger than {} or used again: {}",
        hours(rules.grace),
        tally(collected.spared)
    );
    if collected.strays > 0 {
        let _ = writeln!(text, "left behind by dead processes: {}", collected.strays);
    }
    for broken in &collected.broken {
        let (tenant, repository) = (&broken.tenant, &broken.repository);
        let _ = writeln!(
            text,
            "damaged: `{repository}` of `{tenant}`: {}",
            broken.message
        );
    }
    if !rules.delete && collected.garbage.count > 0 {
        text.push_str("nothing was removed; --delete does it\n");
    }
    text
}

/// `3 (1.5 MiB)`
fn tally(tally: Tally) -> String {
    match tally.count {
        0 => "0".to_owned(),
        count => format!("{count} ({})", indicatif::BinaryBytes(tally.bytes)),
    }
}

fn hours(time: std::time::Duration) -> String {
    indicatif::HumanDuration(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::registry::{Broken, TenantShare};

    #[test]
    fn the_report_names_tenants_sums_and_damage() {
        let some = |count, bytes| Tally { count, bytes };
        let collected = Collected {
            tenants: vec![
                TenantShare {
                    tenant: "_root".to_owned(),
                    ..TenantShare::default()
                },
                TenantShare {
                    tenant: "acme+platform".to_owned(),
                    repositories: 2,
                    tags: 7,
                    manifests: some(3, 3 << 10),
                    blobs: some(9, 5 << 20),
                    loose_manifests: some(0, 0),
                    loose_blobs: some(1, 1 << 20),
                },
            ],
            contents: some(12, 5 << 20),
            garbage: some(1, 1 << 20),
            spared: some(0, 0),
            strays: 1,
            broken: vec![Broken {
                tenant: "acme".to_owned(),
                repository: "app".to_owned(),
                message: "the bytes of `x` are gone".to_owned(),
            }],
        };
        let text = report(&collected, &Rules::default());
        for part in [
            "acme/platform             2     7  3 (3.00 KiB)  9 (5.00 MiB)",
            "to remove: 1 (1.00 MiB)",
            "damaged: `app` of `acme`: the bytes of `x` are gone",
            "--delete",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}

//! `chartgate check`: all mistakes at once, and, where asked, whether everything outside answers.

use std::sync::Arc;
use std::time::Instant;

use super::failure::Failure;
use super::{args, serve};
use crate::cache;
use crate::clock::Clock;
use crate::config::{Config, Place, Source};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::net::Clients;
use crate::object::Bucket;
use crate::server;
use crate::upstream::registry::{Registry, Settings};
use crate::upstream::{self, NoNotebook};

/// Checks a configuration; with `--connect` tries every upstream, store and redis and prints a table.
pub(super) fn run(arguments: &args::Check) -> Result<(), Failure> {
    let config = serve::read(arguments.config.as_deref())?;
    println!(
        "configuration is fine: {} upstreams, {} tenants",
        config.upstreams.len(),
        config.tenants.len() + config.patterns.len()
    );
    if !arguments.connect {
        return Ok(());
    }
    let runtime = server::runtime(&config.server)?;
    let rows = runtime.block_on(connect(&config))?;
    let width = rows
        .iter()
        .map(|row| row.what.len())
        .max()
        .unwrap_or_default();
    for row in &rows {
        match &row.answer {
            Ok(text) => println!("{:width$}  ok      {text} ({} ms)", row.what, row.millis),
            Err(error) => println!(
                "{:width$}  failed  {} ({} ms)",
                row.what,
                error.chain(),
                row.millis
            ),
        }
    }
    let failed = rows.iter().filter(|row| row.answer.is_err()).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Error::unavailable(format!("{failed} of {} checks failed", rows.len())).into())
}

struct Row {
    what: String,
    answer: Result<String>,
    millis: u128,
}

async fn connect(config: &Config) -> Result<Vec<Row>> {
    let (metrics, clock, clients) = (Arc::new(Metrics::new()), Clock::system(), Clients::new());
    let mut rows = Vec::new();
    for (name, settings) in &config.upstreams {
        let started = Instant::now();
        let answer = match &settings.source {
            Source::Oci(oci) => {
                let wanted = Settings::of(oci, &settings.client);
                let (metrics, clock) = (metrics.clone(), clock.clone());
                match Registry::new(name.clone(), wanted, &clients, metrics, clock) {
                    Ok(registry) => registry.check().await,
                    Err(error) => Err(error),
                }
            }
            Source::Helm(_) | Source::Dir(_) | Source::Bucket(_) => {
                let notebook = Arc::new(NoNotebook);
                match upstream::build(settings, &clients, &metrics, &clock, notebook) {
                    Ok(upstream) => upstream.check().await,
                    Err(error) => Err(error),
                }
            }
        };
        rows.push(Row {
            what: format!("upstream {name}"),
            answer,
            millis: started.elapsed().as_millis(),
        });
    }
    if let Some(redis) = &config.cache.redis {
        let started = Instant::now();
        let answer = cache::probe_redis(redis)
            .await
            .map(|()| "answers".to_owned());
        rows.push(Row {
            what: "redis".to_owned(),
            answer,
            millis: started.elapsed().as_millis(),
        });
    }
    let started = Instant::now();
    let (what, answer) = match &config.store.place {
        Place::Folder(root) => {
            let root = root.clone();
            let what = format!("store {}", root.display());
            let answer = tokio::task::spawn_blocking(move || writable(&root))
                .await
                .map_err(|cause| Error::internal("checking the store ended early", cause))?;
            (what, answer)
        }
        Place::Objects(objects) => match Bucket::open(objects, &clients, &clock) {
            Ok(bucket) => {
                let answer = bucket.check().await.map(|()| "answers".to_owned());
                (format!("store {}", bucket.label()), answer)
            }
            Err(error) => ("store".to_owned(), Err(error)),
        },
    };
    rows.push(Row {
        what,
        answer,
        millis: started.elapsed().as_millis(),
    });
    Ok(rows)
}

/// Whether files can be made in the store's folder, or in the nearest one above it that exists.
fn writable(root: &std::path::Path) -> Result<String> {
    let existing = root
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(std::path::Path::new("."));
    let probe = existing.join(format!(".chartgate-check-{}", std::process::id()));
    std::fs::write(&probe, b"")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|cause| {
            Error::internal(
                format!("cannot write into `{}`: {cause}", existing.display()),
                cause,
            )
        })?;
    Ok("writable".to_owned())
}

//! `chartgate serve`: the process from its first line to its last, on one page.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use super::args;
use super::bar;
use super::failure::Failure;
use crate::api;
use crate::audit::{self, Audit};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::gateway::{Gateway, Progress, Shared};
use crate::http::{Request, RequestBody, Response, StatusCode};
use crate::metrics::{Metrics, MuseumRequest};
use crate::net::Clients;
use crate::repository::Freshness;
use crate::server::{
    self, Control, Handler, Hooks, Outcome, Server, ServerOptions, Times, TurnedAway,
};

/// How long a reload waits for upstreams that it has never asked before.
const FIRST_INDEXES: Duration = Duration::from_secs(30);

/// How long the process waits at its end for work that no request needs.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// What to serve, and how to find out anew.
pub(super) struct Plan {
    pub(super) config: Config,
    /// Reads the configuration again, and what it is called; `None`: it cannot have changed.
    pub(super) reread: Option<(String, Reread)>,
    /// Take the listening sockets over from the running process.
    pub(super) upgrade: bool,
    /// Whether requests of `/health` that went well are logged: probes ask every few seconds.
    pub(super) log_health: bool,
}

/// Reads a configuration. Blocking.
pub(super) type Reread = Arc<dyn Fn() -> Result<Config, Failure> + Send + Sync>;

/// `chartgate serve`
pub(super) fn command(arguments: &args::Serve) -> Result<(), Failure> {
    let config = configure(arguments)?;
    let reread: Option<(String, Reread)> = match &arguments.config {
        Some(file) => {
            let arguments = arguments.clone();
            let read: Reread = Arc::new(move || configure(&arguments));
            Some((file.display().to_string(), read))
        }
        None => {
            unpack_samples(&config.data_dir)?;
            None
        }
    };
    run(Plan {
        config,
        reread,
        upgrade: arguments.upgrade,
        log_health: true,
    })
}

/// Runs the gateway until it is told to stop.
pub(super) fn run(plan: Plan) -> Result<(), Failure> {
    let runtime = server::runtime(&plan.config.server)?;
    let outcome = runtime.block_on(serve(plan));
    // Blocking work that is still under way is about caches; nobody waits for it.
    runtime.shutdown_timeout(STRAGGLERS);
    Ok(outcome?)
}

async fn serve(plan: Plan) -> Result<()> {
    let config = plan.config;
    // Bound first: an address in use is told before anything else is touched, and clients queue instead of being refused.
    let options = ServerOptions {
        upgrade: plan.upgrade,
        upgrade_socket: Some(config.data_dir.join("upgrade.sock")),
        times: Times::of(&config.server),
    };
    create_data_dir(&config.data_dir)?;
    let server = Server::bind(&config.server, options).await?;
    let control = server.control();
    server::signals(control.clone())?;

    let shared = open_shared(&config).await?;
    let bar = Arc::new(bar::Bar::new("reading hosted packages"));
    let gateway = build(config, &shared, None, &shown(&bar)).await?;
    bar.finish();
    tokio::spawn(announce(gateway.clone()));
    let process = Arc::new(Process {
        listeners: gateway.config().server.clone(),
        gateway: ArcSwap::new(gateway),
        reread: plan.reread,
        log_health: plan.log_health,
        control,
    });
    let (public, admin) = (
        Arc::new(Public(process.clone())),
        Arc::new(Admin(process.clone())),
    );
    server.run(public, admin, process).await?;
    Ok(())
}

/// A gateway that serves: uploads in its folder are its own, which commands only look at.
async fn build(
    config: Config,
    shared: &Shared,
    previous: Option<&Gateway>,
    progress: &Progress,
) -> Result<Arc<Gateway>> {
    let gateway = Gateway::build(config, shared, previous, progress).await?;
    if let Some(store) = gateway.registry_store() {
        store.look_after_uploads();
    }
    Ok(gateway)
}

fn shown(bar: &Arc<bar::Bar>) -> Progress {
    let bar = bar.clone();
    Arc::new(move |done, total| bar.show(done, total))
}

/// For work that nobody watches.
pub(super) fn no_progress() -> Progress {
    Arc::new(|_, _| {})
}

/// Reads the configuration and lets the command line have the last word.
pub(super) fn configure(arguments: &args::Serve) -> Result<Config, Failure> {
    Ok(arguments.configuration(&|name| std::env::var(name).ok())?)
}

/// The configuration in `file`, or the embedded quick start.
pub(super) fn read(file: Option<&Path>) -> Result<Config, Failure> {
    Ok(args::configuration(file, &|name| std::env::var(name).ok())?)
}

/// What lives as long as the process. Must run inside the runtime that serves.
pub(super) async fn open_shared(config: &Config) -> Result<Shared> {
    let (metrics, clock) = (Arc::new(Metrics::new()), Clock::system());
    let audit = {
        let (config, metrics, clock) = (config.audit.clone(), metrics.clone(), clock.clone());
        tokio::task::spawn_blocking(move || Audit::open(config.as_ref(), metrics, clock))
            .await
            .map_err(|cause| Error::internal("opening the audit log ended early", cause))??
    };
    let cache = Cache::open(
        &config.cache,
        config.data_dir.join("cache"),
        metrics.clone(),
        clock.clone(),
    )
    .await?;
    Ok(Shared {
        cache,
        clients: Arc::new(Clients::new()),
        metrics,
        clock,
        places: Arc::default(),
        audit: Arc::new(audit),
        unpacking: Arc::new(Semaphore::new(UNPACKING)),
    })
}

fn create_data_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|cause| {
        Error::internal(
            format!("cannot create the data folder `{}`: {cause}; set `data_dir` or `--data-dir` to a writable place", path.display()),
            cause,
        )
    })
}

/// Archives that are unpacked for clients at a time; each may take 32 MiB and its answer a third more.
const UNPACKING: usize = 8;

/// Puts the sample charts of the quick start where its configuration expects them.
fn unpack_samples(data_dir: &Path) -> Result<()> {
    for (path, content) in config::quick_start_files() {
        let target: PathBuf = data_dir.join(path);
        if target.exists() {
            continue;
        }
        if let Some(folder) = target.parent() {
            create_data_dir(folder)?;
        }
        std::fs::write(&target, content).map_err(|cause| {
            Error::internal(
                format!(
                    "cannot write the sample chart `{}`: {cause}",
                    target.display()
                ),
                cause,
            )
        })?;
    }
    Ok(())
}

/// Says once, when every tenant has an index, what is served and what could not be reached.
async fn announce(gateway: Arc<Gateway>) {
    let noting = gateway.clone();
    let note = tokio::task::spawn_blocking(move || api::web_folder_note(noting.config())).await;
    if let Ok(Some(note)) = note {
        warn!("{note}");
    }
    for pattern in gateway.config().patterns.keys() {
        info!(tenant.name = %pattern, "serving every tenant that fits `{pattern}`; the first push makes one");
    }
    gateway.settled().await;
    for tenant in gateway.tenants() {
        if let Some(registry) = tenant.registry() {
            let upstreams = registry.members().map(|(name, _)| format!("`{name}`"));
            let parts = registry
                .hosted(None)
                .is_ok()
                .then(|| "its own store".to_owned());
            let parts: Vec<_> = parts.into_iter().chain(upstreams).collect();
            info!(tenant.name = %tenant.path(), "serving `{}` as a registry, from {}", tenant.path(), parts.join(", "));
        }
        if tenant.charts().members().is_empty() {
            continue;
        }
        let snapshot = tenant.charts().snapshot();
        info!(tenant.name = %tenant.path(), charts = snapshot.chart_count(), versions = snapshot.versions(),
            "serving `{}` with {} charts in {} versions", tenant.path(), snapshot.chart_count(), snapshot.versions());
        let unknown = tenant.charts().unknown_members();
        if !unknown.is_empty() {
            warn!(tenant.name = %tenant.path(), "`{}` lacks what could not be fetched yet and is tried again: {}",
                tenant.path(), unknown.join("; "));
        }
        if let Freshness::Stale { age } = tenant.charts().freshness()
            && unknown.is_empty()
        {
            warn!(tenant.name = %tenant.path(), "`{}` is served from a copy that is {} s old", tenant.path(), age.as_secs());
        }
    }
}

/// The running gateway, and what it takes to build the next one.
struct Process {
    gateway: ArcSwap<Gateway>,
    /// What the listeners began with; they keep to it, whatever is reloaded.
    listeners: config::Server,
    reread: Option<(String, Reread)>,
    log_health: bool,
    control: Control,
}

#[async_trait]
impl Hooks for Process {
    async fn reload(&self) {
        // Whatever becomes of the configuration: whoever moved the file away waits for this.
        self.gateway.load().shared().audit.reopen();
        let Some((name, read)) = &self.reread else {
            warn!("there is no configuration file to read again: the quick start runs");
            return;
        };
        let running = self.gateway.load_full();
        let result = match self.rebuild(&running, read.clone()).await {
            Ok(gateway) => {
                self.gateway.store(gateway);
                info!("reloaded `{name}`");
                audit::Outcome::Done
            }
            Err(failure) => {
                error!("`{name}` is not loaded, and the running configuration stays: {failure}");
                audit::Outcome::Failed
            }
        };
        // It may have changed who may do what.
        let audit = &running.shared().audit;
        let mut event = audit::Event::by_operator(audit.now(), "admin", "reload", result);
        event.object = Some(audit::Object::file(name));
        audit.record(event);
    }

    async fn shutdown(&self) {
        let gateway = self.gateway.load_full();
        gateway.flush().await;
        gateway.shared().cache.close().await;
        let audit = gateway.shared().audit.clone();
        // It has told what went wrong.
        let _ = tokio::task::spawn_blocking(move || audit.close()).await;
    }
}

impl Process {
    async fn rebuild(&self, running: &Gateway, read: Reread) -> Result<Arc<Gateway>, Failure> {
        let config = tokio::task::spawn_blocking(move || read())
            .await
            .map_err(|cause| Error::internal("reading the configuration ended early", cause))??;
        let listeners = self.listeners.keys_for_next_start(&config.server);
        if !listeners.is_empty() {
            let keys: Vec<_> = listeners
                .iter()
                .map(|key| format!("`server.{key}`"))
                .collect();
            warn!(
                "changes of {} take effect at the next start; until then the listeners stay as they are",
                keys.join(", ")
            );
        }
        for (what, changed) in [
            ("data_dir", config.data_dir != running.config().data_dir),
            ("cache", config.cache != running.config().cache),
            ("audit", config.audit != running.config().audit),
        ] {
            if changed {
                warn!("a change of `{what}` takes effect at the next start");
            }
        }
        let gateway = build(config, running.shared(), Some(running), &no_progress()).await?;
        // The running one goes on serving while new upstreams are asked for the first time.
        let _ = tokio::time::timeout(FIRST_INDEXES, gateway.settled()).await;
        Ok(gateway)
    }
}

/// The public listeners.
struct Public(Arc<Process>);

#[async_trait]
impl Handler for Public {
    async fn handle(&self, request: &Request, body: &mut dyn RequestBody) -> Response {
        let gateway = self.0.gateway.load_full();
        api::handle(&gateway, request, body).await
    }

    fn refused(&self, peer: Option<SocketAddr>, id: &str, status: StatusCode) {
        let gateway = self.0.gateway.load();
        let metrics = &gateway.shared().metrics;
        metrics.request("-", "none", status.as_u16(), Duration::ZERO);
        api::refused(&gateway, peer, id, status);
    }

    fn turned_away(&self, why: TurnedAway) {
        let gateway = self.0.gateway.load();
        gateway.shared().metrics.turned_away(why.as_str());
    }

    fn finished(&self, request: &Request, outcome: &Outcome) {
        let account = request.account.get();
        let tenant = account
            .and_then(|account| account.tenant.as_deref())
            .unwrap_or("-");
        let route = account.map_or("none", |account| account.route);
        let gateway = self.0.gateway.load();
        let metrics = &gateway.shared().metrics;
        metrics.request(tenant, route, outcome.status.as_u16(), outcome.duration);
        // The route of `/metrics` itself is not counted there, nor what is no route.
        if gateway.config().museum.metrics && !matches!(route, "none" | "metrics") {
            count_as_chartmuseum(&gateway, route, request, outcome);
        }
        if route == "health" && outcome.status.is_success() && !self.0.log_health {
            return;
        }
        info!(
            target: "chartgate::access",
            {
                request.id = %request.id,
                tenant.name = tenant,
                route.name = route,
                client.address = request.peer.map(|peer| tracing::field::display(peer.ip())),
                identity = account.map_or("", |account| &account.identity),
                status = outcome.status.as_u16(),
                size_bytes = outcome.bytes_sent,
                duration_ms = outcome.duration.as_secs_f64() * 1e3,
                aborted = outcome.aborted,
            },
            "{} {:.300} {}",
            request.method,
            request.path.escape_debug().to_string(),
            outcome.status.as_u16()
        );
    }
}

fn count_as_chartmuseum(gateway: &Gateway, route: &str, request: &Request, outcome: &Outcome) {
    let config = gateway.config();
    let depth_zero = config.museum.strict && config.patterns.is_empty();
    let url = api::template(route, &config.server.context_path, depth_zero);
    gateway.shared().metrics.museum_request(&MuseumRequest {
        code: outcome.status.as_u16(),
        // A route was found, so it is a method that routes have.
        method: request.method.as_str(),
        url: &url,
        took: outcome.duration,
        request_bytes: request.size(),
        response_bytes: outcome.bytes_sent,
    });
}

/// The admin listener.
struct Admin(Arc<Process>);

#[async_trait]
impl Handler for Admin {
    async fn handle(&self, request: &Request, body: &mut dyn RequestBody) -> Response {
        let draining = self.0.control.draining();
        let gateway = self.0.gateway.load_full();
        api::admin::handle(&gateway, draining, request, body).await
    }
}

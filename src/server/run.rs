//! A server's life: bind, serve, drain, end.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::control::{Control, Phase};
use super::group::Group;
use super::listen::{self, Listener};
use super::manners::Manners;
use super::takeover::{self, Inherited, Offer};
use super::tls::Identity;
use super::{BoundAddress, Handler, Hooks, ServerOptions, Surface, Times};
use crate::config::{self, ListenAddress};
use crate::error::{Error, Result};

/// Bound listeners, not yet accepting: the system queues connections meanwhile.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    bound: Vec<BoundAddress>,
    control: Control,
    grace_period: Duration,
    upgrade_socket: Option<PathBuf>,
    times: Times,
    manners: Manners,
}

impl Server {
    /// Binds every listener and reads certificates, or takes the sockets over ([`ServerOptions::upgrade`]).
    /// Errors name the address or file. Needs a tokio runtime.
    pub async fn bind(config: &config::Server, options: ServerOptions) -> Result<Self> {
        let wanted = config.clone();
        let source = options.upgrade_socket.clone().filter(|_| options.upgrade);
        if options.upgrade && source.is_none() {
            return Err(Error::invalid(
                "taking sockets over needs the path of the upgrade socket",
            ));
        }
        let open = move || {
            let mut inherited = match source {
                Some(path) => Inherited::receive(&path)?,
                None => Inherited::default(),
            };
            let listeners = listen::open(&wanted, &mut inherited)?;
            inherited.close_unclaimed();
            Ok(listeners)
        };
        let listeners = tokio::task::spawn_blocking(open)
            .await
            .map_err(|err| Error::internal("opening the listeners failed", err))??;
        let tls = listeners
            .iter()
            .find(|listener| listener.bound.surface == Surface::Https);
        let tls_port = tls.and_then(|listener| Some(listener.bound.socket()?.port()));
        Ok(Self {
            manners: Manners::of(config, tls_port),
            bound: listeners.iter().map(|l| l.bound.clone()).collect(),
            listeners,
            control: Control::new(),
            grace_period: config.grace_period,
            upgrade_socket: options.upgrade_socket,
            times: options.times,
        })
    }

    /// Every listener with its real address, in the order of the configuration.
    pub fn bound(&self) -> &[BoundAddress] {
        &self.bound
    }

    /// The handle that steers this server; give it to the readiness endpoint and to [`super::signals`].
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Accepts and serves until [`Control::drain`] or [`Control::stop`]; returns when the last connection has ended, at the
    /// latest after the grace period. The admin listener answers until then.
    ///
    /// Cancellation: dropping the future stops accepting and cuts every connection; [`Hooks::shutdown`] is not called.
    pub async fn run(
        self,
        public: Arc<dyn Handler>,
        admin: Arc<dyn Handler>,
        hooks: Arc<dyn Hooks>,
    ) -> Result<()> {
        let Self {
            listeners,
            control,
            grace_period,
            upgrade_socket,
            times,
            manners,
            ..
        } = self;
        for listener in &listeners {
            let at = &listener.bound;
            match at.surface {
                Surface::Admin => tracing::info!(server.address = %at, "admin listening on {at}"),
                Surface::Http | Surface::Https => {
                    tracing::info!(server.address = %at, "listening on {at}");
                }
            }
        }
        let mut files = SocketFiles::of(&listeners);
        let identities: Vec<_> = listeners
            .iter()
            .filter_map(|l| l.opening.identity.clone())
            .collect();
        let (admin_listeners, public_listeners) = listeners
            .into_iter()
            .partition(|listener| listener.bound.surface == Surface::Admin);
        let limits = Limits::of_process();
        let times = Times {
            linger: (grace_period / 4).min(times.linger),
            ..times
        };
        let admin_times = Times {
            linger: Duration::ZERO,
            ..times
        };
        let mut public = Group::start(&public, public_listeners, limits.public, times, manners);
        let mut admin = Group::start(
            &admin,
            admin_listeners,
            limits.admin,
            admin_times,
            Manners::default(),
        );
        let offers: Vec<_> = public.offers.iter().chain(&admin.offers).cloned().collect();

        let mut tasks = JoinSet::new();
        tasks.spawn(watch_certificates(
            identities.clone(),
            times.certificate_poll,
        ));
        tasks.spawn(reload(control.clone(), identities, hooks.clone()));

        let handed_over = tokio::select! {
            () = control.reached(Phase::Draining) => false,
            () = hand_over(&control, &offers, upgrade_socket) => true,
            err = public.failed() => return Err(err),
            err = admin.failed() => return Err(err),
        };
        if handed_over {
            files.0.clear();
            control.drain();
        }
        tracing::info!("draining: {} connections are open", public.registry.count());
        let stopped = control.reached(Phase::Stopping);
        tokio::select! {
            () = public.drain(grace_period) => {}
            () = stopped => {}
        }
        let cut = public.cut();
        if cut > 0 {
            tracing::warn!("cut {cut} connections that had not ended");
        }
        admin.drain(ADMIN_GRACE).await;
        admin.cut();
        tasks.abort_all();
        if tokio::time::timeout(SHUTDOWN_TIME, hooks.shutdown())
            .await
            .is_err()
        {
            tracing::error!("flushing at shutdown took longer than {SHUTDOWN_TIME:?}; giving up");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The runtime that a program should serve on: `config.threads` workers. End it with `shutdown_timeout`: dropping it would
/// wait for blocking work, such as a hand-over that no successor takes.
pub fn runtime(config: &config::Server) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.max(1))
        .thread_name("worker")
        .enable_all()
        .build()
        .map_err(|err| Error::internal("cannot start the worker threads", err))
}

/// Waits until hand-over is wanted and a successor has the sockets, then lets both accept for a moment.
async fn hand_over(control: &Control, offers: &[Offer], socket: Option<PathBuf>) {
    loop {
        control.hand_over_wanted().await;
        let Some(path) = socket.clone() else {
            tracing::error!("there is no upgrade socket to hand the listeners over; serving on");
            continue;
        };
        tracing::info!(
            "handing the listeners to the successor at `{}`",
            path.display()
        );
        let offers = offers.to_vec();
        let sent = tokio::task::spawn_blocking(move || takeover::send(&offers, &path)).await;
        match sent {
            Ok(Ok(())) => break,
            Ok(Err(err)) => tracing::error!("hand-over failed, serving on: {}", err.chain()),
            Err(err) => tracing::error!("hand-over failed, serving on: {err}"),
        }
    }
    // The queue of waiting connections is shared, so nothing depends on this; it only spares waiting while the successor starts.
    tokio::time::sleep(OVERLAP).await;
}

async fn watch_certificates(identities: Vec<Arc<Identity>>, every: Duration) {
    if identities.is_empty() {
        return;
    }
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        refresh(&identities).await;
    }
}

async fn refresh(identities: &[Arc<Identity>]) {
    let identities = identities.to_vec();
    let look = move || identities.iter().for_each(|identity| identity.refresh());
    // An error means that the process ends.
    let _ = tokio::task::spawn_blocking(look).await;
}

async fn reload(control: Control, identities: Vec<Arc<Identity>>, hooks: Arc<dyn Hooks>) {
    loop {
        control.reload_wanted().await;
        refresh(&identities).await;
        // In a task of its own: a panicking hook must not end reloading.
        let hooks = hooks.clone();
        contain(async move { hooks.reload().await }).await;
    }
}

async fn contain(work: impl Future<Output = ()> + Send + 'static) {
    if let Err(err) = tokio::spawn(work).await {
        tracing::error!("reload failed: {err}");
    }
}

/// Unix socket files, removed when the server ends unless a successor uses them.
struct SocketFiles(Vec<PathBuf>);

impl SocketFiles {
    fn of(listeners: &[Listener]) -> Self {
        let paths = listeners.iter().filter_map(|l| match &l.bound.address {
            ListenAddress::Unix(path) => Some(path.clone()),
            ListenAddress::Tcp(_) => None,
        });
        Self(paths.collect())
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(err) = std::fs::remove_file(path) {
                tracing::warn!("cannot remove the socket `{}`: {err}", path.display());
            }
        }
    }
}

/// How many connections may be open, so that file descriptors are left for files and upstreams.
struct Limits {
    public: usize,
    admin: usize,
}

impl Limits {
    fn of_process() -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open_files = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(1024usize);
        Self {
            public: (open_files / 4 * 3).max(16),
            admin: (open_files / 16).max(8),
        }
    }
}

const ADMIN_GRACE: Duration = Duration::from_secs(1);
const SHUTDOWN_TIME: Duration = Duration::from_secs(10);
const OVERLAP: Duration = Duration::from_secs(1);

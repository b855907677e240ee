//! From the configuration to a backend: the one place that knows every service.

use std::sync::Arc;

use opendal::{HttpTransporter, Operator};

use super::etcd::Etcd;
use super::place::Place;
use super::service::{Service, Traits};
use super::swift::Session;
use super::wire::Wire;
use super::{Backend, azblob, cos, gcs, oss, s3, swift};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::net::Transport;

/// What every key starts with, without slashes at its ends.
pub(super) fn prefix(config: &config::ObjectStore) -> Arc<str> {
    match (config.prefix.trim_matches('/'), &config.service) {
        // As ChartMuseum: etcd has no buckets, and keys at its root would mix with others'.
        ("", config::Service::Etcd(_)) => "chart_backend_bucket".into(),
        (prefix, _) => prefix.into(),
    }
}

/// The backend of `service`.
pub(super) fn backend(
    service: &config::Service,
    place: Arc<Place>,
    net: Transport,
    clock: &Clock,
) -> Result<Backend> {
    let missing = |key: &str, hint: &str| {
        Error::invalid(format!("{}: `{key}` is missing; {hint}", place.label))
    };
    let mut session = None;
    let (operator, traits) = match service {
        config::Service::Etcd(config) => {
            let etcd = Etcd::new(config, place, net, clock.clone());
            return Ok(Backend::Etcd(Arc::new(etcd)));
        }
        config::Service::S3(config) => {
            let region = s3::region(config)
                .ok_or_else(|| missing("region", "write the bucket's region, or set AWS_REGION"))?;
            (s3::operator(config, &region), s3::TRAITS)
        }
        config::Service::Gcs(config) => (gcs::operator(config), gcs::TRAITS),
        config::Service::Azblob(config) => {
            let endpoint = azblob::endpoint(config)
                .ok_or_else(|| missing("account_name", "write it, or set AZURE_STORAGE_ACCOUNT"))?;
            (azblob::operator(config, &endpoint), azblob::TRAITS)
        }
        config::Service::Oss(config) => (oss::operator(config), oss::TRAITS),
        config::Service::Cos(config) => {
            let endpoint = config.endpoint.as_deref().ok_or_else(|| {
                missing(
                    "endpoint",
                    "write one such as `https://cos.ap-guangzhou.myqcloud.com`",
                )
            })?;
            (cos::operator(config, endpoint), cos::TRAITS)
        }
        config::Service::Swift(config) => {
            session = Some(Session::new(config, &place, clock.clone())?);
            (swift::operator(config), swift::TRAITS)
        }
    };
    let operator = operator.map_err(|error| {
        // Messages of builders name keys, never values.
        Error::invalid(format!("{}: its settings do not fit together", place.label))
            .with_source(error.message().to_owned())
    })?;
    Ok(Backend::Opendal(connected(
        operator, traits, place, net, session,
    )))
}

fn connected(
    operator: Operator,
    traits: Traits,
    place: Arc<Place>,
    net: Transport,
    session: Option<Session>,
) -> Service {
    let wire = Wire {
        net: Arc::new(net),
        place: Arc::clone(&place),
        session,
    };
    let context = operator
        .context()
        .with_http_transport(HttpTransporter::new(wire));
    Service {
        operator: operator.with_context(context),
        place,
        traits,
    }
}

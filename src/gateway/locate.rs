//! Where requests of registry clients belong: from the words of a client to a tenant, perhaps one of its upstreams, and a name.
//!
//! ```text
//! A  /v2/<tenant>/<upstream>/<repo>   /v2/<tenant>/<repo>       the tenant may be left out where it is the default one
//! B  /<tenant>/<upstream>/v2/<repo>   /<tenant>/v2/<repo>
//! C  ?ns=<host of an upstream>        where A and B name no upstream
//! D  Host: <configured name>          for paths that start with /v2/
//! ```
//!
//! Everything is looked up in what the configuration names; nothing is guessed, and nothing that a client says is ever dialled.
//! Knows nothing about permissions: what is found here still has to pass the gate.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::About;
use crate::config::{Config, Source, Tenant, VirtualHost, namespace};
use crate::error::{Error, Result};
use crate::names::{TenantPath, TenantPattern};
use crate::oci::RepoName;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The tenant's path; empty for the root.
    pub tenant: String,
    /// The one upstream that is asked. `None`: the tenant as a whole, hosted content first.
    pub member: Option<Arc<str>>,
    /// The repository, relative to the tenant or to the upstream.
    pub name: RepoName,
    /// What selected the upstream.
    pub by: Selected,
}

impl Located {
    /// What rules about names are asked.
    pub fn about(&self) -> About<'_> {
        let name = self.name.as_str();
        match &self.member {
            Some(upstream) => About::Member { upstream, name },
            None => About::Name(name),
        }
    }
}

/// What selected an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// The path, or nothing.
    Path,
    /// `?ns=`; the answer carries `OCI-Namespace`.
    Namespace,
    /// The host name.
    Host,
}

/// A place without a repository, for pings and catalogs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tenant's path; empty for the root.
    pub tenant: String,
    /// The one upstream.
    pub member: Option<Arc<str>>,
}

/// All addresses of one configuration.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    tenants: BTreeMap<TenantPath, Part>,
    /// Those of fixed depth, longest first, then those that name more of the path.
    patterns: Vec<(TenantPattern, Part)>,
    /// Whether there are patterns of any depth, which a name cannot be told from.
    has_deep_patterns: bool,
    default: Option<TenantPath>,
    hosts: BTreeMap<String, VirtualHost>,
    /// The name of this gateway, which is no upstream's.
    own: Option<String>,
}

/// The upstreams of a tenant.
#[derive(Debug, Default)]
struct Part {
    upstreams: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    /// What `?ns=` may say.
    hosts: Vec<String>,
    /// The same as components of names: `host_5000`.
    aliases: Vec<String>,
}

/// A tenant's path, its upstreams, and the one that is selected.
type Based<'b, 'p> = (Cow<'b, str>, &'p Part, Option<Arc<str>>);

/// What a host shows: a tenant, or one upstream of it.
type Shown<'a> = (&'a TenantPath, Option<Arc<str>>);

impl Part {
    /// `None`: the tenant has nothing for `/v2/`.
    fn of(tenant: &Tenant, config: &Config) -> Option<Self> {
        if tenant.hosted.is_none() && tenant.registries.is_empty() {
            return None;
        }
        let known = |name: &Arc<str>| {
            let hosts = match &config.upstreams.get(name)?.source {
                Source::Oci(oci) => oci.hosts.clone(),
                Source::Helm(_) | Source::Dir(_) | Source::Bucket(_) => return None,
            };
            Some(Known {
                name: name.clone(),
                aliases: hosts.iter().map(|host| host.replace(':', "_")).collect(),
                hosts,
            })
        };
        let upstreams = tenant.registries.iter();
        Some(Self {
            upstreams: upstreams
                .filter_map(|member| known(&member.upstream))
                .collect(),
        })
    }

    /// The upstream that a component of a name stands for.
    fn called(&self, component: &str) -> Option<&Arc<str>> {
        let by_name = self.upstreams.iter().find(|one| *one.name == *component);
        by_name
            .or_else(|| {
                self.upstreams
                    .iter()
                    .find(|one| one.aliases.iter().any(|alias| alias == component))
            })
            .map(|one| &one.name)
    }

    fn at(&self, host: &str) -> Option<&Arc<str>> {
        let is_it = |one: &&Known| one.hosts.iter().any(|known| known == host);
        self.upstreams.iter().find(is_it).map(|one| &one.name)
    }
}

impl Addresses {
    pub(super) fn of(config: &Config) -> Self {
        if config.museum.strict {
            // ChartMuseum's repositories may be called `v2`.
            return Self::default();
        }
        let tenants: BTreeMap<_, _> = config
            .tenants
            .iter()
            .filter_map(|(path, tenant)| Some((path.clone(), Part::of(tenant, config)?)))
            .collect();
        let mut patterns: Vec<_> = config
            .patterns
            .iter()
            .filter(|(pattern, _)| pattern.depth().is_some())
            .filter_map(|(pattern, tenant)| Some((pattern.clone(), Part::of(tenant, config)?)))
            .collect();
        patterns.sort_by_key(|(pattern, _)| {
            std::cmp::Reverse((pattern.depth(), pattern.literal().count()))
        });
        let root = TenantPath::root();
        let default = config.registry.default_tenant.clone();
        Self {
            has_deep_patterns: config.patterns.keys().any(|one| one.depth().is_none()),
            default: default.or_else(|| tenants.contains_key(&root).then_some(root)),
            hosts: config.registry.hosts.clone(),
            own: config.server.external_url.as_ref().and_then(namespace::of),
            tenants,
            patterns,
        }
    }

    /// Cuts a decoded path of scheme B into base and the rest behind `/v2/`; `None` where no configured prefix stands before a
    /// `v2`. The longest one counts.
    pub(super) fn cut<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let path = path.strip_prefix('/')?;
        let mut found = None;
        for (position, _) in path.match_indices("/v2") {
            let rest = &path[position + "/v2".len()..];
            if !(rest.is_empty() || rest.starts_with('/')) {
                continue;
            }
            let base = &path[..position];
            if self.base(base).is_some() {
                found = Some((base, rest.strip_prefix('/').unwrap_or(rest)));
            }
        }
        found
    }

    pub(super) fn place(&self, base: &str, host: Option<&str>) -> Result<Option<Place>> {
        if !base.is_empty() {
            let (tenant, _, member) = self.base(base).ok_or_else(|| no_base(base))?;
            let tenant = tenant.into_owned();
            return Ok(Some(Place { tenant, member }));
        }
        let Some((tenant, member)) = self.virtual_host(host)? else {
            return Ok(None);
        };
        Ok(Some(Place {
            tenant: tenant.as_str().to_owned(),
            member,
        }))
    }

    pub(super) fn locate(
        &self,
        base: &str,
        name: &str,
        ns: Option<&str>,
        host: Option<&str>,
    ) -> Result<Located> {
        let located = |tenant: &str, member, name: &str, by| {
            Ok(Located {
                tenant: tenant.to_owned(),
                member,
                name: RepoName::parse(name)?,
                by,
            })
        };
        let (tenant, part, rest) = if base.is_empty() {
            match self.virtual_host(host)? {
                Some((tenant, member @ Some(_))) => {
                    return located(tenant.as_str(), member, name, Selected::Host);
                }
                Some((tenant, None)) => {
                    let part = self.part(tenant).ok_or_else(|| no_tenant(name))?;
                    (Cow::Borrowed(tenant.as_str()), part, name)
                }
                None => {
                    let found = self.prefix(name);
                    found.ok_or_else(|| self.no_prefix(name, ns))?
                }
            }
        } else {
            let (tenant, part, member) = self.base(base).ok_or_else(|| no_base(base))?;
            if member.is_some() {
                return located(&tenant, member, name, Selected::Path);
            }
            (tenant, part, name)
        };
        if let Some((first, below)) = rest.split_once('/')
            && let Some(member) = part.called(first)
        {
            return located(&tenant, Some(member.clone()), below, Selected::Path);
        }
        let Some(ns) = ns.filter(|ns| !self.is_own(ns, host)) else {
            return located(&tenant, None, rest, Selected::Path);
        };
        let known = namespace::normalized(ns).and_then(|ns| part.at(&ns).cloned());
        match known {
            Some(member) => located(&tenant, Some(member), rest, Selected::Namespace),
            None => Err(Error::not_found(format!(
                "no upstream here stands for the registry `{ns:.120}`"
            ))),
        }
    }

    /// The tenant that a name of scheme A starts with, and what follows.
    ///
    /// The longest path with a key of its own counts. Where what follows is none of its upstreams, a longer path that fits a
    /// pattern comes first, as it does for charts. The default tenant is for names that start with no tenant.
    fn prefix<'n>(&self, name: &'n str) -> Option<(Cow<'n, str>, &Part, &'n str)> {
        let cuts = || name.rmatch_indices('/').map(|(position, _)| position);
        let exact = cuts().find_map(|cut| {
            let part = self.tenants.get(&name[..cut])?;
            Some((&name[..cut], part, &name[cut + 1..]))
        });
        let is_upstream = |part: &Part, rest: &str| {
            rest.split_once('/')
                .is_some_and(|(first, _)| part.called(first).is_some())
        };
        if let Some((tenant, part, rest)) = exact
            && is_upstream(part, rest)
        {
            return Some((tenant.into(), part, rest));
        }
        let longer = cuts().take_while(|cut| exact.is_none_or(|(tenant, ..)| *cut > tenant.len()));
        let mut fitting = longer.filter_map(|cut| {
            let part = self.fitting(&name[..cut])?;
            Some((&name[..cut], part, &name[cut + 1..]))
        });
        if let Some((tenant, part, rest)) = fitting.next().or(exact) {
            return Some((tenant.into(), part, rest));
        }
        let default = self.default.as_ref()?;
        Some((
            default.as_str().to_owned().into(),
            self.part(default)?,
            name,
        ))
    }

    /// The tenant, and perhaps the upstream, that the base of scheme B names.
    fn base<'b>(&self, base: &'b str) -> Option<Based<'b, '_>> {
        if let Some(part) = self.tenants.get(base) {
            return Some((base.into(), part, None));
        }
        let cut = base.rsplit_once('/');
        let upstream = |part: &Part, called: &str| part.called(called).cloned();
        if let Some((tenant, called)) = cut
            && let Some(part) = self.tenants.get(tenant)
            && let Some(member) = upstream(part, called)
        {
            return Some((tenant.into(), part, Some(member)));
        }
        if let Some(part) = self.fitting(base) {
            return Some((base.into(), part, None));
        }
        if let Some((tenant, called)) = cut
            && let Some(part) = self.fitting(tenant)
            && let Some(member) = upstream(part, called)
        {
            return Some((tenant.into(), part, Some(member)));
        }
        let default = self.default.as_ref()?;
        let part = self.part(default)?;
        let member = upstream(part, base)?;
        Some((default.as_str().to_owned().into(), part, Some(member)))
    }

    /// What all tenants of the pattern have that `path` fits.
    fn fitting(&self, path: &str) -> Option<&Part> {
        let (pattern, part) = self.patterns.iter().find(|(one, _)| one.fits(path))?;
        // A name that could be read as two addresses is none.
        let is_plain = |segment: &str| segment != "v2";
        let stars = path.split('/').skip(pattern.literal().count());
        (stars.into_iter().all(is_plain) && TenantPath::parse(path).is_ok()).then_some(part)
    }

    fn part(&self, tenant: &TenantPath) -> Option<&Part> {
        let exact = self.tenants.get(tenant);
        exact.or_else(|| self.fitting(tenant.as_str()))
    }

    /// What `host` shows, where it is one of ours.
    fn virtual_host(&self, host: Option<&str>) -> Result<Option<Shown<'_>>> {
        let Some(host) = host.filter(|_| !self.hosts.is_empty()) else {
            return Ok(None);
        };
        let host = namespace::without_port(host).to_ascii_lowercase();
        if let Some(shown) = self.hosts.get(&host) {
            return Ok(Some((&shown.tenant, shown.upstream.clone())));
        }
        let wild = self.hosts.iter().filter_map(|(pattern, shown)| {
            let star = host.strip_suffix(pattern.strip_prefix('*')?)?;
            (!star.is_empty()).then_some((pattern.len(), star, shown))
        });
        let Some((_, star, shown)) = wild.max_by_key(|(length, ..)| *length) else {
            return Ok(None);
        };
        let part = self.part(&shown.tenant);
        match part.and_then(|part| part.called(star)) {
            Some(member) => Ok(Some((&shown.tenant, Some(member.clone())))),
            None => Err(Error::not_found(format!(
                "`{star:.120}` is no upstream that `{host:.200}` could show"
            ))),
        }
    }

    /// Whether a client that reaches us through another name says ours.
    fn is_own(&self, ns: &str, host: Option<&str>) -> bool {
        let Some(ns) = namespace::normalized(ns) else {
            return false;
        };
        self.own.as_deref() == Some(ns.as_str())
            || self.hosts.contains_key(namespace::without_port(&ns))
            || host.and_then(namespace::normalized) == Some(ns)
    }

    fn no_prefix(&self, name: &str, ns: Option<&str>) -> Error {
        if let Some(ns) = ns {
            return Error::not_found(format!(
                "`{name:.200}` of `{ns:.120}` names no tenant, and there is no default one; send `/<tenant>/v2/`, or set `registry.default_tenant`"
            ));
        }
        if self.has_deep_patterns {
            return Error::not_found(format!(
                "`{name:.200}` names no tenant with a registry; tenants of a pattern with `**` have none, because their paths cannot be told from names of repositories: use `*` for each segment"
            ));
        }
        no_tenant(name)
    }
}

fn no_tenant(name: &str) -> Error {
    Error::not_found(format!(
        "`{name:.200}` names no tenant with a registry; write `<tenant>/<repository>`"
    ))
}

fn no_base(base: &str) -> Error {
    Error::not_found(format!("no registry is served below `/{base:.200}`"))
}

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;

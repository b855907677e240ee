//! `tenants.<path>.registries`, `registry:`, and what must hold so that every name below `/v2/` has one meaning.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::resolve::required;
use super::section::{Context, Value};
use super::tenants::{globs, upstream};
use super::upstreams::Read as Upstreams;
use super::{Museum, Oci, RegistryMember, RegistryServer, Source, Tenant, VirtualHost, namespace};
use crate::names::{TenantPath, TenantPattern};
use crate::oci::RepoName;

type Tenants = BTreeMap<TenantPath, Tenant>;
type Patterns = BTreeMap<TenantPattern, Tenant>;

/// `tenants.<path>.registries`
pub(super) fn members(
    path: &TenantPath,
    value: &Value<'_>,
    upstreams: &Upstreams,
) -> Vec<RegistryMember> {
    let is_plain = |path: &str| path.is_empty() || RepoName::parse(path).is_ok();
    if !is_plain(path.as_str()) {
        value.mistake(format!(
            "the tenant's path `{path}` is part of repositories' names, which have lower-case letters and digits, with `.`, `_`, `__` or `-` between them"
        ));
    }
    let mut members: Vec<RegistryMember> = Vec::new();
    for item in value.items() {
        let Some(member) = member(&item, upstreams) else {
            continue;
        };
        let known = || members.iter().map(|known| &known.upstream);
        if known().any(|known| *known == member.upstream) {
            item.mistake(format!("`{}` is listed twice", member.upstream));
        } else if let Some(clash) =
            known().find_map(|known| clash(known, &member.upstream, upstreams))
        {
            item.mistake(clash);
        }
        members.push(member);
    }
    members
}

/// A name, or a section with filters.
fn member(value: &Value<'_>, upstreams: &Upstreams) -> Option<RegistryMember> {
    if !value.is_section() {
        return Some(RegistryMember {
            upstream: registry(value, upstreams)?,
            include: Vec::new(),
            exclude: Vec::new(),
        });
    }
    let mut section = value.section()?;
    let name = required(&mut section, "upstream", |value| registry(value, upstreams));
    let include = globs(&mut section, "include");
    let exclude = globs(&mut section, "exclude");
    section.refuse(
        "versions",
        "belongs to members under `charts`; tags are no versions, and `include` is about names of repositories",
    );
    section.finish();
    Some(RegistryMember {
        upstream: name?,
        include,
        exclude,
    })
}

fn registry(value: &Value<'_>, upstreams: &Upstreams) -> Option<Arc<str>> {
    let name = upstream(value, upstreams)?;
    if upstreams.registries.get(&name) == Some(&false) {
        value.mistake(format!(
            "`{name}` is a chart repository; name it under `charts`. A registry is an upstream of `type: oci`"
        ));
        return None;
    }
    Some(name)
}

/// What two upstreams of one tenant are both called.
fn clash(a: &Arc<str>, b: &Arc<str>, upstreams: &Upstreams) -> Option<String> {
    let (first, second) = (oci(a, upstreams)?, oci(b, upstreams)?);
    if let Some(host) = first.hosts.iter().find(|host| second.hosts.contains(host)) {
        return Some(format!(
            "`{a}` and `{b}` both stand for the registry `{host}`, and `?ns={host}` would be either; give one of them other `hosts`, or a tenant of its own"
        ));
    }
    let is_called = |oci: &Oci, name: &str| oci.hosts.iter().any(|host| alias(host) == *name);
    let taken = match () {
        () if is_called(first, b) => Some((b, a)),
        () if is_called(second, a) => Some((a, b)),
        () => None,
    };
    taken.map(|(name, other)| {
        format!("`{name}` is also one of the `hosts` of `{other}`, and names below it would be either's; give one of them another name, or other `hosts`")
    })
}

/// A host as the first component of a name.
fn alias(host: &str) -> String {
    host.replace(':', "_")
}

fn oci<'u>(name: &str, upstreams: &'u Upstreams) -> Option<&'u Oci> {
    match &upstreams.upstreams.get(name)?.source {
        Source::Oci(oci) => Some(oci),
        Source::Helm(_) | Source::Dir(_) | Source::Bucket(_) => None,
    }
}

/// `registry:`
pub(super) fn read(
    value: Option<Value<'_>>,
    tenants: &Tenants,
    patterns: &Patterns,
    upstreams: &Upstreams,
) -> RegistryServer {
    let mut server = RegistryServer::default();
    let Some(mut section) = value.and_then(|value| value.section()) else {
        return server;
    };
    server.default_tenant = section
        .take("default_tenant")
        .and_then(|value| tenant(&value, tenants, patterns));
    if let Some(value) = section.take("hosts") {
        for (name, value) in value.named() {
            let Some(host) = host(name, &value) else {
                continue;
            };
            let Some(shown) = virtual_host(&host, &value, tenants, patterns, upstreams) else {
                continue;
            };
            if server.hosts.insert(host.clone(), shown).is_some() {
                value.mistake(format!("is the same host as another `{host}`; keep one"));
            }
        }
    }
    section.finish();
    server
}

/// A host name, or `*.` and the rest of one.
fn host(name: &str, value: &Value<'_>) -> Option<String> {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let host = namespace::normalized(plain).filter(|host| namespace::without_port(host) == host);
    if host.is_none() {
        value.mistake(
            "write a host name without its port, such as `hub.example.com`, or `*.example.com` where `*` stands for the name of an upstream",
        );
    }
    let host = host?;
    Some(match plain == name {
        true => host,
        false => format!("*.{host}"),
    })
}

/// A section, or `<tenant>` or `<tenant>/<upstream>` for short.
fn virtual_host(
    host: &str,
    value: &Value<'_>,
    tenants: &Tenants,
    patterns: &Patterns,
    upstreams: &Upstreams,
) -> Option<VirtualHost> {
    if !value.is_section() {
        return short(host, value, tenants, patterns);
    }
    let mut section = value.section()?;
    let path = required(&mut section, "tenant", |value| {
        tenant(value, tenants, patterns)
    });
    let place = section.take("upstream");
    let upstream = place.as_ref().map(|value| upstream(value, upstreams));
    section.finish();
    let path = path?;
    let upstream = match upstream {
        None => None,
        Some(upstream) => Some(upstream?),
    };
    if let (Some(place), Some(name)) = (&place, &upstream) {
        if host.starts_with('*') {
            place.mistake("`*` stands for the upstream already; keep one");
        } else if !has_upstream(find(&path, tenants, patterns)?, name) {
            place.mistake(format!("`{name}` is none of the `registries` of `{path}`"));
        }
    }
    Some(VirtualHost {
        tenant: path,
        upstream,
    })
}

fn short(
    host: &str,
    value: &Value<'_>,
    tenants: &Tenants,
    patterns: &Patterns,
) -> Option<VirtualHost> {
    let text = value.text()?;
    let text = text.trim_matches('/');
    if let Some((path, name)) = text.rsplit_once('/')
        && !host.starts_with('*')
        && let Ok(path) = TenantPath::parse(path)
        && !tenants.contains_key(text)
        && let Some(found) = find(&path, tenants, patterns)
        && let Some(member) = found.registries.iter().find(|one| *one.upstream == *name)
    {
        let upstream = Some(member.upstream.clone());
        return Some(VirtualHost {
            tenant: path,
            upstream,
        });
    }
    Some(VirtualHost {
        tenant: tenant(value, tenants, patterns)?,
        upstream: None,
    })
}

fn has_upstream(tenant: &Tenant, name: &str) -> bool {
    let mut members = tenant.registries.iter();
    members.any(|member| *member.upstream == *name)
}

/// The path of a tenant that is configured and has something for registry clients.
fn tenant(value: &Value<'_>, tenants: &Tenants, patterns: &Patterns) -> Option<TenantPath> {
    value.parsed(|text| {
        let path = TenantPath::parse(text).map_err(|error| error.message().to_owned())?;
        match find(&path, tenants, patterns) {
            None => Err("no tenant has this path, and no pattern of fixed depth fits it".into()),
            Some(found) if !is_registry(found) => {
                Err("this tenant has neither `registries` nor `hosted`".into())
            }
            Some(_) => Ok(path),
        }
    })
}

fn find<'t>(path: &TenantPath, tenants: &'t Tenants, patterns: &'t Patterns) -> Option<&'t Tenant> {
    tenants.get(path).or_else(|| {
        let mut fixed = patterns.iter().filter(|(one, _)| one.depth().is_some());
        let fits = fixed.find(|(one, _)| one.fits(path.as_str()));
        fits.map(|(_, tenant)| tenant)
    })
}

fn is_registry(tenant: &Tenant) -> bool {
    tenant.hosted.is_some() || !tenant.registries.is_empty()
}

/// What spans tenants: every name has one meaning, and nothing is configured that nobody could reach.
pub(super) fn tenants(
    context: &Context<'_>,
    server: &RegistryServer,
    museum: &Museum,
    tenants: &Tenants,
    patterns: &Patterns,
) {
    let keys = tenants.keys().map(TenantPath::as_str);
    let all = keys.zip(tenants.values());
    let patterns = patterns.iter();
    let all = all.chain(patterns.clone().map(|(one, tenant)| (one.as_str(), tenant)));
    for (path, tenant) in all {
        if museum.strict && !tenant.registries.is_empty() {
            let path = if path.is_empty() { "/" } else { path };
            context.mistake(
                &format!("tenants.{path}.registries"),
                None,
                "the strict ChartMuseum service has nothing below `/v2/`; take `chartmuseum.strict` or this away",
            );
        }
    }
    for (pattern, tenant) in patterns {
        if pattern.depth().is_none() && !tenant.registries.is_empty() {
            context.mistake(
                &format!("tenants.{pattern}.registries"),
                None,
                "a path of any depth cannot be told from the name of a repository; write `*` for each segment",
            );
        }
    }
    let root = TenantPath::root();
    if server
        .default_tenant
        .as_ref()
        .is_some_and(|path| *path != root)
        && tenants
            .get(&root)
            .is_some_and(|tenant| !tenant.registries.is_empty())
    {
        context.mistake(
            "registry.default_tenant",
            None,
            "the root tenant `/` has `registries` too, and its names would be the same; keep one",
        );
    }
    if museum.strict && *server != RegistryServer::default() {
        context.mistake(
            "registry",
            None,
            "the strict ChartMuseum service has nothing below `/v2/`",
        );
    }
}

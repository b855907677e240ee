//! `chartgate explain` for images: who would answer for one, as the configuration and the hosted store say.
//!
//! Nobody is asked, and what a running gateway has cached is its own: whether an upstream has an image is not told.

use std::fmt::Write as _;

use crate::error::{ErrorKind, Result};
use crate::gateway::{Gateway, Tenant, TenantRegistry};
use crate::oci::{Reference, RepoName};

/// An image as people write it, relative to a tenant.
pub(super) struct Image {
    name: RepoName,
    reference: Option<Reference>,
}

impl Image {
    /// Reads `name`, `name:tag` or `name@digest`; `None`: it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let cut = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => match text.rsplit_once(':') {
                Some((name, tag)) => (name, Some(tag)),
                None => (text, None),
            },
        };
        Some(Self {
            name: RepoName::parse(cut.0).ok()?,
            reference: cut.1.map(Reference::parse).transpose().ok()?,
        })
    }

    /// Whether it cannot be a chart.
    pub(super) fn is_certain(&self) -> bool {
        self.reference.is_some() || !self.name.is_single()
    }

    /// Who would answer for it in `tenant`; `None`: nobody. Errors: the hosted store cannot say.
    pub(super) async fn explain(
        &self,
        gateway: &Gateway,
        tenant: &Tenant,
    ) -> Result<Option<String>> {
        let (Some(registry), path) = (tenant.registry(), tenant.path().as_str()) else {
            return Ok(None);
        };
        let Ok(located) = gateway.locate(path, self.name.as_str(), None, None) else {
            return Ok(None);
        };
        if located.tenant != path {
            let text = format!("{} is an image of tenant `{}`\n", self.name, located.tenant);
            return Ok(Some(text));
        }
        let name = &located.name;
        if let Some(member) = &located.member {
            return Ok(Some(format!(
                "{} is an image of one upstream, and nobody else is asked\n  {}\n",
                self.name,
                asked(gateway, registry, name, member)
            )));
        }
        if let Some(text) = self.hosted(registry).await? {
            return Ok(Some(text));
        }
        let mut text = format!("{name} is not hosted in `{}`", tenant.path());
        let mut count = 0;
        for (number, member) in registry.in_order().enumerate() {
            let line = asked(gateway, registry, name, member.label());
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {}. {line}", number + 1);
            count += usize::from(member.shows(name));
        }
        text.push_str(match count {
            0 => return Ok(None),
            1 => "\n",
            _ => "\n  the first that has it answers; for a digest, whoever is known to have it is asked first\n",
        });
        Ok(Some(text))
    }

    /// What is hosted under the name, which nobody else is asked for.
    async fn hosted(&self, registry: &TenantRegistry) -> Result<Option<String>> {
        let Ok(hosted) = registry.hosted(None) else {
            return Ok(None);
        };
        let name = &self.name;
        if !hosted.store.has(name).await? {
            return Ok(None);
        }
        let mut text =
            format!("{name} is hosted: its name is reserved, and no upstream is asked\n");
        if let Some(reference) = &self.reference {
            text.push_str(&match hosted.store.manifest(name, reference).await {
                Ok(found) => format!(
                    "  {reference} is {} ({})\n",
                    found.digest,
                    found.media_type.as_str()
                ),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    format!("  there is no `{reference}` in it\n")
                }
                Err(error) => return Err(error),
            });
        }
        Ok(Some(text))
    }
}

/// Whether, and by which name, the upstream called `upstream` is asked.
fn asked(gateway: &Gateway, registry: &TenantRegistry, name: &RepoName, upstream: &str) -> String {
    let member = registry.repository(Some(upstream));
    if !member.is_ok_and(|member| member.shows(name)) {
        return format!("upstream `{upstream}` is not asked: `include` or `exclude` keep it out");
    }
    let mut proxies = gateway.upstream_registries();
    let proxy = proxies.find(|proxy| **proxy.name() == *upstream);
    match proxy.map(|proxy| proxy.upstream().repository(name)) {
        Some(Ok(theirs)) => format!("upstream `{upstream}` is asked for `{theirs}`"),
        _ => format!("upstream `{upstream}` is asked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_as_people_write_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, name, reference, is_certain) in [
            ("nginx", "nginx", None, false),
            ("team/nginx", "team/nginx", None, true),
            ("nginx:1.25", "nginx", Some("1.25"), true),
            (&format!("a/b@{digest}"), "a/b", Some(digest.as_str()), true),
        ] {
            let image = Image::parse(text).expect(text);
            let told = image.reference.as_ref().map(ToString::to_string);
            assert_eq!((image.name.as_str(), told.as_deref()), (name, reference));
            assert_eq!(image.is_certain(), is_certain, "{text}");
        }
        for text in ["", "Nginx", "nginx:", "nginx@sha256:1", "a//b", "nginx:.x"] {
            assert!(Image::parse(text).is_none(), "{text}");
        }
    }
}

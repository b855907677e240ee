//! Which token servers may be asked, and which may get the credentials.
//!
//! The realm comes from an answer, so whoever can change answers could name a machine of his own, or one inside the network
//! (CVE-2020-15157 and its many relatives). The addresses of realms are guarded like all others in `net`; here it is about names.

use url::{Host, Url};

use crate::error::{Error, ErrorKind, Result};

/// The rules of one upstream.
#[derive(Clone, Debug)]
pub(super) struct Realms {
    upstream: std::sync::Arc<str>,
    registry: Url,
    allowed: Vec<String>,
}

impl Realms {
    pub(super) fn new(upstream: std::sync::Arc<str>, registry: Url, allowed: &[String]) -> Self {
        Self {
            upstream,
            registry,
            allowed: allowed
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
        }
    }

    /// The token server that a challenge names, if it may be asked; `secretly`: with credentials.
    pub(super) fn check(&self, realm: &str, secretly: bool) -> Result<Url> {
        let mut url = self
            .registry
            .join(realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && !realm.is_empty())
            .ok_or_else(|| self.refused("its challenge names no usable token server"))?;
        // Somebody else's credentials are none of ours.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if self.registry.scheme() == "https" && url.scheme() != "https" {
            return Err(self.refused(&format!("it names the token server `{host}` without https")));
        }
        if secretly && !self.is_trusted(&url, &host) {
            return Err(self
                .refused(&format!(
                    "its token server `{host}` belongs to somebody else and would get the credentials; if that is intended, add it to `upstreams.{}.auth.token_realms`",
                    self.upstream
                )));
        }
        Ok(url)
    }

    fn is_trusted(&self, realm: &Url, host: &str) -> bool {
        if realm.host() == self.registry.host() || self.allowed.iter().any(|known| known == host) {
            return true;
        }
        match (realm.host(), self.registry.host()) {
            (Some(Host::Domain(realm)), Some(Host::Domain(registry))) => {
                are_neighbours(realm, registry)
            }
            // Addresses have no neighbours.
            _ => false,
        }
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::UpstreamUnauthorized,
            format!(
                "upstream `{}` is not asked for a token: {why}",
                self.upstream
            ),
        )
    }
}

/// Whether both names lie below the same registered domain: `auth.docker.io` and `registry-1.docker.io`, not `a.github.io` and
/// `b.github.io`.
fn are_neighbours(one: &str, two: &str) -> bool {
    let domain = |name: &str| {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let domain = psl::domain(name.as_bytes())?;
        // Names below a suffix that the list does not know (`.local`, `.internal`) are only as good as their own network.
        domain
            .suffix()
            .is_known()
            .then(|| String::from_utf8_lossy(domain.as_bytes()).into_owned())
    };
    domain(one).is_some() && domain(one) == domain(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realms(registry: &str, allowed: &[&str]) -> Realms {
        let allowed: Vec<String> = allowed.iter().map(|&host| host.to_owned()).collect();
        Realms::new("hub".into(), Url::parse(registry).expect("a URL"), &allowed)
    }

    #[test]
    fn credentials_go_to_the_registry_and_its_own_neighbours() {
        for (registry, realm) in [
            (
                "https://registry-1.docker.io/",
                "https://auth.docker.io/token",
            ),
            (
                "https://registry.gitlab.com/",
                "https://gitlab.com/jwt/auth",
            ),
            ("https://registry.acme.co.uk/", "https://login.acme.co.uk/t"),
            ("https://ghcr.io/", "https://ghcr.io/token"),
            ("https://ghcr.io/", "https://GHCR.io:8443/token"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token"),
            ("http://localhost:5000/", "https://localhost/token"),
            (
                "https://registry.svc.cluster.local/",
                "https://registry.svc.cluster.local/token",
            ),
            ("https://h/", "/token"),
        ] {
            realms(registry, &[]).check(realm, true).expect(realm);
        }
    }

    #[test]
    fn credentials_go_nowhere_else_unless_it_is_said() {
        for (registry, realm) in [
            (
                "https://registry-1.docker.io/",
                "https://docker.io.evil.example/token",
            ),
            ("https://registry.acme.co.uk/", "https://login.evil.co.uk/t"),
            ("https://a.github.io/", "https://b.github.io/token"),
            ("https://10.0.0.1/", "https://10.0.0.2/token"),
            ("https://registry.example/", "https://localhost/token"),
            ("https://registry.example/", "https://127.0.0.1/token"),
            ("https://localhost/", "https://127.0.0.1/token"),
            ("https://a.corp/", "https://b.corp/token"),
            ("https://com/", "https://com.evil.com/token"),
        ] {
            let error = realms(registry, &[]).check(realm, true).expect_err(realm);
            assert!(
                error
                    .message()
                    .contains("`upstreams.hub.auth.token_realms`"),
                "{error}"
            );
            realms(registry, &[])
                .check(realm, false)
                .expect("nothing to lose");
            let host = Url::parse(realm)
                .expect("a URL")
                .host_str()
                .expect("one")
                .to_owned();
            realms(registry, &[&host])
                .check(realm, true)
                .expect("allowed");
        }
    }

    #[test]
    fn https_stays_https_and_nonsense_is_refused() {
        let registry = realms("https://ghcr.io/", &["ghcr.io"]);
        for secretly in [true, false] {
            for realm in [
                "http://ghcr.io/token",
                "",
                "ftp://ghcr.io/",
                "https://",
                "file:///etc/passwd",
            ] {
                assert!(registry.check(realm, secretly).is_err(), "{realm}");
            }
        }
        let url = registry
            .check("https://me:pw@ghcr.io/t?a=b#c", true)
            .expect("usable");
        assert_eq!(url.as_str(), "https://ghcr.io/t?a=b");
        realms("http://h/", &[])
            .check("https://h/t", true)
            .expect("better than asked");
    }
}

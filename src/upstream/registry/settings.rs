//! What a registry is told about its upstream.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::config::{self, Secret};
use crate::error::Result;
use crate::oci::RepoName;

/// An upstream registry, as its configuration describes it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://registry.example/`, with a path where the API lies below one; `v2/` is added. Docker Hub's names for people
    /// (`docker.io`, `index.docker.io`) stand for the host of its API.
    pub url: Url,
    /// Whom to be. `None`: nobody.
    pub credentials: Option<Credentials>,
    /// Hosts of token servers that may get the credentials although they are neither the registry's host nor a neighbour
    /// below the same registered domain.
    pub token_realms: Vec<String>,
    /// What every repository lies below at the upstream.
    pub prefix: Option<RepoName>,
    /// How it is reached; its `auth` is not used.
    pub client: config::Client,
    /// The largest manifest, in bytes.
    pub max_manifest: usize,
}

/// Who we are at an upstream.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    /// User and password (or access token in its place).
    Basic(String, Secret),
    /// A token that is sent as it is.
    Bearer(Secret),
    /// A refresh token (identity token), exchanged for access tokens. The user counts where the server does not know the
    /// exchange and is given both as user and password instead.
    Refresh(String, Secret),
    /// A program that knows user and password, called as Docker calls credential helpers: `<program> get` with the registry's
    /// host on its standard input, JSON on its standard output. Asked again when what it said is refused, or this old.
    Helper(PathBuf, Duration),
}

impl Settings {
    /// For the registry at `url`, as nobody.
    pub fn new(url: Url, client: config::Client) -> Self {
        Self {
            url,
            credentials: None,
            token_realms: Vec::new(),
            prefix: None,
            client,
            max_manifest: crate::oci::MAX_MANIFEST,
        }
    }

    /// As the configuration describes an upstream of `type: oci`.
    pub fn of(oci: &config::Oci, client: &config::Client) -> Self {
        let credentials = oci.auth.as_ref().map(|auth| match auth.clone() {
            config::OciAuth::Basic(user, password) => Credentials::Basic(user, password),
            config::OciAuth::Bearer(token) => Credentials::Bearer(token),
            config::OciAuth::Refresh(user, token) => Credentials::Refresh(user, token),
            config::OciAuth::Helper(program, renew) => Credentials::Helper(program, renew),
        });
        Self {
            credentials,
            token_realms: oci.token_realms.clone(),
            prefix: oci.prefix.clone(),
            max_manifest: usize::try_from(oci.max_manifest).unwrap_or(usize::MAX),
            ..Self::new(oci.url.clone(), client.clone())
        }
    }

    /// Whether this is Docker Hub, under any of its names.
    pub fn is_docker_hub(&self) -> bool {
        let host = match self.url.host() {
            Some(Host::Domain(host)) => host.to_ascii_lowercase(),
            _ => return false,
        };
        DOCKER_HUB.contains(&host.as_str())
    }

    /// Where the API lies: ends in `/`, without credentials.
    pub(super) fn api_base(&self) -> Url {
        let mut url = self.url.clone();
        url.set_fragment(None);
        url.set_query(None);
        let _ = url.set_username("");
        let _ = url.set_password(None);
        if self.is_docker_hub() {
            // Fails only for URLs that cannot have a host.
            let _ = url.set_host(Some(DOCKER_HUB[0]));
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v2").unwrap_or(path);
        let path = format!("{path}/");
        url.set_path(&path);
        url
    }

    pub(super) fn repository(&self, name: &RepoName) -> Result<RepoName> {
        if let Some(prefix) = &self.prefix {
            return name.below(prefix);
        }
        if self.is_docker_hub() && name.is_single() {
            return name.below(&RepoName::parse("library")?);
        }
        Ok(name.clone())
    }

    /// Every name that [`Settings::repository`] turns into this one, the shortest first.
    pub(super) fn names(&self, repository: &RepoName) -> Vec<RepoName> {
        let below = |prefix: &str| {
            let rest = repository
                .as_str()
                .strip_prefix(prefix)?
                .strip_prefix('/')?;
            RepoName::parse(rest).ok()
        };
        if let Some(prefix) = &self.prefix {
            return below(prefix.as_str()).into_iter().collect();
        }
        let short = below("library").filter(|name| self.is_docker_hub() && name.is_single());
        short.into_iter().chain([repository.clone()]).collect()
    }
}

/// The host of its API first.
const DOCKER_HUB: [&str; 3] = ["registry-1.docker.io", "docker.io", "index.docker.io"];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings::new(Url::parse(url).expect(url), config::Client::default())
    }

    fn name(text: &str) -> RepoName {
        RepoName::parse(text).expect(text)
    }

    #[test]
    fn docker_hub_under_all_its_names() {
        for url in [
            "https://docker.io",
            "https://index.docker.io/v2/",
            "https://registry-1.docker.io/",
            "https://Docker.IO/?x#y",
        ] {
            let hub = settings(url);
            assert_eq!(
                hub.api_base().as_str(),
                "https://registry-1.docker.io/",
                "{url}"
            );
            let mapped = |text| hub.repository(&name(text)).expect("short");
            assert_eq!(mapped("nginx"), name("library/nginx"));
            assert_eq!(mapped("acme/nginx"), name("acme/nginx"));
            assert_eq!(
                hub.names(&name("library/nginx")),
                [name("nginx"), name("library/nginx")]
            );
            assert_eq!(hub.names(&name("acme/nginx")), [name("acme/nginx")]);
        }
        assert!(!settings("https://docker.io.example/").is_docker_hub());
    }

    #[test]
    fn other_registries_keep_their_names() {
        let other = settings("http://me:secret@h:5000/artifactory/api/docker/hub");
        assert_eq!(
            other.api_base().as_str(),
            "http://h:5000/artifactory/api/docker/hub/"
        );
        assert_eq!(
            other.repository(&name("nginx")).expect("short"),
            name("nginx")
        );
        let prefixed = Settings {
            prefix: Some(name("proxy/hub")),
            ..other
        };
        assert_eq!(
            prefixed.repository(&name("nginx")).expect("short"),
            name("proxy/hub/nginx")
        );
        assert_eq!(prefixed.names(&name("proxy/hub/nginx")), [name("nginx")]);
        assert!(prefixed.names(&name("proxy/hubs/nginx")).is_empty());
    }
}

//! Where images are, as clients write it.

use std::net::SocketAddr;

use crate::support::http::{Call, Reply};
use crate::support::image::{IMAGE, INDEX, Image};

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Host and port.
    pub(crate) address: String,
    /// What all repositories lie below: empty, or with a slash at its end.
    below: String,
}

impl Place {
    /// `below` is empty or a path such as `acme/hub`.
    pub(crate) fn of(address: impl ToString, below: &str) -> Self {
        let below = match below {
            "" => String::new(),
            path => format!("{path}/"),
        };
        Self {
            address: address.to_string(),
            below,
        }
    }

    /// `host:port/below/name`
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{}{name}", self.address, self.below)
    }

    /// `host:port/below/name:tag`
    pub(crate) fn image(&self, name: &str, tag: &str) -> String {
        format!("{}:{tag}", self.repository(name))
    }

    /// `host:port/below/name@digest`
    pub(crate) fn pinned(&self, name: &str, digest: &str) -> String {
        format!("{}@{digest}", self.repository(name))
    }

    /// The name alone, as the registry's API spells it.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.below)
    }

    /// Asks the registry itself, without any client program, whose address must be an IP address.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, name: &str, rest: &str) -> Reply {
        let address: SocketAddr = self.address.parse().expect("an address");
        Call::new(method, &format!("/v2/{}/{rest}", self.name(name)))
            .header("Accept", &format!("{IMAGE}, {INDEX}, {DOCKER}"))
            .send(address)
    }

    /// The digest that a tag stands for.
    #[track_caller]
    pub(crate) fn digest(&self, name: &str, tag: &str) -> String {
        let reply = self.ask("HEAD", name, &format!("manifests/{tag}"));
        let reply = reply.expect(200);
        let digest = reply.header("docker-content-digest");
        digest.expect("HEAD says the digest").to_owned()
    }

    /// Fails unless a tag is this image, byte for byte, with all that belongs to it.
    #[track_caller]
    pub(crate) fn assert_holds(&self, name: &str, tag: &str, image: &Image) {
        assert_eq!(self.digest(name, tag), image.digest);
        self.assert_whole(name, image);
    }

    #[track_caller]
    fn assert_whole(&self, name: &str, image: &Image) {
        let reply = self.ask("GET", name, &format!("manifests/{}", image.digest));
        let reply = reply.expect(200);
        assert_eq!(reply.body, image.manifest);
        assert_eq!(reply.header("content-type"), Some(image.media_type));
        for bytes in &image.blobs {
            let digest = crate::support::corpus::sha256(bytes);
            let reply = self.ask("GET", name, &format!("blobs/sha256:{digest}"));
            assert_eq!(&reply.expect(200).body, bytes);
        }
        for child in &image.children {
            self.assert_whole(name, child);
        }
    }
}

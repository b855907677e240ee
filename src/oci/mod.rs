//! The vocabulary of OCI registries: names, digests, manifests, and the texts that clients and servers exchange.
//!
//! [`Manifest::inspect`] says what a manifest is and what it needs, without ever changing a byte of it; [`RepoName`],
//! [`Reference`] and [`Digest`] are what a path may hold. Pure: nothing here performs I/O, and nothing knows tenants,
//! upstreams or stores. Rules: OCI distribution and image specifications, and what real clients do.

pub mod challenge;
mod descriptor;
mod digest;
pub mod error;
pub mod link;
mod manifest;
mod media;
mod name;
pub mod referrers;
mod scope;
pub mod tags;

pub use self::challenge::{Bearer, Challenge};
pub use self::descriptor::{Annotations, Descriptor, Platform};
pub use self::digest::{Algorithm, Digest, Hasher};
pub use self::manifest::{MAX_MANIFEST, Manifest};
pub use self::media::{ACCEPT, ManifestType, essence, helm, is_nondistributable};
pub use self::name::{Reference, RepoName, Tag};
pub use self::scope::Scope;

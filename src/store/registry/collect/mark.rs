//! Finding what is needed: every repository of every tenant, its links, tags and manifests.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::reach::{self, Node};
use super::{Broken, LINK_GRACE, Rules, Step, TenantShare};
use crate::digest;
use crate::error::{Error, Result};
use crate::object::Stamp;
use crate::oci::{Digest, Manifest, ManifestType};
use crate::store::registry::links::Link;
use crate::store::registry::tags::{PARALLEL, TagValue};
use crate::store::registry::{RegistryStore, layout};

/// What is needed, and what is not.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) tenants: Vec<TenantShare>,
    /// Contents, each with one repository (in `repositories`) whose link or manifest names it.
    pub(super) needed: BTreeMap<digest::Digest, Need>,
    pub(super) loose: Vec<Bundle>,
    pub(super) broken: Vec<Broken>,
    pub(super) repositories: Vec<Repository>,
    /// Repositories (positions) that are marked and have neither links nor tags.
    pub(super) empty: Vec<usize>,
}

/// Why a content is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// A position in the list of repositories.
    pub(super) repository: usize,
    /// Whether that repository shows it; otherwise a manifest names it, and it need not be there.
    pub(super) is_linked: bool,
}

/// One repository.
#[derive(Debug)]
pub(super) struct Repository {
    /// A position in the list of tenants.
    pub(super) tenant: usize,
    /// Its segments.
    pub(super) names: (String, String),
    pub(super) keys: layout::Repo,
}

/// The links of one repository that nothing needs.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) repository: usize,
    /// All its manifests, to find out anew what is needed when some of them turn out to be.
    pub(super) nodes: HashMap<Digest, Node>,
    pub(super) links: Vec<Loose>,
}

/// A link that nothing needs.
#[derive(Debug)]
pub(super) struct Loose {
    pub(super) digest: Digest,
    pub(super) content: digest::Digest,
    pub(super) size: u64,
    pub(super) is_manifest: bool,
}

/// A link that was read.
struct Held {
    digest: Digest,
    link: Link,
    content: digest::Digest,
    stamp: Stamp,
}

impl RegistryStore {
    /// Reads all repositories, one after the other.
    pub(super) async fn mark(
        &self,
        rules: &Rules,
        progress: &(dyn Fn(Step, u64, u64) + Send + Sync),
    ) -> Result<Marked> {
        let mut marked = Marked::default();
        let mut tenants = self.place.list(layout::TENANTS).await?;
        tenants.sort_by(|a, b| a.name.cmp(&b.name));
        for (at, tenant) in tenants.iter().enumerate() {
            let mut found = self.place.list(&layout::catalog(&tenant.name)).await?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            marked.tenants.push(TenantShare {
                tenant: tenant.name.to_string(),
                repositories: found.len() as u64,
                ..TenantShare::default()
            });
            let repositories = found.iter().map(|repo| Repository {
                tenant: at,
                names: (tenant.name.to_string(), repo.name.to_string()),
                keys: layout::Repo::new(&tenant.name, &repo.name),
            });
            marked.repositories.extend(repositories);
        }
        let total = marked.repositories.len();
        for at in 0..total {
            progress(Step::Mark, at as u64, total as u64);
            self.mark_repository(rules, at, &mut marked).await?;
        }
        progress(Step::Mark, total as u64, total as u64);
        Ok(marked)
    }

    async fn mark_repository(&self, rules: &Rules, at: usize, marked: &mut Marked) -> Result<()> {
        let repository = &marked.repositories[at];
        let keys = repository.keys.clone();
        let share = &mut marked.tenants[repository.tenant];
        let mut broken = Vec::new();

        // Tags first: one that is set later is set on a link that is there, or on one that is made young.
        let tags = self.read_tags(&keys).await?;
        let links = self.read_links(&keys).await?;
        share.tags += tags.len() as u64;
        if tags.is_empty() && links.is_empty() {
            // Whoever removed the last link died before its mark, or the first one is still to come.
            marked.empty.push(at);
            return Ok(());
        }
        let linked: HashSet<Digest> = links.iter().map(|held| held.digest).collect();
        for (tag, digest) in &tags {
            // Deleted together meanwhile, perhaps.
            if !linked.contains(digest) && self.still_means(&keys, tag, digest).await? {
                broken.push(format!("tag `{tag}` means `{digest}`, which is not there"));
            }
        }
        let tagged: HashSet<Digest> = tags.into_iter().map(|(_, digest)| digest).collect();
        let (mut nodes, is_complete) = self
            .read_manifests(&links, &tagged, rules, &mut broken)
            .await?;
        if !rules.untagged || !is_complete {
            nodes.values_mut().for_each(|node| node.is_root = true);
        }
        let kept = reach::needed(&nodes);
        let named = reach::named(&nodes, &kept);
        let mut loose = Vec::new();
        for held in &links {
            let is_manifest = held.link.kind().is_some();
            let is_needed = match is_manifest {
                true => kept.contains(&held.digest) || !nodes.contains_key(&held.digest),
                // What a manifest needs that cannot be read is not known.
                false => {
                    !is_complete
                        || named.contains(&held.digest)
                        || self.clock.since(held.stamp.modified) <= LINK_GRACE.max(rules.grace)
                }
            };
            let size = held.link.size;
            match is_manifest {
                true => share.manifests.add(size),
                false => share.blobs.add(size),
            }
            if is_needed {
                let need = Need {
                    repository: at,
                    is_linked: true,
                };
                marked.needed.insert(held.content, need);
                continue;
            }
            loose.push(Loose {
                digest: held.digest,
                content: held.content,
                size,
                is_manifest,
            });
        }
        // Deleted from the repository by hand, and still named by a manifest that is there.
        for digest in named {
            if let Digest::Sha256(content) = digest {
                marked.needed.entry(content).or_insert(Need {
                    repository: at,
                    is_linked: false,
                });
            }
        }
        if !loose.is_empty() {
            marked.loose.push(Bundle {
                repository: at,
                nodes,
                links: loose,
            });
        }
        let (tenant, repository) = &marked.repositories[at].names;
        marked
            .broken
            .extend(broken.into_iter().map(|message| Broken {
                tenant: tenant.clone(),
                repository: repository.replace('+', "/"),
                message,
            }));
        Ok(())
    }

    async fn read_links(&self, keys: &layout::Repo) -> Result<Vec<Held>> {
        let objects = self.place.list(&keys.links()).await?;
        stream::iter(objects)
            .map(async |object| {
                let Some(digest) = layout::read_digest(&object.name) else {
                    return Ok(None);
                };
                let key = keys.link(&digest);
                let Some((text, stamp)) = self.place.read(&key, MAX_RECORD).await? else {
                    return Ok(None);
                };
                // What it needs cannot be known, and guessing would remove bytes.
                let link: Link = serde_json::from_slice(&text).map_err(|error| {
                    Error::internal(
                        format!("`{key}` is damaged; push `{digest}` again or remove the file"),
                        error,
                    )
                })?;
                let content = link.content()?;
                Ok(Some(Held {
                    digest,
                    link,
                    content,
                    stamp,
                }))
            })
            .buffer_unordered(PARALLEL)
            .try_filter_map(async |held| Ok(held))
            .try_collect()
            .await
    }

    /// All tags and what they mean.
    pub(super) async fn read_tags(&self, keys: &layout::Repo) -> Result<Vec<(String, Digest)>> {
        let folder = keys.tags();
        let objects = self.place.list(&folder).await?;
        stream::iter(objects)
            .map(async |object| {
                let value = self.read_tag(&format!("{folder}/{}", object.name)).await?;
                Ok(value.map(|digest| (object.name.to_string(), digest)))
            })
            .buffer_unordered(PARALLEL)
            .try_filter_map(async |tag| Ok(tag))
            .try_collect()
            .await
    }

    async fn read_tag(&self, key: &str) -> Result<Option<Digest>> {
        let Some((text, _)) = self.place.read(key, MAX_RECORD).await? else {
            return Ok(None);
        };
        let value: TagValue = serde_json::from_slice(&text).map_err(|error| {
            Error::internal(format!("`{key}` is damaged; push the tag again"), error)
        })?;
        Ok(Some(value.digest))
    }

    async fn still_means(&self, keys: &layout::Repo, tag: &str, digest: &Digest) -> Result<bool> {
        let found = self.read_tag(&format!("{}/{tag}", keys.tags())).await?;
        Ok(found == Some(*digest) && self.place.stat(&keys.link(digest)).await?.is_none())
    }

    /// What the manifests of a repository name, and whether all of them could be read.
    async fn read_manifests(
        &self,
        links: &[Held],
        tagged: &HashSet<Digest>,
        rules: &Rules,
        broken: &mut Vec<String>,
    ) -> Result<(HashMap<Digest, Node>, bool)> {
        let manifests = links.iter().filter(|held| held.link.kind().is_some());
        let mut reads = stream::iter(manifests)
            .map(async |held| {
                let key = layout::blob(&held.content);
                let read = self.place.read(&key, held.link.size).await?;
                Ok::<_, Error>((held, read.map(|(bytes, _)| bytes)))
            })
            .buffer_unordered(PARALLEL);
        let (mut nodes, mut is_complete) = (HashMap::new(), true);
        while let Some(read) = reads.next().await {
            let (held, bytes) = read?;
            let Some(bytes) = bytes else {
                // The sweep tells that its bytes are gone.
                is_complete = false;
                continue;
            };
            let kind = held.link.kind().map(ManifestType::as_str);
            let manifest = match digest::Digest::of(&bytes) == held.content {
                true => Manifest::inspect(kind, &bytes, bytes.len()),
                false => Err(Error::invalid("its bytes are not what they were")),
            };
            match manifest {
                Ok(manifest) => {
                    let is_young = self.clock.since(held.stamp.modified) <= rules.grace;
                    let is_root = is_young || tagged.contains(&held.digest);
                    nodes.insert(held.digest, Node::of(&manifest, is_root));
                }
                Err(error) => {
                    is_complete = false;
                    let message = error.message();
                    broken.push(format!("manifest `{}` is damaged: {message}", held.digest));
                }
            }
        }
        Ok((nodes, is_complete))
    }
}

/// Links and tags are small.
const MAX_RECORD: u64 = 64 << 10;

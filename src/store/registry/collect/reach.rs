//! Which manifests of a repository are needed: tags, indexes and subjects followed to the end.

use std::collections::{HashMap, HashSet};

use crate::oci::{Digest, Manifest};

/// A manifest of the repository, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The manifests of an index.
    pub(super) children: Vec<Digest>,
    /// Config and layers.
    pub(super) blobs: Vec<Digest>,
    /// What it refers to.
    pub(super) subject: Option<Digest>,
    /// Whether it stays whatever refers to it: a tag means it, it is young, or manifests do not go for want of a tag.
    pub(super) is_root: bool,
}

impl Node {
    pub(super) fn of(manifest: &Manifest, is_root: bool) -> Self {
        let digest = |descriptor: &crate::oci::Descriptor| descriptor.digest;
        Self {
            children: manifest.manifests.iter().map(digest).collect(),
            blobs: manifest
                .config
                .iter()
                .chain(&manifest.layers)
                .map(digest)
                .collect(),
            subject: manifest.subject.as_ref().map(digest),
            is_root,
        }
    }
}

/// The manifests that stay: roots, what is in an index that stays, what refers to something that stays, and what something that
/// stays refers to. Two that only have each other do not stay.
pub(super) fn needed(nodes: &HashMap<Digest, Node>) -> HashSet<Digest> {
    let mut referrers: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for (digest, node) in nodes {
        if let Some(subject) = node.subject {
            referrers.entry(subject).or_default().push(*digest);
        }
    }
    let roots = nodes.iter().filter(|(_, node)| node.is_root);
    let mut open: Vec<Digest> = roots.map(|(digest, _)| *digest).collect();
    let mut found = HashSet::new();
    while let Some(digest) = open.pop() {
        let Some(node) = nodes.get(&digest) else {
            continue;
        };
        if !found.insert(digest) {
            continue;
        }
        open.extend(&node.children);
        open.extend(node.subject);
        open.extend(referrers.get(&digest).into_iter().flatten());
    }
    found
}

/// What the manifests that stay name.
pub(super) fn named(nodes: &HashMap<Digest, Node>, kept: &HashSet<Digest>) -> HashSet<Digest> {
    kept.iter()
        .filter_map(|digest| nodes.get(digest))
        .flat_map(|node| node.blobs.iter().chain(&node.children))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn name(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn stays(nodes: &[(&str, &[&str], Option<&str>, bool)]) -> Vec<String> {
        let map = nodes
            .iter()
            .map(|(own, children, subject, is_root)| {
                let node = Node {
                    children: children.iter().map(|child| name(child)).collect(),
                    subject: subject.map(name),
                    is_root: *is_root,
                    ..Node::default()
                };
                (name(own), node)
            })
            .collect();
        let found = needed(&map);
        let names = nodes.iter().map(|(own, ..)| *own);
        names
            .filter(|own| found.contains(&name(own)))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn what_hangs_on_a_root_stays() {
        let nodes: &[(&str, &[&str], Option<&str>, bool)] = &[
            ("index", &["image", "inner"], None, true),
            ("inner", &["deep", "absent"], None, false),
            ("image", &[], None, false),
            ("deep", &[], None, false),
            ("signature of deep", &[], Some("deep"), false),
            (
                "signature of the signature",
                &[],
                Some("signature of deep"),
                false,
            ),
            ("parent without a tag", &["image"], None, false),
            ("alone", &[], None, false),
            ("signature of alone", &[], Some("alone"), false),
            ("signature of what is gone", &[], Some("gone"), false),
        ];
        assert_eq!(
            stays(nodes),
            [
                "index",
                "inner",
                "image",
                "deep",
                "signature of deep",
                "signature of the signature"
            ]
        );
    }

    #[test]
    fn a_referrer_that_stays_keeps_its_subject_and_circles_keep_nobody() {
        let nodes: &[(&str, &[&str], Option<&str>, bool)] = &[
            ("subject", &["child"], None, false),
            ("child", &[], None, false),
            ("tagged signature", &[], Some("subject"), true),
            ("a", &["b"], Some("b"), false),
            ("b", &["a"], Some("a"), false),
        ];
        assert_eq!(stays(nodes), ["subject", "child", "tagged signature"]);
    }
}

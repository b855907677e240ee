//! Chart.yaml as Helm reads it.

use std::collections::BTreeMap;

use crate::error::Result;

/// The content of a Chart.yaml. Every scalar is kept as text, because `1.10` must not become `1.1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The chart's name; empty where missing.
    pub name: String,
    /// The project's home page.
    pub home: Option<String>,
    /// Where its sources are.
    pub sources: Vec<String>,
    /// The version text; empty where missing.
    pub version: String,
    /// One sentence about it.
    pub description: Option<String>,
    /// Search words.
    pub keywords: Vec<String>,
    /// Who maintains it; `None` is a null in the list, which Helm refuses.
    pub maintainers: Vec<Option<Maintainer>>,
    /// URL of an icon.
    pub icon: Option<String>,
    /// `v1` or `v2`; Helm reads an absent one as `v1`.
    pub api_version: Option<String>,
    /// When it is enabled as a dependency.
    pub condition: Option<String>,
    /// Tags as a dependency.
    pub tags: Option<String>,
    /// The version of what it installs.
    pub app_version: Option<String>,
    /// Whether it should no longer be used.
    pub deprecated: bool,
    /// Free pairs.
    pub annotations: BTreeMap<String, String>,
    /// A constraint on the cluster's version.
    pub kube_version: Option<String>,
    /// Charts that it needs; `None` is a null in the list, which Helm refuses.
    pub dependencies: Vec<Option<Dependency>>,
    /// `application` or `library`.
    pub kind: Option<String>,
    /// The version was an unquoted YAML number, whose text and value differ (`1.10` is 1.1): uploads refuse it.
    pub version_unquoted_number: bool,
}

/// One maintainer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintainer {
    /// Name.
    pub name: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Web page.
    pub url: Option<String>,
}

/// One dependency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependency {
    /// The chart's name.
    pub name: Option<String>,
    /// A version or constraint.
    pub version: Option<String>,
    /// Where it comes from.
    pub repository: Option<String>,
    /// When it is enabled.
    pub condition: Option<String>,
    /// Tags that enable it.
    pub tags: Vec<String>,
    /// Whether it is enabled.
    pub enabled: Option<bool>,
    /// Values taken over, as JSON text of the list.
    pub import_values: Option<String>,
    /// The name it is used under.
    pub alias: Option<String>,
}

impl Metadata {
    /// Reads a Chart.yaml. A byte order mark is skipped; unknown keys are ignored.
    pub fn from_yaml(_text: &[u8]) -> Result<Self> {
        todo!()
    }
    /// Helm's rules, with Helm's messages.
    pub fn validate(&self) -> Result<()> {
        todo!()
    }
}

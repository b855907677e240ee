//! Chart.yaml as Helm reads it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::node::{Node, Shape, chart_shape};
use super::version::Version;
use super::yaml::{self, MAX_ALIASES, MAX_BRACKETS};
use crate::error::{Error, Result};

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
    /// Values taken over from it.
    pub import_values: Vec<ImportValue>,
    /// The name it is used under.
    pub alias: Option<String>,
}

/// A value that a chart takes over from a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportValue {
    /// A key of the dependency's `exports`.
    Key(String),
    /// From `child` in the dependency's values to `parent` in the chart's.
    Path {
        /// Where it is taken from.
        child: String,
        /// Where it is put.
        parent: String,
    },
}

impl Metadata {
    /// Reads a Chart.yaml. A byte order mark is skipped; unknown keys are ignored; of a key that comes twice the last counts.
    pub fn from_yaml(text: &[u8]) -> Result<Self> {
        let wrong = |detail: &str| Error::invalid(format!("cannot load Chart.yaml: {detail}"));
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let text = std::str::from_utf8(text).map_err(|error| wrong(&error.to_string()))?;
        yaml::guard(text.as_bytes(), MAX_BRACKETS, MAX_ALIASES)
            .map_err(|error| wrong(error.message()))?;
        let node = yaml::read(text, Shape::Record(chart_shape))
            .map_err(|error| wrong(&format!("error converting YAML to JSON: yaml: {error}")))?;
        match node {
            Node::Map(pairs) => Ok(Self::from_pairs(pairs)),
            Node::Null | Node::Text(_) | Node::Bare(_) | Node::Lost | Node::List(_) => {
                Ok(Self::default())
            }
        }
    }

    /// Helm's rules in Helm's order and words, without our own: upper-case names are fine here.
    pub fn validate(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::invalid(format!("validation: {text}")));
        if self.name.is_empty() {
            return wrong("chart.metadata.name is required");
        }
        if matches!(self.name.as_str(), "." | "..") {
            return wrong(&format!(
                "chart.metadata.name {:?} is not allowed",
                self.name
            ));
        }
        if self.name.contains(['/', '\\']) {
            return wrong(&format!("chart.metadata.name {:?} is invalid", self.name));
        }
        if self.version.is_empty() {
            return wrong("chart.metadata.version is required");
        }
        if Version::parse(&self.version).is_err() {
            return wrong(&format!(
                "chart.metadata.version {:?} is invalid",
                self.version
            ));
        }
        if !matches!(
            self.kind.as_deref(),
            None | Some("" | "application" | "library")
        ) {
            return wrong("chart.metadata.type must be application or library");
        }
        if self.maintainers.iter().any(Option::is_none) {
            return wrong("maintainers must not contain empty or null nodes");
        }
        self.validate_dependencies()
    }

    fn validate_dependencies(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::invalid(format!("validation: {text}")));
        let mut seen = std::collections::BTreeSet::new();
        for dependency in &self.dependencies {
            let Some(dependency) = dependency else {
                return wrong("dependencies must not contain empty or null nodes".to_owned());
            };
            let name = dependency.name.as_deref().unwrap_or_default();
            let alias = dependency.alias.as_deref().unwrap_or_default();
            if !alias
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            {
                return wrong(format!(
                    "dependency {name:?} has disallowed characters in the alias"
                ));
            }
            let key = if alias.is_empty() { name } else { alias };
            if !seen.insert(key) {
                return wrong(format!(
                    "more than one dependency with name or alias {key:?}"
                ));
            }
        }
        Ok(())
    }

    fn from_pairs(pairs: Vec<(Cow<'_, str>, Node<'_>)>) -> Self {
        let mut data = Self::default();
        for (key, value) in pairs {
            match key.as_ref() {
                "name" => data.name = text(value).unwrap_or_default(),
                "version" => {
                    data.version_unquoted_number = matches!(value, Node::Bare(_));
                    data.version = text(value).unwrap_or_default();
                }
                "home" => data.home = text(value),
                "sources" => data.sources = texts(value),
                "description" => data.description = text(value),
                "keywords" => data.keywords = texts(value),
                "icon" => data.icon = text(value),
                "apiVersion" => data.api_version = text(value),
                "condition" => data.condition = text(value),
                "tags" => data.tags = text(value),
                "appVersion" => data.app_version = text(value),
                "deprecated" => data.deprecated = flag(value).unwrap_or(false),
                "annotations" => data.annotations = string_pairs(value),
                "kubeVersion" => data.kube_version = text(value),
                "type" => data.kind = text(value),
                "maintainers" => data.maintainers = records(value, Maintainer::set),
                "dependencies" => data.dependencies = records(value, Dependency::set),
                _ => {}
            }
        }
        data
    }

    /// The same as a neutral tree, for the index.
    pub(crate) fn to_pairs(&self) -> Vec<(Cow<'_, str>, Node<'_>)> {
        let mut pairs = vec![("name", some(&self.name)), ("version", some(&self.version))];
        for (key, value) in [
            ("home", &self.home),
            ("description", &self.description),
            ("icon", &self.icon),
            ("condition", &self.condition),
            ("tags", &self.tags),
            ("appVersion", &self.app_version),
            ("kubeVersion", &self.kube_version),
            ("type", &self.kind),
        ] {
            pairs.push((key, maybe(value)));
        }
        // Helm's loader reads a missing apiVersion as v1 and writes it so.
        let api_version = self.api_version.as_deref().filter(|text| !text.is_empty());
        pairs.push(("apiVersion", some(api_version.unwrap_or("v1"))));
        pairs.push(("sources", list(&self.sources)));
        pairs.push(("keywords", list(&self.keywords)));
        if self.deprecated {
            pairs.push(("deprecated", Node::Bare(Cow::Borrowed("true"))));
        }
        let annotations = self.annotations.iter();
        let annotations =
            annotations.map(|(key, value)| (Cow::Borrowed(key.as_str()), some(value)));
        pairs.push(("annotations", Node::Map(annotations.collect())));
        let maintainers = self
            .maintainers
            .iter()
            .map(|item| item.as_ref().map_or(Node::Null, Maintainer::to_node));
        pairs.push(("maintainers", Node::List(maintainers.collect())));
        let dependencies = self
            .dependencies
            .iter()
            .map(|item| item.as_ref().map_or(Node::Null, Dependency::to_node));
        pairs.push(("dependencies", Node::List(dependencies.collect())));
        pairs
            .into_iter()
            .map(|(key, value)| (Cow::Borrowed(key), value))
            .collect()
    }
}

impl Maintainer {
    fn set(&mut self, key: &str, value: Node<'_>) {
        match key {
            "name" => self.name = text(value),
            "email" => self.email = text(value),
            "url" => self.url = text(value),
            _ => {}
        }
    }

    fn to_node(&self) -> Node<'_> {
        let pairs = [
            ("email", &self.email),
            ("name", &self.name),
            ("url", &self.url),
        ];
        Node::Map(
            pairs
                .map(|(key, value)| (Cow::Borrowed(key), maybe(value)))
                .into(),
        )
    }
}

impl Dependency {
    fn set(&mut self, key: &str, value: Node<'_>) {
        match key {
            "name" => self.name = text(value),
            "version" => self.version = text(value),
            "repository" => self.repository = text(value),
            "condition" => self.condition = text(value),
            "tags" => self.tags = texts(value),
            "enabled" => self.enabled = flag(value),
            "import-values" => {
                self.import_values = match value {
                    Node::List(items) => items
                        .into_iter()
                        .filter_map(ImportValue::from_node)
                        .collect(),
                    Node::Null | Node::Text(_) | Node::Bare(_) | Node::Lost | Node::Map(_) => {
                        Vec::new()
                    }
                }
            }
            "alias" => self.alias = text(value),
            _ => {}
        }
    }

    fn to_node(&self) -> Node<'_> {
        let mut pairs = vec![
            (Cow::Borrowed("name"), maybe(&self.name)),
            (Cow::Borrowed("version"), maybe(&self.version)),
            (Cow::Borrowed("repository"), maybe(&self.repository)),
            (Cow::Borrowed("condition"), maybe(&self.condition)),
            (Cow::Borrowed("tags"), list(&self.tags)),
            (Cow::Borrowed("alias"), maybe(&self.alias)),
        ];
        if self.enabled == Some(true) {
            pairs.push((Cow::Borrowed("enabled"), Node::Bare(Cow::Borrowed("true"))));
        }
        if !self.import_values.is_empty() {
            let items = self
                .import_values
                .iter()
                .map(ImportValue::to_node)
                .collect();
            pairs.push((Cow::Borrowed("import-values"), Node::List(items)));
        }
        Node::Map(pairs)
    }
}

impl ImportValue {
    fn from_node(node: Node<'_>) -> Option<Self> {
        match node {
            Node::Text(name) => Some(Self::Key(name.into_owned())),
            Node::Map(pairs) => {
                let (mut child, mut parent) = (String::new(), String::new());
                for (key, value) in pairs {
                    match key.as_ref() {
                        "child" => child = text(value).unwrap_or_default(),
                        "parent" => parent = text(value).unwrap_or_default(),
                        _ => {}
                    }
                }
                Some(Self::Path { child, parent })
            }
            Node::Null | Node::Bare(_) | Node::Lost | Node::List(_) => None,
        }
    }

    fn to_node(&self) -> Node<'_> {
        match self {
            Self::Key(name) => some(name),
            Self::Path { child, parent } => Node::Map(vec![
                ("child".into(), some(child)),
                ("parent".into(), some(parent)),
            ]),
        }
    }
}

fn text(node: Node<'_>) -> Option<String> {
    match node {
        Node::Text(text) | Node::Bare(text) => Some(text.into_owned()),
        Node::Null | Node::Lost | Node::List(_) | Node::Map(_) => None,
    }
}

fn texts(node: Node<'_>) -> Vec<String> {
    match node {
        Node::List(items) => items.into_iter().filter_map(text).collect(),
        Node::Null | Node::Text(_) | Node::Bare(_) | Node::Lost | Node::Map(_) => Vec::new(),
    }
}

fn flag(node: Node<'_>) -> Option<bool> {
    match text(node)?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

fn string_pairs(node: Node<'_>) -> BTreeMap<String, String> {
    match node {
        Node::Map(pairs) => pairs
            .into_iter()
            .map(|(key, value)| (key.into_owned(), text(value).unwrap_or_default()))
            .collect(),
        Node::Null | Node::Text(_) | Node::Bare(_) | Node::Lost | Node::List(_) => BTreeMap::new(),
    }
}

fn records<T: Default>(node: Node<'_>, set: impl Fn(&mut T, &str, Node<'_>)) -> Vec<Option<T>> {
    let Node::List(items) = node else {
        return Vec::new();
    };
    items
        .into_iter()
        .map(|item| match item {
            Node::Map(pairs) => {
                let mut record = T::default();
                for (key, value) in pairs {
                    set(&mut record, &key, value);
                }
                Some(record)
            }
            Node::Null | Node::Text(_) | Node::Bare(_) | Node::Lost | Node::List(_) => None,
        })
        .collect()
}

fn some(text: &str) -> Node<'_> {
    Node::Text(Cow::Borrowed(text))
}

fn maybe(text: &Option<String>) -> Node<'_> {
    text.as_deref().map_or(Node::Null, some)
}

fn list(items: &[String]) -> Node<'_> {
    Node::List(items.iter().map(|item| some(item)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Metadata {
        Metadata::from_yaml(text.as_bytes()).expect(text)
    }

    fn refusal(text: &str) -> String {
        read(text).validate().expect_err(text).message().to_owned()
    }

    #[test]
    fn scalars_keep_their_text() {
        let data = read(
            "\u{feff}apiVersion: v2\nname: a\nversion: 1.10\nappVersion: 0x1F\nkubeVersion: yes\nfoo: {a: [1]}\n",
        );
        assert_eq!(
            (data.version.as_str(), data.version_unquoted_number),
            ("1.10", true)
        );
        assert_eq!(data.app_version.as_deref(), Some("0x1F"));
        assert_eq!(data.kube_version.as_deref(), Some("yes"));
        assert!(!read("name: a\nversion: \"1.10\"\n").version_unquoted_number);
        assert!(!read("name: a\nversion: 1.2.3\n").version_unquoted_number);
    }

    #[test]
    fn lists_and_records() {
        let data = read(
            "name: a\nversion: 1.0.0\nkeywords: [x, null, 1]\nmaintainers:\n- name: m\n  email: e\ndependencies:\n- name: d\n  version: 1.x\n  tags: [t]\n  enabled: true\n  import-values: [data, {child: a, parent: b}]\n  alias: z\nannotations: {k: 1.0, n: null}\ndeprecated: true\n",
        );
        assert_eq!(data.keywords, ["x", "1"]);
        assert_eq!(data.annotations["k"], "1.0");
        assert_eq!(data.annotations["n"], "");
        assert!(data.deprecated);
        let dependency = data.dependencies[0].as_ref().expect("dependency");
        assert_eq!(
            (dependency.enabled, dependency.import_values.len()),
            (Some(true), 2)
        );
        data.validate().expect("valid");
    }

    #[test]
    fn helms_messages() {
        for (text, message) in [
            ("version: 1.0.0\n", "chart.metadata.name is required"),
            ("{}", "chart.metadata.name is required"),
            (
                "name: a/b\nversion: 1.0.0\n",
                "chart.metadata.name \"a/b\" is invalid",
            ),
            (
                "name: ..\nversion: 1.0.0\n",
                "chart.metadata.name \"..\" is not allowed",
            ),
            ("name: a\n", "chart.metadata.version is required"),
            (
                "name: a\nversion: latest\n",
                "chart.metadata.version \"latest\" is invalid",
            ),
            (
                "name: a\nversion: 1.0.0-01\n",
                "chart.metadata.version \"1.0.0-01\" is invalid",
            ),
            (
                "name: a\nversion: 1.0.0\ntype: x\n",
                "chart.metadata.type must be application or library",
            ),
            (
                "name: a\nversion: 1.0.0\nmaintainers: [null]\n",
                "maintainers must not contain empty or null nodes",
            ),
            (
                "name: a\nversion: 1.0.0\ndependencies: [~]\n",
                "dependencies must not contain empty or null nodes",
            ),
            (
                "name: a\nversion: 1.0.0\ndependencies: [{name: d}, {name: d}]\n",
                "more than one dependency with name or alias \"d\"",
            ),
            (
                "name: a\nversion: 1.0.0\ndependencies: [{name: d, alias: 'x y'}]\n",
                "dependency \"d\" has disallowed characters in the alias",
            ),
        ] {
            assert_eq!(refusal(text), format!("validation: {message}"), "{text}");
        }
    }

    #[test]
    fn bombs_and_garbage_are_refused() {
        for text in [
            "[".repeat(40_000),
            "a: b: c".to_owned(),
            "name: [a]".to_owned(),
            "\0".to_owned(),
        ] {
            let error = Metadata::from_yaml(text.as_bytes()).expect_err("garbage");
            assert!(
                error.message().starts_with("cannot load Chart.yaml: "),
                "{error}"
            );
        }
        assert!(Metadata::from_yaml(b"name: \xff").is_err());
        let laughs = "a: &a x\n".to_owned() + "b: [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n";
        assert!(Metadata::from_yaml(laughs.as_bytes()).is_err());
    }
}

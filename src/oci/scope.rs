//! Scopes of bearer tokens: `repository:<name>:<actions>`.

use std::fmt;

use super::RepoName;

/// What a token is asked for. Texts that are none of the known forms never become one (a token server ignores them).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// `repository`, `registry`, or what somebody invents.
    pub kind: String,
    /// The repository, or `catalog`. It may hold one `:` (a port).
    pub name: String,
    /// `pull`, `push`, `delete`, `*`, in the order given.
    pub actions: Vec<String>,
}

impl Scope {
    /// The right to do `actions` (`pull`, or `pull,push`) in a repository.
    pub fn repository(name: &RepoName, actions: &str) -> Self {
        Self {
            kind: "repository".to_owned(),
            name: name.as_str().to_owned(),
            actions: actions.split(',').map(str::to_owned).collect(),
        }
    }

    /// Reads one scope: the kind ends at the first colon, the actions start after the last.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let is_plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'"')
        };
        if !is_plain(kind) || !is_plain(name) || text.len() > MAX_SCOPE {
            return None;
        }
        let actions: Vec<String> = actions
            .split(',')
            .map(str::trim)
            .filter(|action| !action.is_empty())
            .map(str::to_owned)
            .collect();
        actions.iter().all(|action| is_plain(action)).then(|| Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions,
        })
    }

    /// Reads a list of scopes, separated by spaces, leaving out what is none.
    pub fn parse_list(text: &str) -> Vec<Self> {
        text.split_ascii_whitespace()
            .filter_map(Self::parse)
            .collect()
    }

    /// Whether it names `action`, or all of them.
    pub fn allows(&self, action: &str) -> bool {
        self.actions
            .iter()
            .any(|named| named == action || named == "*")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

const MAX_SCOPE: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scopes_of_all_kinds() {
        let scope = Scope::parse("repository:acme/a:pull,push").expect("a scope");
        assert_eq!(
            (scope.kind.as_str(), scope.name.as_str()),
            ("repository", "acme/a")
        );
        assert!(scope.allows("push") && !scope.allows("delete"));
        let port = Scope::parse("repository:h:5000/a:*").expect("a scope");
        assert_eq!(port.name, "h:5000/a");
        assert!(port.allows("delete"));
        let catalog = Scope::parse("registry:catalog:*").expect("a scope");
        assert_eq!(catalog.to_string(), "registry:catalog:*");
        let plugin = Scope::parse("repository(plugin):a/b:pull").expect("a scope");
        assert_eq!(plugin.kind, "repository(plugin)");
        for text in [
            "",
            "aws",
            "repository:a",
            ":a:pull",
            "repository::pull",
            "a:b\n:c",
        ] {
            assert_eq!(Scope::parse(text), None, "{text:?}");
        }
        let name = RepoName::parse("a/b").expect("a name");
        assert_eq!(
            Scope::repository(&name, "pull,push").to_string(),
            "repository:a/b:pull,push"
        );
        let list = Scope::parse_list("repository:a:pull nonsense  repository:b:pull");
        assert_eq!(list.len(), 2);
    }

    proptest! {
        #[test]
        fn what_was_read_is_written_the_same(text in "[a-z:,*/ ]{0,24}") {
            if let Some(scope) = Scope::parse(&text) {
                prop_assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
            }
        }
    }
}

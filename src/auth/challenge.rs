//! The words of `WWW-Authenticate`: what a 401 asks for.

use super::token::{ACCESS_ENTRY_TYPE, namespace};
use crate::config::{Action, Challenge};

/// The value of the field for `action` in the tenant at `path`.
pub(super) fn render(challenge: &Challenge, path: &str, action: Action) -> String {
    match challenge {
        Challenge::Basic { realm } => format!("Basic realm=\"{}\"", quotable(realm)),
        Challenge::Bearer { realm, service } => format!(
            "Bearer realm=\"{}\",service=\"{}\",scope=\"{ACCESS_ENTRY_TYPE}:{}:{}\"",
            quotable(realm),
            quotable(service),
            quotable(namespace(path)),
            scope_action(action)
        ),
    }
}

/// ChartMuseum's tokens know two actions.
fn scope_action(action: Action) -> &'static str {
    match action {
        Action::Pull => "pull",
        Action::Push | Action::Delete | Action::Admin => "push",
    }
}

/// As the content of a quoted-string (RFC 9110 §5.6.4), without what no field may hold.
fn quotable(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars().filter(|c| c.is_ascii() && !c.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_forms() {
        let basic = Challenge::Basic {
            realm: "ChartMuseum".into(),
        };
        assert_eq!(
            render(&basic, "org1", Action::Pull),
            "Basic realm=\"ChartMuseum\""
        );
        let bearer = Challenge::Bearer {
            realm: "https://my.site/oauth2/token".into(),
            service: "my.site".into(),
        };
        for (path, action, scope) in [
            ("", Action::Pull, "repo:pull"),
            ("org1/repo1", Action::Pull, "org1/repo1:pull"),
            ("org1/repo1", Action::Push, "org1/repo1:push"),
            ("org1/repo1", Action::Delete, "org1/repo1:push"),
        ] {
            assert_eq!(
                render(&bearer, path, action),
                format!(
                    "Bearer realm=\"https://my.site/oauth2/token\",service=\"my.site\",scope=\"artifact-repository:{scope}\""
                )
            );
        }
    }

    #[test]
    fn nothing_escapes_the_quotes() {
        let challenge = Challenge::Basic {
            realm: "a\"b\\c\r\nX: y\u{e4}".into(),
        };
        let text = render(&challenge, "", Action::Pull);
        assert_eq!(text, "Basic realm=\"a\\\"b\\\\cX: y\"");
    }
}

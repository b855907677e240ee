//! Which actions a token allows where: a JMESPath over its claims, with the tenant's name bound into it.
//!
//! ChartMuseum pastes the name into the text of the expression, so that a name with a quote changes its meaning. Here the
//! expression is read once, and the name is put into the strings of its tree. The only
//! user of jmespath besides `claim.rs`.

use std::sync::Arc;

use jmespath::ast::{Ast, KeyValuePair};
use jmespath::{DEFAULT_RUNTIME, Expression, Rcvar, Variable};
use serde_json::{Map, Value};

use crate::auth::policy::Actions;
use crate::config::Action;
use crate::error::{Error, Result};

/// The `type` of the entries of ChartMuseum's `access` claim.
pub(in crate::auth) const ACCESS_ENTRY_TYPE: &str = "artifact-repository";

const NAMESPACE: &str = "$NAMESPACE";
const ENTRY_TYPE: &str = "$ACCESS_ENTRY_TYPE";

/// An expression that yields the allowed actions, with a place for the tenant's name.
#[derive(Debug)]
pub(super) struct Query {
    text: String,
    tree: Ast,
}

/// The claims of a token, in the form that queries are asked over.
pub(super) type Claims = Rcvar;

/// Makes claims ready for queries. Errors: numbers that JMESPath has no form for.
pub(super) fn claims(claims: Map<String, Value>) -> Result<Claims> {
    Variable::try_from(Value::Object(claims))
        .map(Rcvar::new)
        .map_err(|error| Error::invalid(format!("the claims cannot be searched: {error}")))
}

impl Query {
    /// Reads an expression. Errors say where it stops being one.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let tree = jmespath::parse(text).map_err(|error| {
            let hint = if text.contains('$') {
                "; variables stand in quotes, such as `'$NAMESPACE'`"
            } else {
                ""
            };
            Error::invalid(format!(
                "`{text}` is not a JMESPath expression: {}{hint}",
                error.reason
            ))
        })?;
        let mut unknown = None;
        // The walk only looks; what it makes is dropped.
        rewrite(&tree, &mut |part| match part {
            Part::Function(name) => {
                if DEFAULT_RUNTIME.get_function(name).is_none() {
                    unknown = Some(name.to_owned());
                }
                name.to_owned()
            }
            Part::Text(text) => text.to_owned(),
        });
        match unknown {
            Some(name) => Err(Error::invalid(format!(
                "`{text}`: JMESPath has no function `{name}`"
            ))),
            None => Ok(Self {
                text: text.to_owned(),
                tree,
            }),
        }
    }

    /// The actions that it finds in `claims` for `namespace`: strings in a list. Anything else allows nothing.
    ///
    /// `push` includes deletions, as ChartMuseum has it.
    pub(super) fn actions(&self, claims: &Claims, namespace: &str) -> Actions {
        let bound = rewrite(&self.tree, &mut |part| match part {
            Part::Function(name) => name.to_owned(),
            Part::Text(text) => bind(text, namespace),
        });
        let found = Expression::new(self.text.as_str(), bound, &DEFAULT_RUNTIME).search(claims);
        let found = found.unwrap_or_else(|error| {
            tracing::debug!("the actions of a token cannot be found: {error}");
            Rcvar::new(Variable::Null)
        });
        let mut actions = Vec::new();
        for name in found.as_array().into_iter().flatten() {
            match name.as_string().map(String::as_str) {
                Some("pull") => actions.push(Action::Pull),
                Some("push") => actions.extend([Action::Push, Action::Delete]),
                Some("delete") => actions.push(Action::Delete),
                _ => {}
            }
        }
        Actions::of(&actions)
    }
}

/// Puts the values in, in one pass: a namespace that spells a variable stays what it is.
fn bind(text: &str, namespace: &str) -> String {
    let mut bound = String::with_capacity(text.len() + namespace.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        bound.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix(NAMESPACE) {
            bound.push_str(namespace);
            rest = after;
        } else if let Some(after) = rest.strip_prefix(ENTRY_TYPE) {
            bound.push_str(ACCESS_ENTRY_TYPE);
            rest = after;
        } else {
            bound.push('$');
            rest = &rest[1..];
        }
    }
    bound.push_str(rest);
    bound
}

/// A place in an expression that holds text.
enum Part<'a> {
    /// A string or the name of a field.
    Text(&'a str),
    /// The name of a function.
    Function(&'a str),
}

/// The same tree with every text replaced. As deep as the expression is nested, which the parser bounds.
fn rewrite(tree: &Ast, replace: &mut dyn FnMut(Part<'_>) -> String) -> Ast {
    let mut boxed = |tree: &Ast| Box::new(rewrite(tree, replace));
    match tree {
        Ast::Comparison {
            offset,
            comparator,
            lhs,
            rhs,
        } => Ast::Comparison {
            offset: *offset,
            comparator: comparator.clone(),
            lhs: boxed(lhs),
            rhs: boxed(rhs),
        },
        Ast::Condition {
            offset,
            predicate,
            then,
        } => Ast::Condition {
            offset: *offset,
            predicate: boxed(predicate),
            then: boxed(then),
        },
        Ast::Expref { offset, ast } => Ast::Expref {
            offset: *offset,
            ast: boxed(ast),
        },
        Ast::Flatten { offset, node } => Ast::Flatten {
            offset: *offset,
            node: boxed(node),
        },
        Ast::Not { offset, node } => Ast::Not {
            offset: *offset,
            node: boxed(node),
        },
        Ast::ObjectValues { offset, node } => Ast::ObjectValues {
            offset: *offset,
            node: boxed(node),
        },
        Ast::Projection { offset, lhs, rhs } => Ast::Projection {
            offset: *offset,
            lhs: boxed(lhs),
            rhs: boxed(rhs),
        },
        Ast::And { offset, lhs, rhs } => Ast::And {
            offset: *offset,
            lhs: boxed(lhs),
            rhs: boxed(rhs),
        },
        Ast::Or { offset, lhs, rhs } => Ast::Or {
            offset: *offset,
            lhs: boxed(lhs),
            rhs: boxed(rhs),
        },
        Ast::Subexpr { offset, lhs, rhs } => Ast::Subexpr {
            offset: *offset,
            lhs: boxed(lhs),
            rhs: boxed(rhs),
        },
        Ast::MultiList { offset, elements } => Ast::MultiList {
            offset: *offset,
            elements: elements.iter().map(|tree| rewrite(tree, replace)).collect(),
        },
        Ast::MultiHash { offset, elements } => Ast::MultiHash {
            offset: *offset,
            elements: elements
                .iter()
                .map(|pair| KeyValuePair {
                    key: replace(Part::Text(&pair.key)),
                    value: rewrite(&pair.value, replace),
                })
                .collect(),
        },
        Ast::Function { offset, name, args } => Ast::Function {
            offset: *offset,
            name: replace(Part::Function(name)),
            args: args.iter().map(|tree| rewrite(tree, replace)).collect(),
        },
        Ast::Field { offset, name } => Ast::Field {
            offset: *offset,
            name: replace(Part::Text(name)),
        },
        Ast::Literal { offset, value } => Ast::Literal {
            offset: *offset,
            value: rewrite_value(value, replace),
        },
        Ast::Identity { .. } | Ast::Index { .. } | Ast::Slice { .. } => tree.clone(),
    }
}

fn rewrite_value(value: &Rcvar, replace: &mut dyn FnMut(Part<'_>) -> String) -> Rcvar {
    match &**value {
        Variable::String(text) => Rcvar::new(Variable::String(replace(Part::Text(text)))),
        Variable::Array(items) => Rcvar::new(Variable::Array(
            items
                .iter()
                .map(|item| rewrite_value(item, replace))
                .collect(),
        )),
        Variable::Object(fields) => Rcvar::new(Variable::Object(
            fields
                .iter()
                .map(|(name, value)| (replace(Part::Text(name)), rewrite_value(value, replace)))
                .collect(),
        )),
        Variable::Null | Variable::Bool(_) | Variable::Number(_) | Variable::Expref(_) => {
            Arc::clone(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEFAULT: &str = "access[?name=='$NAMESPACE' && type=='$ACCESS_ENTRY_TYPE'].actions[]";

    fn found(query: &str, document: Value, namespace: &str) -> Vec<Action> {
        let Value::Object(document) = document else {
            panic!("an object")
        };
        let claims = claims(document).expect("claims");
        let actions = Query::parse(query)
            .expect("a query")
            .actions(&claims, namespace);
        [Action::Pull, Action::Push, Action::Delete, Action::Admin]
            .into_iter()
            .filter(|action| actions.contain(*action))
            .collect()
    }

    #[test]
    fn the_access_claim_as_chartmuseum_reads_it() {
        let document = json!({"access": [
            {"type": "artifact-repository", "name": "org1/repo1", "actions": ["pull", "push"]},
            {"type": "artifact-repository", "name": "org1/repo2", "actions": ["pull"]},
            {"type": "artifact-repository", "name": "org1/repo2", "actions": ["admin", "*", 7, ["push"]]},
            {"type": "repository", "name": "org1/repo3", "actions": ["pull"]},
            {"type": "artifact-repository", "name": "repo", "actions": ["push"]},
            {"name": "org1/repo4"},
            {"type": "artifact-repository", "name": "org1/repo5", "actions": "pull"},
        ]});
        let all = vec![Action::Pull, Action::Push, Action::Delete];
        for (namespace, expected) in [
            ("org1/repo1", all),
            ("org1/repo2", vec![Action::Pull]),
            ("org1/repo3", vec![]),
            ("org1/repo4", vec![]),
            // Flattening leaves what is no list as it is (JMESPath, "Flatten operator").
            ("org1/repo5", vec![Action::Pull]),
            ("org1", vec![]),
            ("org1/repo1/x", vec![]),
            ("ORG1/repo1", vec![]),
            ("repo", vec![Action::Push, Action::Delete]),
        ] {
            assert_eq!(
                found(DEFAULT, document.clone(), namespace),
                expected,
                "{namespace}"
            );
        }
    }

    #[test]
    fn what_is_no_list_allows_nothing() {
        for document in [
            json!({}),
            json!({"access": null}),
            json!({"access": "pull"}),
            json!({"access": {"name": "a"}}),
            json!({"access": []}),
            json!({"access": [null, 1, "pull"]}),
        ] {
            assert!(found(DEFAULT, document, "a").is_empty());
        }
        assert!(found("sum(access)", json!({"access": ["x"]}), "a").is_empty());
    }

    #[test]
    fn a_name_is_a_name_and_never_part_of_the_expression() {
        let document = json!({"access": [
            {"type": "artifact-repository", "name": "org1", "actions": ["push"]},
            {"type": "artifact-repository", "name": "$NAMESPACE", "actions": ["pull"]},
        ]});
        for hostile in [
            "x' || name=='org1",
            "x' || 'a'=='a",
            "x'] || access[?name=='org1",
            "x' || `true` || name=='",
            "$ACCESS_ENTRY_TYPE",
            "\\",
            "'",
        ] {
            assert!(
                found(DEFAULT, document.clone(), hostile).is_empty(),
                "{hostile}"
            );
        }
        assert_eq!(
            found(DEFAULT, document, "$NAMESPACE"),
            [Action::Pull],
            "a variable's name is no variable"
        );
        let odd = json!({"access": [{"type": "artifact-repository", "name": "it's `\"x\"`", "actions": ["pull"]}]});
        assert_eq!(found(DEFAULT, odd, "it's `\"x\"`"), [Action::Pull]);
    }

    #[test]
    fn variables_work_in_every_kind_of_text() {
        let document = json!({
            "repos": {"org1": ["pull"]},
            "names": ["artifact-repository:org1:push"],
            "scope": [{"n": ["org1"], "a": ["pull"]}],
        });
        for (query, expected) in [
            ("repos.\"$NAMESPACE\"", vec![Action::Pull]),
            (
                "names[?@=='$ACCESS_ENTRY_TYPE:$NAMESPACE:push'] && ['push']",
                vec![Action::Push, Action::Delete],
            ),
            ("scope[?n==`[\"$NAMESPACE\"]`].a[]", vec![Action::Pull]),
            ("scope[?contains(n, '$NAMESPACE')].a[]", vec![Action::Pull]),
            ("scope[?!contains(n, '$NAMESPACE')].a[]", vec![]),
            ("values(repos)[]", vec![Action::Pull]),
            ("map(&'pull', names)", vec![Action::Pull]),
            ("[names[0] && 'pull', 'other']", vec![Action::Pull]),
            ("{x: ['pull']}.x", vec![Action::Pull]),
            ("scope[0:1].a | [0]", vec![Action::Pull]),
            ("repos.* | []", vec![Action::Pull]),
        ] {
            assert_eq!(found(query, document.clone(), "org1"), expected, "{query}");
        }
    }

    #[test]
    fn wrong_expressions_are_told_at_the_start() {
        for (query, word) in [
            ("access[?", "JMESPath"),
            ("access[?name==$NAMESPACE].actions[]", "in quotes"),
            ("", "JMESPath"),
            ("shout(access)", "`shout`"),
            ("access[?shout(name)]", "`shout`"),
        ] {
            let error = Query::parse(query).expect_err(query);
            assert!(error.message().contains(word), "{error}");
        }
    }
}

//! The single values of another program's YAML file, for whoever translates it.

use super::tree::{self, Kind, Node};
use super::{Mistake, Mistakes};

/// A single value and the keys that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The keys from the outside in, joined by `.`.
    pub path: String,
    /// As spelled, without quotes.
    pub value: String,
}

/// Every single value of `text`, in the order of the file; keys without a value are left out. Errors: it is no YAML, or has a
/// list somewhere, or a single value in the place of the whole.
pub fn leaves(text: &str) -> Result<Vec<Leaf>, Mistakes> {
    let mut found = Vec::new();
    let root = tree::parse(text).map_err(|mistake| Mistakes(vec![mistake]))?;
    collect(&root, "", &mut found).map_err(|mistake| Mistakes(vec![mistake]))?;
    Ok(found)
}

fn collect(node: &Node, path: &str, found: &mut Vec<Leaf>) -> Result<(), Mistake> {
    match &node.kind {
        Kind::Null => {}
        Kind::Scalar(value) if !path.is_empty() => found.push(Leaf {
            path: path.to_owned(),
            value: value.clone(),
        }),
        Kind::Map(entries) => {
            for entry in entries {
                let path = match path {
                    "" => entry.key.clone(),
                    path => format!("{path}.{}", entry.key),
                };
                collect(&entry.value, &path, found)?;
            }
        }
        Kind::Scalar(_) | Kind::List(_) => {
            return Err(Mistake {
                path: path.to_owned(),
                line: node.line,
                message: format!("expected a section of keys, found {}", node.kind.name()),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_their_paths() {
        let text = "a: 1\nb.c: 'x y'\nd:\n  e: {f: true}\n  g:\n";
        let found = leaves(text).expect("leaves");
        let pairs: Vec<(&str, &str)> = found
            .iter()
            .map(|leaf| (leaf.path.as_str(), leaf.value.as_str()))
            .collect();
        assert_eq!(pairs, [("a", "1"), ("b.c", "x y"), ("d.e.f", "true")]);
        assert_eq!(leaves("").expect("nothing"), []);
        for bad in ["a: [1]", "- a", "text", "a: {"] {
            assert!(leaves(bad).is_err(), "{bad}");
        }
    }
}

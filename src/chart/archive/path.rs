//! Names of members, judged as Helm judges them: the first component is cut off, the rest must stay below it.

use super::flaw::Flaws;
use crate::error::{Error, Result};

/// A member's place in the chart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The first component of the name: the chart's folder.
    pub(super) top: String,
    /// The rest, cleaned, with `/` between components.
    pub(super) path: String,
}

/// Splits and checks the name of a file.
pub(super) fn place(name: &str, flaws: &mut Flaws) -> Result<Place> {
    // Archives made on Windows may use `\`; where one occurs it is the only separator, as in Helm.
    let separator = if name.contains('\\') { '\\' } else { '/' };
    let (top, rest) = name.split_once(separator).unwrap_or((name, ""));
    let rest = rest.replace(separator, "/");
    if rest.starts_with('/') {
        return Err(Error::invalid("chart illegally contains absolute paths"));
    }
    let path = clean(&rest);
    if path == "." {
        return Err(Error::invalid(format!(
            "chart illegally contains content outside the base directory: {name:.200?}"
        )));
    }
    if path.starts_with("..") {
        return Err(Error::invalid(
            "chart illegally references parent directory",
        ));
    }
    if has_drive(&path) {
        return Err(Error::invalid("chart contains illegally named files"));
    }
    if top == "Chart.yaml" {
        return Err(Error::invalid("chart yaml not in base directory"));
    }
    let unclean = || format!("chart archive has the unclean file name {name:.200?}");
    if top.is_empty() || top.starts_with("..") {
        flaws.found(unclean())?;
    } else if path != rest || top == "." {
        // Real charts have such names; files are told apart by the clean ones.
        flaws.tolerated(unclean());
    }
    if name.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        flaws.found(format!(
            "chart archive has control characters in the file name {name:.200?}"
        ))?;
    }
    Ok(Place {
        top: top.to_owned(),
        path,
    })
}

/// Go's `path.Clean` for a path that does not start with `/`.
fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    if kept.is_empty() {
        ".".to_owned()
    } else {
        kept.join("/")
    }
}

fn has_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', b'/', ..] if letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::archive::Strictness;

    fn helm(name: &str) -> Result<Place> {
        place(name, &mut Flaws::new(Strictness::Stored))
    }

    #[test]
    fn the_first_component_is_cut_off() {
        for (name, top, path) in [
            ("a/Chart.yaml", "a", "Chart.yaml"),
            ("a\\templates\\x.yaml", "a", "templates/x.yaml"),
            ("./a/Chart.yaml", ".", "a/Chart.yaml"),
            ("/y", "", "y"),
            ("a/b/../c", "a", "c"),
            ("a/b/./c//d", "a", "b/c/d"),
        ] {
            let place = helm(name).expect(name);
            assert_eq!((&*place.top, &*place.path), (top, path), "{name}");
        }
    }

    #[test]
    fn what_helm_refuses_is_refused_with_its_words() {
        for (name, text) in [
            (
                "Chart.yaml",
                "content outside the base directory: \"Chart.yaml\"",
            ),
            ("a/", "content outside the base directory"),
            ("a//y", "absolute paths"),
            ("a/../y", "parent directory"),
            ("a/..x", "parent directory"),
            ("a/b/../../y", "parent directory"),
            ("a/C:/y", "illegally named files"),
            ("Chart.yaml/x", "chart yaml not in base directory"),
        ] {
            let error = helm(name).expect_err(name);
            assert!(error.message().contains(text), "{name}: {error}");
        }
    }

    #[test]
    fn an_upload_needs_names_below_one_folder() {
        for name in ["/x", "a/x\n", "../x"] {
            assert!(
                place(name, &mut Flaws::new(Strictness::Upload)).is_err(),
                "{name}"
            );
        }
        for name in ["a\\x", "a/b/../c", "a/./x", "./x"] {
            assert!(
                place(name, &mut Flaws::new(Strictness::Upload)).is_ok(),
                "{name}"
            );
        }
    }
}

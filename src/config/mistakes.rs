//! Everything that is wrong with a configuration file, at once.
//!
//! An operator who repairs a file wants one list, not a new message after each repair.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the file's structure: `tenants.acme.charts[1].upstream`; empty for the file as a whole.
    pub path: String,
    /// Which line of the file, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes of one file, in the order of its lines. Displayed one a line. Never empty where it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, mistake) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The candidate that `word` most likely means: the one with the fewest typing errors, where they are few enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = word.chars().count() / 3 + 1;
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .min()
        .filter(|(distance, candidate)| {
            *distance <= allowed
                || word.len() >= 3 && candidate.to_lowercase().contains(&word)
                || candidate.len() >= 3 && word.contains(&candidate.to_lowercase())
        })
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c` in back-ticks, for "known keys: ..".
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// Typing errors between two words: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    // Names are short; a hostile key must not cost quadratic time.
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_or_none() {
        let keys = ["refresh", "timeout", "proxy", "max_shrink", "type", "tls"];
        assert_eq!(nearest("refesh", keys), Some("refresh"));
        assert_eq!(nearest("tiemout", keys), Some("timeout"));
        assert_eq!(nearest("maxshrink", keys), Some("max_shrink"));
        assert_eq!(nearest("shrink", keys), Some("max_shrink"));
        assert_eq!(nearest("Proxy", keys), Some("proxy"));
        assert_eq!(nearest("zzzzzzzzzz", keys), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn one_line_a_mistake() {
        let mistake = |path: &str, line, message: &str| Mistake {
            path: path.into(),
            line,
            message: message.into(),
        };
        let mistakes = Mistakes(vec![
            mistake("server.http", Some(3), "is wrong"),
            mistake("", None, "is empty"),
        ]);
        assert_eq!(
            mistakes.to_string(),
            "line 3: server.http: is wrong\nis empty"
        );
    }
}

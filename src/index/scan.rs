//! Cuts an index in the form that every tool writes (block YAML, one list item per version) without parsing it.
//!
//! Why a cut cannot be wrong unnoticed: plain and block scalars end where the indentation falls back, so no line of theirs
//! stands at a column where cuts are made. Only quoted scalars and flow collections may cross such a line, and then the piece
//! that holds their beginning is not closed: the parser refuses that piece, and the whole text goes to the full parser.

use std::borrow::Cow;

use memchr::memchr;

/// What stands for the entries in the skeleton: if a quoted text from above reached into them, its key would not be found.
pub(super) const PLACEHOLDER: &[u8] = b"entries: 0\n";

/// An index, cut.
#[derive(Debug, Default)]
pub(super) struct Cut<'a> {
    /// Chart keys in order, each with the text of its list items. A key may come twice.
    pub(super) charts: Vec<(Cow<'a, str>, Vec<&'a [u8]>)>,
    /// Everything outside `entries`, with [`PLACEHOLDER`] in their place.
    pub(super) skeleton: Vec<u8>,
    /// Whether there is a `generated` key.
    pub(super) generated: bool,
    /// Whether the text ends inside `entries`, in the middle of a line.
    pub(super) open_end: bool,
}

/// Cuts `text`; `None` where it has another form.
pub(super) fn cut(text: &[u8]) -> Option<Cut<'_>> {
    let mut cutter = Cutter {
        text,
        out: Cut::default(),
        state: State::Top,
        seen_entries: false,
        key_column: 0,
        dash_column: None,
        item: None,
    };
    let mut start = 0;
    while start < text.len() {
        let end = memchr(b'\n', &text[start..]).map_or(text.len(), |at| start + at + 1);
        if !cutter.line(start, end)? {
            break;
        }
        start = end;
    }
    cutter.close_item(start);
    cutter.out.open_end = matches!(cutter.state, State::Entries) && !text.ends_with(b"\n");
    cutter.seen_entries.then_some(cutter.out)
}

enum State {
    Top,
    Entries,
}

struct Cutter<'a> {
    text: &'a [u8],
    out: Cut<'a>,
    state: State,
    seen_entries: bool,
    /// Where chart keys stand; 0 = not known yet.
    key_column: usize,
    /// Where the dashes of the current chart stand.
    dash_column: Option<usize>,
    /// Where the current item starts.
    item: Option<usize>,
}

impl<'a> Cutter<'a> {
    /// Takes one line; `Some(false)` = the document ends before it, `None` = another form.
    fn line(&mut self, start: usize, end: usize) -> Option<bool> {
        let line = &self.text[start..end];
        let indent = line.iter().position(|b| *b != b' ').unwrap_or(line.len());
        let first = match line.get(indent) {
            None | Some(b'\n' | b'\r' | b'#') => return Some(true),
            Some(first) => *first,
        };
        // The common case first: a line inside an item.
        if matches!((&self.state, self.dash_column), (State::Entries, Some(dash)) if indent > dash)
        {
            return self.item.is_some().then_some(true);
        }
        if indent == 0 {
            return self.top_line(start, line);
        }
        if matches!(self.state, State::Top) {
            self.out.skeleton.extend_from_slice(line);
            return Some(true);
        }
        let is_dash =
            first == b'-' && matches!(line.get(indent + 1), None | Some(b' ' | b'\n' | b'\r'));
        if is_dash {
            self.dash(start, indent)?;
        } else {
            self.key(start, indent, &line[indent..])?;
        }
        Some(true)
    }

    fn top_line(&mut self, start: usize, line: &'a [u8]) -> Option<bool> {
        self.close_item(start);
        self.state = State::Top;
        self.dash_column = None;
        if line.starts_with(b"---") || line.starts_with(b"...") {
            let marker = line.trim_ascii();
            if marker == b"---" && !self.seen_entries && self.out.skeleton.is_empty() {
                return Some(true);
            }
            // Clients read the first document only.
            return if matches!(marker, b"---" | b"...") {
                Some(false)
            } else {
                None
            };
        }
        if line.starts_with(b"-") {
            return None;
        }
        if let Some(rest) = line.strip_prefix(b"entries:") {
            if self.seen_entries {
                return None;
            }
            self.seen_entries = true;
            self.out.skeleton.extend_from_slice(PLACEHOLDER);
            match value_of(rest) {
                b"" => self.state = State::Entries,
                b"{}" | b"null" | b"~" => {}
                _ => return None,
            }
            return Some(true);
        }
        self.out.generated |= line.starts_with(b"generated:");
        self.out.skeleton.extend_from_slice(line);
        Some(true)
    }

    fn dash(&mut self, start: usize, indent: usize) -> Option<()> {
        if self.out.charts.is_empty() || indent < self.key_column {
            return None;
        }
        if *self.dash_column.get_or_insert(indent) != indent {
            return None;
        }
        self.close_item(start);
        self.item = Some(start);
        Some(())
    }

    fn key(&mut self, start: usize, indent: usize, content: &'a [u8]) -> Option<()> {
        if self.key_column == 0 {
            self.key_column = indent;
        }
        if indent != self.key_column {
            return None;
        }
        self.close_item(start);
        let (key, rest) = key_of(content)?;
        if !matches!(value_of(rest), b"" | b"[]" | b"null" | b"~") {
            return None;
        }
        self.dash_column = None;
        self.out.charts.push((Cow::Borrowed(key), Vec::new()));
        Some(())
    }

    fn close_item(&mut self, end: usize) {
        if let (Some(start), Some((_, items))) = (self.item.take(), self.out.charts.last_mut()) {
            items.push(&self.text[start..end]);
        }
    }
}

/// What follows a key's colon, without spaces and comment.
fn value_of(rest: &[u8]) -> &[u8] {
    let rest = match rest.iter().position(|b| *b == b'#') {
        Some(at) if at > 0 && rest[at - 1] == b' ' => &rest[..at],
        _ => rest,
    };
    rest.trim_ascii()
}

/// A simple key and what follows its colon.
fn key_of(content: &[u8]) -> Option<(&str, &[u8])> {
    let (key, rest) = match content.first()? {
        quote @ (b'"' | b'\'') => {
            let end = memchr(*quote, &content[1..])? + 1;
            let key = &content[1..end];
            if key.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r')) {
                return None;
            }
            (key, &content[end + 1..])
        }
        first if first.is_ascii_alphanumeric() => {
            let end = content.iter().position(|b| {
                !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-' | b'+'))
            })?;
            content.split_at(end)
        }
        _ => return None,
    };
    let rest = rest.strip_prefix(b":")?;
    let ends = rest.is_empty() || matches!(rest[0], b' ' | b'\n' | b'\r');
    (ends && key.len() < 1000).then_some((std::str::from_utf8(key).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Option<Vec<(String, usize)>> {
        Some(
            cut(text.as_bytes())?
                .charts
                .into_iter()
                .map(|(key, items)| (key.into_owned(), items.len()))
                .collect(),
        )
    }

    #[test]
    fn cuts_at_any_constant_indentation() {
        for (key, dash) in [(2, 2), (2, 4), (4, 6), (1, 1), (3, 8)] {
            let (key, dash) = (" ".repeat(key), " ".repeat(dash));
            let text = format!(
                "apiVersion: v1\nentries:\n{key}a:\n{dash}- name: a\n{dash}  x: |\n{dash}    - b\n\n# note\n{dash}- name: a\n{key}\"b\": # none\n{key}c: []\ngenerated: x\n"
            );
            let expected = vec![
                ("a".to_owned(), 2),
                ("b".to_owned(), 0),
                ("c".to_owned(), 0),
            ];
            assert_eq!(shape(&text), Some(expected), "{text}");
        }
    }

    #[test]
    fn items_are_the_text_as_it_is() {
        let text = b"---\nentries:\n  a:\n  - name: a\n    x: y\n\n  - name: b\r\nserverInfo:\n  contextPath: /x\n";
        let cut = cut(text).expect("form");
        assert_eq!(
            cut.charts[0].1,
            [&b"  - name: a\n    x: y\n\n"[..], b"  - name: b\r\n"]
        );
        assert_eq!(
            cut.skeleton,
            b"entries: 0\nserverInfo:\n  contextPath: /x\n"
        );
        assert!(!cut.open_end && !cut.generated);
    }

    #[test]
    fn other_forms_are_left_to_the_full_parser() {
        for text in [
            "entries: {a: []}\n",
            "entries:\n- name: a\n",
            "entries:\n  a: &x\n  - name: a\n",
            "entries:\n  a:\n    name: x\n",
            "entries:\n  ? a\n  : - name: a\n",
            "entries:\n  a:\n  - name: a\n b:\n",
            "entries:\n  a:\nentries:\n  b:\n",
            "entries:\n  a:\n    - name: a\n   - name: b\n",
            "apiVersion: v1\n",
            "- entries:\n",
            "",
        ] {
            assert_eq!(shape(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_first_document_counts() {
        let text = "entries:\n  a:\n  - name: a\n---\nentries:\n  b:\n";
        assert_eq!(shape(text), Some(vec![("a".to_owned(), 1)]));
    }
}

//! The fast path: reads the block YAML that Helm and its kin write, ten times faster than a full parser.
//!
//! Understands plain, quoted and literal scalars in nested block lists and maps. At anything else it gives up (`None`) and the
//! full parser decides; what it does read, it reads exactly like the full parser (property tests in `ingest.rs`).

use std::borrow::Cow;

use memchr::memchr;

use crate::chart::node::{Node, Shape, entry_shape, looks_bare};

/// Reads one list item that holds an entry: `- key: value` and the lines below it.
pub(super) fn read(chunk: &str) -> Option<Node<'_>> {
    let bytes = chunk.as_bytes();
    // Tabs, carriage returns, control characters and everything that YAML calls a line break or refuses.
    if bytes
        .iter()
        .any(|b| (*b < 0x20 && *b != b'\n') || *b >= 0x7f)
    {
        return None;
    }
    let mut lines = Vec::with_capacity(48);
    let mut rest = chunk;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let text = rest[..end].trim_end_matches(' ');
        let indent = text.len() - text.trim_start_matches(' ').len();
        lines.push(Line {
            indent,
            text,
            raw: &rest[..end],
        });
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    let mut reader = Reader {
        lines,
        at: 0,
        ended: chunk.ends_with('\n'),
    };
    let first = reader.lines.first()?;
    let dash = first.indent;
    reader.enter_item(dash)?;
    let node = reader.map(dash + 2, Shape::Record(entry_shape))?;
    reader.skip_blank();
    (reader.at == reader.lines.len()).then_some(node)
}

#[derive(Clone, Copy)]
struct Line<'a> {
    /// Leading spaces; for a list item that is being read, the column of its content.
    indent: usize,
    /// The line without trailing spaces.
    text: &'a str,
    /// The line as it is.
    raw: &'a str,
}

impl<'a> Line<'a> {
    fn content(&self) -> &'a str {
        self.text.get(self.indent..).unwrap_or_default()
    }

    fn is_blank(&self) -> bool {
        self.text.len() <= self.indent
    }
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
    /// Whether the text ends with a line feed.
    ended: bool,
}

impl<'a> Reader<'a> {
    /// The next line that is not blank. Comments make the fast path give up.
    fn peek(&mut self) -> Option<Line<'a>> {
        self.skip_blank();
        self.lines.get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        while self.lines.get(self.at).is_some_and(Line::is_blank) {
            self.at += 1;
        }
    }

    /// Turns `- content` at column `dash` into `content` at column `dash + 2`.
    fn enter_item(&mut self, dash: usize) -> Option<()> {
        let line = self.lines.get_mut(self.at)?;
        let content = line.content();
        let inner = content.strip_prefix("- ")?;
        if line.indent != dash || inner.starts_with(' ') || inner.is_empty() {
            return None;
        }
        line.indent = dash + 2;
        Some(())
    }

    /// A block map whose keys stand at `column`.
    fn map(&mut self, column: usize, shape: Shape) -> Option<Node<'a>> {
        let mut pairs = Vec::with_capacity(if column < 6 { 16 } else { 3 });
        while let Some(line) = self.peek() {
            if line.indent < column {
                break;
            }
            let content = line.content();
            if line.indent > column || content.starts_with("- ") {
                return None;
            }
            let end = key_end(content)?;
            let key = &content[..end];
            let inner = match shape {
                Shape::Record(keys) => keys(key),
                Shape::Pairs => Shape::Scalar,
                _ => return None,
            };
            let value = self.value(column, content[end + 1..].trim_start_matches(' '), inner)?;
            pairs.push((Cow::Borrowed(key), value));
        }
        Some(Node::Map(pairs))
    }

    /// The value whose key stands at `column`; `inline` is what follows the colon.
    fn value(&mut self, column: usize, inline: &'a str, shape: Shape) -> Option<Node<'a>> {
        match inline {
            "" => {
                self.at += 1;
                self.block(column, shape)
            }
            "[]" if matches!(shape, Shape::Scalars | Shape::Records(_)) => {
                self.at += 1;
                Some(Node::List(Vec::new()))
            }
            "{}" if matches!(shape, Shape::Pairs) => {
                self.at += 1;
                Some(Node::Map(Vec::new()))
            }
            _ => match shape {
                Shape::Scalar => self.scalar(column, inline),
                Shape::Ignored => self.scalar(column, inline).map(|_| Node::Null),
                _ => None,
            },
        }
    }

    /// What stands below a key at `column` that has nothing beside it.
    fn block(&mut self, column: usize, shape: Shape) -> Option<Node<'a>> {
        let Some(line) = self.peek() else {
            return Some(Node::Null);
        };
        let item = line.content().starts_with("- ");
        if line.indent < column || (line.indent == column && !item) {
            return Some(Node::Null);
        }
        match shape {
            Shape::Scalars | Shape::Records(_) if item => self.list(line.indent, shape),
            Shape::Pairs if !item => self.map(line.indent, shape),
            _ => None,
        }
    }

    fn list(&mut self, dash: usize, shape: Shape) -> Option<Node<'a>> {
        let mut items = Vec::with_capacity(4);
        while let Some(line) = self.peek() {
            if line.indent < dash || (line.indent == dash && !line.content().starts_with("- ")) {
                break;
            }
            if line.indent > dash {
                return None;
            }
            self.enter_item(dash)?;
            items.push(match shape {
                Shape::Records(keys) => {
                    key_end(self.lines.get(self.at)?.content())?;
                    self.map(dash + 2, Shape::Record(keys))?
                }
                _ => {
                    let inline = self.lines.get(self.at)?.content();
                    self.scalar(dash, inline)?
                }
            });
        }
        Some(Node::List(items))
    }

    /// A scalar that starts with `inline` on the current line and may go on in lines deeper than `column`.
    fn scalar(&mut self, column: usize, inline: &'a str) -> Option<Node<'a>> {
        match inline.as_bytes().first()? {
            b'\'' => self.single_quoted(column, inline),
            b'"' => self.double_quoted(column, inline),
            b'|' => self.literal(column, inline),
            b'-' | b'?' | b':' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!'
            | b'>' | b'%' | b'@' | b'`' => None,
            _ => self.plain(column, inline),
        }
    }

    fn plain(&mut self, column: usize, inline: &'a str) -> Option<Node<'a>> {
        if !is_plain(inline) {
            return None;
        }
        self.at += 1;
        let text = self.fold(column, Cow::Borrowed(inline), |line| {
            (is_plain(line) && !line.starts_with('#')).then_some(Piece::More(line))
        })?;
        if matches!(text.as_ref(), "null" | "Null" | "NULL" | "~") {
            return Some(Node::Null);
        }
        match text.as_ref() {
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Some(Node::Bare(text)),
            other if looks_bare(other) => None,
            _ => Some(Node::Text(text)),
        }
    }

    fn single_quoted(&mut self, column: usize, inline: &'a str) -> Option<Node<'a>> {
        let body = &inline[1..];
        let unescape = |text: Cow<'a, str>| {
            if text.contains('\'') {
                Cow::Owned(text.replace("''", "'"))
            } else {
                text
            }
        };
        self.at += 1;
        match single_quote_end(body) {
            Some(end) => {
                (end + 1 == body.len()).then(|| Node::Text(unescape(Cow::Borrowed(&body[..end]))))
            }
            None => {
                let mut closed = false;
                let text = self.fold(column, Cow::Borrowed(body), |line| {
                    if closed {
                        return None;
                    }
                    match single_quote_end(line) {
                        Some(end) if end + 1 == line.len() => {
                            closed = true;
                            Some(Piece::Last(&line[..end]))
                        }
                        Some(_) => None,
                        None => Some(Piece::More(line)),
                    }
                })?;
                closed.then(|| Node::Text(unescape(text)))
            }
        }
    }

    /// One line only, and the common escapes: longer ones are left to the full parser.
    fn double_quoted(&mut self, _: usize, inline: &'a str) -> Option<Node<'a>> {
        let body = &inline[1..];
        let end = memchr::memchr2(b'"', b'\\', body.as_bytes())?;
        self.at += 1;
        if body.as_bytes()[end] == b'"' {
            return (end + 1 == body.len()).then(|| Node::Text(Cow::Borrowed(&body[..end])));
        }
        let mut text = String::with_capacity(body.len());
        let mut chars = body.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(match chars.next()? {
                    '"' => '"',
                    '\\' => '\\',
                    '/' => '/',
                    'n' => '\n',
                    't' => '\t',
                    _ => return None,
                }),
                c => text.push(c),
            }
        }
        chars
            .as_str()
            .is_empty()
            .then_some(Node::Text(Cow::Owned(text)))
    }

    /// `|`, `|-` and `|+` without an indentation indicator.
    fn literal(&mut self, column: usize, inline: &'a str) -> Option<Node<'a>> {
        let chomp = match inline {
            "|" => Chomp::Clip,
            "|-" => Chomp::Strip,
            "|+" => Chomp::Keep,
            _ => return None,
        };
        self.at += 1;
        let mut text = String::new();
        let mut blank = 0;
        let mut indent = None;
        while let Some(line) = self.lines.get(self.at) {
            let spaces = line.raw.len() - line.raw.trim_start_matches(' ').len();
            let only_spaces = spaces == line.raw.len();
            let own = match indent {
                Some(own) => own,
                // Leading blank lines with spaces have rules of their own.
                None if only_spaces && spaces > 0 => return None,
                None if only_spaces => {
                    blank += 1;
                    self.at += 1;
                    continue;
                }
                None if spaces <= column => break,
                None => *indent.insert(spaces),
            };
            if only_spaces && spaces <= own {
                blank += 1;
            } else if spaces < own {
                break;
            } else {
                for _ in 0..blank {
                    text.push('\n');
                }
                blank = 0;
                text.push_str(&line.raw[own..]);
                text.push('\n');
            }
            self.at += 1;
        }
        if self.at == self.lines.len() && !self.ended {
            return None;
        }
        match chomp {
            Chomp::Strip => {
                text.pop();
            }
            Chomp::Keep => {
                for _ in 0..blank {
                    text.push('\n');
                }
            }
            Chomp::Clip => {}
        }
        Some(Node::Text(Cow::Owned(text)))
    }

    /// Joins the lines of a flow scalar: one break is a space, more are line feeds.
    fn fold(
        &mut self,
        column: usize,
        first: Cow<'a, str>,
        mut piece: impl FnMut(&'a str) -> Option<Piece<'a>>,
    ) -> Option<Cow<'a, str>> {
        let mut text = first;
        loop {
            let mut next = self.at;
            while self.lines.get(next).is_some_and(Line::is_blank) {
                next += 1;
            }
            let Some(line) = self.lines.get(next).filter(|line| line.indent > column) else {
                return Some(text);
            };
            let blank = next - self.at;
            let (more, last) = match piece(line.content())? {
                Piece::More(more) => (more, false),
                Piece::Last(more) => (more, true),
            };
            let joined = text.to_mut();
            if blank == 0 {
                joined.push(' ');
            }
            for _ in 0..blank {
                joined.push('\n');
            }
            joined.push_str(more);
            self.at = next + 1;
            if last {
                return Some(text);
            }
        }
    }
}

enum Piece<'a> {
    More(&'a str),
    Last(&'a str),
}

enum Chomp {
    Clip,
    Strip,
    Keep,
}

/// Where the colon of a plain key is. Only letters, digits and `.`, `_`, `/`, `-` make a key.
fn key_end(content: &str) -> Option<usize> {
    let bytes = content.as_bytes();
    let end = bytes
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-')))?;
    let simple = bytes.first()?.is_ascii_alphabetic()
        && bytes[end] == b':'
        && matches!(bytes.get(end + 1), None | Some(b' '))
        && end < 1000;
    simple.then_some(end)
}

/// Whether a line of a plain scalar holds no indicator.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.ends_with(b":")
        && memchr::memchr2_iter(b':', b'#', bytes).all(|at| match bytes[at] {
            b':' => bytes.get(at + 1) != Some(&b' '),
            _ => at > 0 && bytes[at - 1] != b' ',
        })
}

/// The position of the quote that ends a single-quoted text.
fn single_quote_end(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr(b'\'', &bytes[at..]) {
        let quote = at + found;
        if bytes.get(quote + 1) != Some(&b'\'') {
            return Some(quote);
        }
        at = quote + 2;
    }
    None
}

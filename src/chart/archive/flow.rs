//! How deep YAML's brackets are nested, found in one pass that never backtracks.
//!
//! Brackets in comments, quotes, block text and inside plain words are not structure. Where the scan cannot be sure it
//! counts too much rather than too little; only a file that nests brackets without closing them is affected.

/// Whether flow collections are nested deeper than `most` anywhere in `text`.
pub(super) fn is_deeper_than(text: &str, most: usize) -> bool {
    // Most files are settled by this count alone.
    let opened = text.bytes().filter(|byte| matches!(byte, b'[' | b'{'));
    if opened.count() <= most {
        return false;
    }
    let mut depth = 0_usize;
    let mut quote: Option<u8> = None;
    // Block text goes on while lines are blank or start at this column or behind it.
    let mut block_text_from: Option<usize> = None;
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line).as_bytes();
        let indent = line.iter().take_while(|&&byte| byte == b' ').count();
        if let Some(column) = block_text_from {
            if indent == line.len() || indent >= column {
                continue;
            }
            block_text_from = None;
        }
        // At the start of a node a bracket or a quote opens something; inside a plain word it is just a letter.
        let mut at_start = true;
        let mut at = 0;
        while at < line.len() {
            let byte = line[at];
            let next = line.get(at + 1).copied();
            match (quote, byte) {
                (Some(b'"'), b'\\') => at += 1,
                (Some(b'\''), b'\'') if next == Some(b'\'') => at += 1,
                (Some(open), _) => {
                    if byte == open {
                        quote = None;
                    }
                }
                (None, b'#') if at == 0 || matches!(line[at - 1], b' ' | b'\t') => break,
                (None, b'"' | b'\'') if at_start => {
                    quote = Some(byte);
                    at_start = false;
                }
                (None, b'[' | b'{') if depth > 0 || at_start => {
                    depth += 1;
                    if depth > most {
                        return true;
                    }
                    at_start = true;
                }
                (None, b']' | b'}') if depth > 0 => {
                    depth -= 1;
                    at_start = false;
                }
                (None, b',') if depth > 0 => at_start = true,
                (None, b':' | b'-' | b'?')
                    if depth > 0 || next.is_none_or(|next| matches!(next, b' ' | b'\t')) =>
                {
                    at_start = true;
                }
                // A tag or an anchor stands before the node that it belongs to.
                (None, b'!' | b'&') if at_start => {
                    while at + 1 < line.len() && !matches!(line[at + 1], b' ' | b'\t') {
                        at += 1;
                    }
                }
                (None, b' ' | b'\t') => {}
                (None, b'|' | b'>')
                    if at_start && depth == 0 && is_block_header(&line[at + 1..]) =>
                {
                    block_text_from = Some(block_text_column(line, indent));
                    break;
                }
                (None, _) => at_start = false,
            }
            at += 1;
        }
    }
    false
}

/// Whether what follows `|` or `>` lets it open block text: indicators, then at most a comment.
fn is_block_header(rest: &[u8]) -> bool {
    let indicators = rest
        .iter()
        .take_while(|byte| matches!(byte, b'+' | b'-' | b'0'..=b'9'))
        .count();
    match rest[indicators..] {
        [] => true,
        [b' ' | b'\t', ..] => {
            let tail = rest[indicators..].trim_ascii_start();
            tail.is_empty() || tail[0] == b'#'
        }
        _ => false,
    }
}

/// The first column where the text of a block opened on this line may start: behind the key or the list dash that holds it.
fn block_text_column(line: &[u8], indent: usize) -> usize {
    let mut column = indent;
    while line[column..].starts_with(b"- ") {
        let spaces = line[column + 1..]
            .iter()
            .take_while(|&&b| b == b' ')
            .count();
        let inner = column + 1 + spaces;
        if !matches!(line.get(inner), Some(byte) if !matches!(byte, b'|' | b'>' | b'!' | b'&')) {
            return column + 1;
        }
        column = inner;
    }
    match line.get(column) {
        // The key stands on an earlier line, at some smaller column.
        Some(b'|' | b'>' | b'!' | b'&') => column.max(1),
        _ => column + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_brackets_are_counted_across_lines() {
        for opening in [
            "[",
            "{",
            "[\n",
            "{a: ",
            "[ # comment\n",
            "a: [\n",
            "- [",
            "[!t ",
            "[&a ",
        ] {
            assert!(is_deeper_than(&opening.repeat(65), 64), "{opening:?}");
        }
        assert!(is_deeper_than(
            &format!("- a: |\n  b: {}", "[".repeat(65)),
            64
        ));
        assert!(is_deeper_than(
            &format!("a:\n  |\n  x\nb: {}", "[".repeat(65)),
            64
        ));
    }

    #[test]
    fn brackets_that_are_text_do_not_count() {
        for text in [
            "a: [b]\n".repeat(100),
            "# [[[\n".repeat(100),
            "a: x[\n".repeat(100),
            "a: '[it''s['\n".repeat(100),
            "a: \"[\\\"[\"\n".repeat(100),
            format!("a: |\n{}", "  [[ -f x ]] && {\n".repeat(100)),
            format!("- a: |-  # why\n{}b: c", "    [[{{\n\n".repeat(100)),
            format!("- |\n{}", " [[{{\n\n".repeat(100)),
            format!("a:\n  |\n{}", "  [[{{\n".repeat(100)),
        ] {
            assert!(!is_deeper_than(&text, 64), "{text:.80}");
        }
    }
}

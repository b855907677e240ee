//! Writing a configuration file: keys, values and comments, spelled so that the reader takes every value literally.

/// A text of YAML that grows line by line.
#[derive(Debug, Default)]
pub(super) struct Yaml {
    text: String,
    depth: usize,
}

impl Yaml {
    /// A comment line.
    pub(super) fn comment(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&format!("# {line}"));
        }
    }

    /// `key:` with what `content` writes below it.
    pub(super) fn section(&mut self, key: &str, content: impl FnOnce(&mut Self)) {
        self.line(&format!("{}:", scalar(key)));
        self.depth += 1;
        content(self);
        self.depth -= 1;
    }

    /// `key: value`, whatever characters the value has.
    pub(super) fn value(&mut self, key: &str, value: &str) {
        self.plain(key, scalar(&escape(value)));
    }

    /// `key: [values]`, whatever characters they have.
    pub(super) fn list<'v>(&mut self, key: &str, values: impl IntoIterator<Item = &'v str>) {
        let values: Vec<String> = values
            .into_iter()
            .map(|value| quoted(&escape(value)))
            .collect();
        self.plain(key, format_args!("[{}]", values.join(", ")));
    }

    /// `key: value` for numbers, switches and words that need no quotes.
    pub(super) fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        self.line(&format!("{}: {value}", scalar(key)));
    }

    /// `key: ${NAME}`: the variable's content, which the text itself does not show.
    pub(super) fn variable(&mut self, key: &str, name: &str) {
        self.plain(key, format_args!("\"${{{name}}}\""));
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// As it is, where YAML cannot misread it, else in double quotes, which JSON and YAML spell alike.
fn scalar(text: &str) -> String {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let is_word = |word: &str| text.eq_ignore_ascii_case(word);
    if starts_well && text.chars().all(is_plain) && !is_word("null") {
        return text.to_owned();
    }
    quoted(text)
}

fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    // JSON leaves these as they are, YAML does not take them (YAML 1.2 §5.1).
    let hidden = |c: char| {
        matches!(
            c,
            '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    let mut quoted = String::with_capacity(json.len());
    for character in json.chars() {
        if hidden(character) {
            quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            quoted.push(character);
        }
    }
    quoted
}

/// Values have variables, keys have none.
fn escape(value: &str) -> String {
    value.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn every_value_comes_back_as_it_was() {
        for value in [
            "plain",
            "a b",
            " lead",
            "",
            "null",
            "~",
            "true",
            "0x10",
            "1.10",
            "a: b",
            "a #b",
            "- a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "'a'",
            "\"a\"",
            "a\\b",
            "${HOME}",
            "$${HOME}",
            "$",
            "{a: b}",
            "[a]",
            "a\nb",
            "a\tb",
            "\u{e4}\u{1f600}",
            "\u{7f}\u{85}",
            "https://x:8080/?a=b&c#d",
        ] {
            let mut yaml = Yaml::default();
            yaml.section("auth", |yaml| {
                yaml.section("users", |yaml| {
                    yaml.section(value, |yaml| yaml.value("x", value));
                });
            });
            let text = yaml.finish();
            let leaves = config::leaves(&text).expect(value);
            assert_eq!(leaves[0].path, format!("auth.users.{value}.x"), "{text}");
            let escaped = value.replace("${", "$${");
            assert_eq!(leaves[0].value, escaped, "{text}");
        }
    }

    #[test]
    fn a_document_reads_well() {
        let mut yaml = Yaml::default();
        yaml.comment("first\nsecond");
        yaml.section("a", |yaml| {
            yaml.value("b", "x y");
            yaml.plain("c", "[pull]");
            yaml.list("l", ["x: y", "${z}"]);
            yaml.variable("d", "NAME");
        });
        yaml.gap();
        yaml.value("e", "f");
        assert_eq!(
            yaml.finish(),
            "# first\n# second\na:\n  b: \"x y\"\n  c: [pull]\n  l: [\"x: y\", \"$${z}\"]\n  d: \"${NAME}\"\n\ne: f\n"
        );
    }
}

//! `${NAME}` in values.

use super::Environment;

/// Replaces every `${NAME}` by the variable's value; `$${` stands for a literal `${`.
///
/// Values are not expanded again, so a variable cannot name another. The error says which variable is missing.
pub(super) fn expand(text: &str, env: Environment<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find("${") {
        let (before, after) = (&rest[..position], &rest[position + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| "`${` without `}`; write `$${` for a literal `${`".to_owned())?;
        if !is_variable_name(name) {
            return Err(
                "between `${` and `}` stands the name of one environment variable; write `$${` for a literal `${`"
                    .to_owned(),
            );
        }
        let value = env(name).ok_or_else(|| {
            format!("the environment variable `{name}` is not set; set it, or write `$${{` for a literal `${{`")
        })?;
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_once() {
        let env = |name: &str| match name {
            "USER" => Some("reader".to_owned()),
            "NESTED" => Some("${USER}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("${USER}", "reader"),
            ("a-${USER}-${USER}", "a-reader-reader"),
            ("$${USER}", "${USER}"),
            ("$$", "$$"),
            ("$USER", "$USER"),
            ("${NESTED}", "${USER}"),
            ("x${EMPTY}y", "xy"),
        ] {
            assert_eq!(expand(text, &env).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["${MISSING}", "${", "${}", "${a b}", "${1}"] {
            assert!(expand(bad, &env).is_err(), "{bad}");
        }
    }
}

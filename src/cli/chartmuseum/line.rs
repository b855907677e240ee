//! ChartMuseum's command line: `--flag value`, `--flag=value`, both with one dash too; a switch takes its value only behind `=`.

use super::flags::{self, FLAGS, Flag, Kind};
use crate::config;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Flags with their values, in their order.
    Flags(Vec<(&'static str, String)>),
    /// `--help`
    Help,
    /// `--version`
    Version,
}

/// Reads the arguments. Errors: the first one that means nothing, with what could be meant.
pub(super) fn parse(arguments: &[String]) -> Result<Line, String> {
    let mut given = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(typed) = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
            .filter(|typed| !typed.is_empty())
        else {
            return Err(stray(argument, given.last()));
        };
        let (name, value) = match typed.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (typed, None),
        };
        match name {
            "help" | "h" => return Ok(Line::Help),
            "version" | "v" => return Ok(Line::Version),
            _ => {}
        }
        let flag = flags::find(name).ok_or_else(|| unknown(argument, name))?;
        let value = match (value, flag.kind) {
            (Some(value), _) => value.to_owned(),
            (None, Kind::Switch) => "true".to_owned(),
            (None, _) => arguments
                .next()
                .ok_or_else(|| format!("flag needs an argument: `--{}`", flag.name))?
                .clone(),
        };
        given.push((flag.name, value));
    }
    Ok(Line::Flags(given))
}

fn unknown(argument: &str, name: &str) -> String {
    if name.starts_with("storage-netease-") {
        return format!(
            "flag is not defined: `{argument}`: ChartMuseum has given NetEase up; use `--storage amazon` with \
             `--storage-amazon-endpoint https://nos-eastchina1.126.net` and the keys in AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
        );
    }
    match config::nearest(name, FLAGS.iter().map(|flag| flag.name)) {
        Some(near) => format!("flag is not defined: `{argument}`; did you mean `--{near}`?"),
        None => format!(
            "flag is not defined: `{argument}`; `chartgate chartmuseum --help` lists them all"
        ),
    }
}

fn stray(argument: &str, before: Option<&(&'static str, String)>) -> String {
    let switch = before
        .and_then(|(name, _)| flags::find(name).filter(|flag: &&Flag| flag.kind == Kind::Switch));
    match switch {
        Some(flag) => format!(
            "`{argument}` is no flag; the value of a switch stands behind `=`: `--{}={argument}`",
            flag.name
        ),
        None => {
            format!("`{argument}` is no flag; everything is given by flags, such as `--port 8080`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Line, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments)
    }

    #[test]
    fn every_spelling_is_read() {
        let expected = |pairs: &[(&'static str, &str)]| {
            Ok(Line::Flags(
                pairs
                    .iter()
                    .map(|(name, value)| (*name, (*value).to_owned()))
                    .collect(),
            ))
        };
        for (line, pairs) in [
            ("", &[][..]),
            ("--port 80", &[("port", "80")]),
            ("-port 80", &[("port", "80")]),
            ("--port=80 -depth=1", &[("port", "80"), ("depth", "1")]),
            (
                "--debug --log-json=false -log-health",
                &[
                    ("debug", "true"),
                    ("log-json", "false"),
                    ("log-health", "true"),
                ],
            ),
            ("-c a.yaml", &[("config", "a.yaml")]),
            (
                "--chart-url=https://x/?a=b",
                &[("chart-url", "https://x/?a=b")],
            ),
            (
                "--basic-auth-pass -dashed",
                &[("basic-auth-pass", "-dashed")],
            ),
            ("--basic-auth-pass=", &[("basic-auth-pass", "")]),
            (
                "--artifact-hub-repo-id a=1 --artifact-hub-repo-id b=2",
                &[
                    ("artifact-hub-repo-id", "a=1"),
                    ("artifact-hub-repo-id", "b=2"),
                ],
            ),
        ] {
            assert_eq!(read(line), expected(pairs), "{line}");
        }
        assert_eq!(read("--debug -h"), Ok(Line::Help));
        assert_eq!(read("--version"), Ok(Line::Version));
    }

    #[test]
    fn what_means_nothing_is_told() {
        for (line, word) in [
            ("--storag local", "`--storage`"),
            ("--nonsense-of-somebody", "--help"),
            ("--port", "needs an argument"),
            ("--debug true", "`--debug=true`"),
            ("serve", "no flag"),
            ("-", "no flag"),
            ("--", "no flag"),
            ("--storage-netease-bucket x", "--storage-amazon-endpoint"),
        ] {
            let message = read(line).expect_err(line);
            assert!(message.contains(word), "{message}");
        }
    }
}

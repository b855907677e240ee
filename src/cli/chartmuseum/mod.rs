//! `chartgate chartmuseum` and `chartgate migrate chartmuseum`: ChartMuseum's flags, environment and configuration file.
//!
//! There is one way from them to a running process: they are resolved, rendered as the text of a configuration file, and that
//! text is read and served as any other. `migrate` prints it instead.

mod flags;
mod folder;
mod line;
mod render;
mod settings;
mod stores;
#[cfg(test)]
mod tests;
mod values;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::flags::{Becomes, FLAGS, Flag, Kind};
use self::line::Line;
use self::render::Rendered;
use self::settings::Settings;
use super::failure::Failure;
use super::inspect::{self, print};
use super::logging::{Purpose, Style};
use super::serve::{self, Plan};
use super::variable;
use crate::config::{self, Config, Environment};
use crate::http::Body;

/// What ChartMuseum says of itself begins so; scripts look at the number.
const VERSION: &str = concat!(
    "ChartMuseum version 0.16.5 (build chartgate ",
    env!("CARGO_PKG_VERSION"),
    ")"
);

/// What the arguments ask for, with everything resolved that decides how this process logs.
pub(super) struct Asked {
    arguments: Vec<String>,
    what: What,
}

enum What {
    Help,
    Version,
    Run(Box<Settings>),
    Print(Box<Settings>),
}

impl Asked {
    /// Reads the arguments of `chartmuseum`. Blocking. Errors: usage.
    pub(super) fn to_run(arguments: &[String]) -> Result<Self, Failure> {
        Self::read(arguments, What::Run)
    }

    /// Reads the arguments of `migrate chartmuseum`. Blocking. Errors: usage.
    pub(super) fn to_print(arguments: &[String]) -> Result<Self, Failure> {
        Self::read(arguments, What::Print)
    }

    fn read(
        arguments: &[String],
        what: impl FnOnce(Box<Settings>) -> What,
    ) -> Result<Self, Failure> {
        let what = match line::parse(arguments).map_err(Failure::Usage)? {
            Line::Help => What::Help,
            Line::Version => What::Version,
            Line::Flags(typed) => what(Box::new(
                Settings::resolve(&typed, &variable).map_err(Failure::Usage)?,
            )),
        };
        Ok(Self {
            arguments: arguments.to_vec(),
            what,
        })
    }

    /// How the process logs: ChartMuseum's flags decide, where the environment does not.
    pub(super) fn logging(&self, env: Environment<'_>) -> (Purpose, Style) {
        match &self.what {
            What::Run(settings) if !prints_index(settings) => {
                let purpose = if settings.is_on("debug") {
                    Purpose::Debugging
                } else {
                    Purpose::Service
                };
                let style = if settings.is_on("log-json") {
                    Style::Json
                } else {
                    Style::human(env)
                };
                (purpose, style)
            }
            _ => (Purpose::Command, Style::usual(env)),
        }
    }

    /// Does it.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Help => print(&Body::Bytes(help().into())),
            What::Version => print(&Body::Bytes(format!("{VERSION}\n").into())),
            What::Print(settings) => migrate(&settings),
            What::Run(settings) => run(&settings, self.arguments),
        }
    }
}

fn run(settings: &Settings, arguments: Vec<String>) -> Result<(), Failure> {
    if prints_index(settings) {
        // What the data folder holds is used; nothing is written there.
        let rendered = rendered(settings, &render::data_dir(settings))?;
        say(&rendered.notices);
        return inspect::print_index(read(&rendered)?, "/");
    }
    let data_dir = data_dir(settings)?;
    let rendered = rendered(settings, &data_dir)?;
    let config = read(&rendered)?;
    if settings.is_on("gen-index") {
        tracing::warn!("--gen-index is ignored, as in ChartMuseum: it needs depth 0");
    }
    for notice in &rendered.notices {
        tracing::warn!("{notice}");
    }
    serve::run(Plan {
        config,
        reread: Some((
            "ChartMuseum's configuration".to_owned(),
            Arc::new(move || again(&arguments, &data_dir)),
        )),
        upgrade: false,
        log_health: settings.is_on("log-health"),
    })
}

/// The configuration once more, for a reload: the file may have changed.
fn again(arguments: &[String], data_dir: &Path) -> Result<Config, Failure> {
    let Line::Flags(typed) = line::parse(arguments).map_err(Failure::Usage)? else {
        return Err(Failure::Usage("there is nothing to run".to_owned()));
    };
    let settings = Settings::resolve(&typed, &variable).map_err(Failure::Usage)?;
    read(&rendered(&settings, data_dir)?)
}

fn migrate(settings: &Settings) -> Result<(), Failure> {
    let rendered = rendered(settings, &render::data_dir(settings))?;
    let mut notices = rendered.notices;
    for name in rendered.secrets.keys() {
        notices.push(format!(
            "the configuration takes a secret from the environment: set {name} where it is served"
        ));
    }
    let process = FLAGS
        .iter()
        .filter(|flag| settings.is_given(flag) && flag.name != "config");
    for flag in process {
        if let Becomes::Process(effect) = flag.becomes {
            let instead = match flag.name {
                "debug" => "set CHARTGATE_LOG=debug",
                "log-json" => "logs are JSON wherever they do not go to a terminal",
                "log-health" => "every request is logged",
                _ => "use `chartgate index / --config FILE`",
            };
            notices.push(format!(
                "--{} is no configuration: it {effect}; {instead}",
                flag.name
            ));
        }
    }
    say(&notices);
    print(&Body::Bytes(rendered.text.into()))
}

fn rendered(settings: &Settings, data_dir: &Path) -> Result<Rendered, Failure> {
    render::render(settings, &variable, data_dir).map_err(Failure::Usage)
}

/// Reads the text as any configuration file, with the secrets that did not come from the environment.
fn read(rendered: &Rendered) -> Result<Config, Failure> {
    let secrets = &rendered.secrets;
    let env: Environment<'_> = &|name| secrets.get(name).cloned().or_else(|| variable(name));
    config::parse(&rendered.text, Path::new(""), env).map_err(|mistakes| {
        Failure::Usage(format!(
            "ChartMuseum's flags make a configuration with mistakes (`chartgate migrate chartmuseum` with the same flags prints \
             it):\n{mistakes}"
        ))
    })
}

/// The folder for the state: the one that was named must work, the others have a substitute.
fn data_dir(settings: &Settings) -> Result<PathBuf, Failure> {
    let wanted = render::data_dir(settings);
    if settings.given_text("data-dir").is_some() {
        return Ok(wanted);
    }
    Ok(folder::writable(&wanted, &std::env::temp_dir())?)
}

/// `--gen-index` counts at depth 0 only.
fn prints_index(settings: &Settings) -> bool {
    settings.is_on("gen-index") && settings.number("depth") == 0 && !settings.is_on("depth-dynamic")
}

fn say(notices: &[String]) {
    for notice in notices {
        eprintln!("chartgate: {notice}");
    }
}

/// The flags, where else they can be set, and what becomes of each.
fn help() -> String {
    let mut text = String::from(
        "Run the service that ChartMuseum's flags, environment and configuration file ask for\n\n\
         Usage: chartgate chartmuseum [FLAGS]\n       chartgate migrate chartmuseum [FLAGS]   prints the configuration instead\n\n\
         Example:\n  chartgate chartmuseum --storage local --storage-local-rootdir ./charts --port 8080\n\n\
         Flags, with their variables of the environment and what they become:\n",
    );
    for flag in FLAGS {
        let Flag {
            name, env, default, ..
        } = flag;
        let value = match flag.kind {
            Kind::Switch => "",
            Kind::Text => " TEXT",
            Kind::Number => " NUMBER",
            Kind::Duration => " DURATION",
            Kind::Pairs => " [REPOSITORY=]ID",
        };
        let becomes = match flag.becomes {
            Becomes::Key(key) => key.to_owned(),
            Becomes::Process(effect) => effect.to_owned(),
            Becomes::Notice(reason) => format!("accepted without effect: {reason}"),
            Becomes::Refused(reason) => format!("refused: {reason}"),
        };
        let default = match *default {
            "" | "false" => String::new(),
            default => format!(" (default {default})"),
        };
        text.push_str(&format!(
            "  --{name}{value}{default} [{env}]\n      {becomes}\n"
        ));
    }
    text
}

//! The commands.

pub mod args;
mod bar;
mod chartmuseum;
mod check;
mod failure;
mod gc;
mod images;
mod inspect;
pub mod logging;
mod noted;
pub mod passwd;
mod serve;
mod table;
mod token;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Cli, Command, Migrate};
use self::chartmuseum::Asked;
pub use self::failure::Failure;
use self::logging::{Purpose, Style};

/// Exit code of wrong usage and of a wrong configuration (`EX_USAGE`).
const USAGE: u8 = 64;

/// Runs the command that the process was started with, and says with which code it should end.
pub fn run() -> ExitCode {
    let command = match parse() {
        Ok(command) => command,
        Err(message) => {
            // Help and version are messages too, on stdout and with code 0. Nothing can be done if even this fails.
            let _ = message.print();
            return if message.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let outcome = match &command {
        Command::Serve(arguments) => logged(Purpose::Service, || serve::command(arguments)),
        Command::Check(arguments) => logged(Purpose::Command, || check::run(arguments)),
        Command::Index(arguments) => logged(Purpose::Command, || inspect::index(arguments)),
        Command::Explain(arguments) => logged(Purpose::Command, || inspect::explain(arguments)),
        Command::Token(command) => logged(Purpose::Command, || token::run(command)),
        Command::Gc(arguments) => logged(Purpose::Command, || gc::run(arguments)),
        Command::Passwd(arguments) => logged(Purpose::Command, || {
            passwd::run(arguments).map_err(Failure::from)
        }),
        Command::Chartmuseum(arguments) => Asked::to_run(&arguments.flags).and_then(museum),
        Command::Migrate(Migrate::Chartmuseum(arguments)) => {
            Asked::to_print(&arguments.flags).and_then(museum)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("chartgate: {failure}");
            failure.exit_code().into()
        }
    }
}

/// A command of chartgate's own. What it logs is written before its failure is told.
fn logged(purpose: Purpose, run: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let _log = logging::start(purpose, Style::usual(&variable), &variable);
    run()
}

/// A command that speaks ChartMuseum's flags, which also say how it logs.
fn museum(asked: Asked) -> Result<(), Failure> {
    let (purpose, style) = asked.logging(&variable);
    let _log = logging::start(purpose, style, &variable);
    asked.run()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The command; without one it is `serve`, whose arguments may still come from the environment.
fn parse() -> Result<Command, clap::Error> {
    match Cli::try_parse()?.command {
        Some(command) => Ok(command),
        None => {
            let serve = Cli::try_parse_from(["chartgate", "serve"])?.command;
            Ok(serve.unwrap_or(Command::Serve(args::Serve::default())))
        }
    }
}

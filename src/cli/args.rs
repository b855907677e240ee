//! The command line (contract/cli.md).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::ListenAddress;

/// `chartgate`; without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "chartgate", version)]
pub struct Cli {
    /// What to do; absent: `serve` with its defaults.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(Serve),
    /// Report all mistakes of a configuration file
    Check(Check),
    /// Print the merged index of a tenant
    Index(Index),
    /// Tell where a chart version comes from
    Explain(Explain),
    /// Print an htpasswd line for a user
    Passwd(Passwd),
}

/// `chartgate serve`
#[derive(Args, Clone, Debug, Default)]
pub struct Serve {
    /// The configuration file; without it the embedded quick start runs
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen here instead of on the addresses in `server.http`
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub http: Option<ListenAddress>,
    /// Keep everything here instead of in `data_dir`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Never dial an upstream: serve what is held
    #[arg(long)]
    pub offline: bool,
    /// Take the listening sockets over from the running process, which then drains (send it SIGQUIT)
    #[arg(long)]
    pub upgrade: bool,
}

/// `chartgate check`
#[derive(Args, Clone, Debug, Default)]
pub struct Check {
    /// The configuration file; without it the embedded quick start is checked
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Also try every upstream, store and redis, and print a table
    #[arg(long)]
    pub connect: bool,
}

/// `chartgate index`
#[derive(Args, Clone, Debug)]
pub struct Index {
    /// The tenant's path; `/` is the root tenant
    pub tenant: String,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `chartgate explain`
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// The tenant's path; `/` is the root tenant
    pub tenant: String,
    /// The chart's name
    pub chart: String,
    /// One version; absent: all of them
    pub version: Option<String>,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `chartgate passwd`
#[derive(Args, Clone, Debug)]
pub struct Passwd {
    /// The user's name
    pub user: String,
}

fn listen_address(_text: &str) -> Result<ListenAddress, String> {
    todo!()
}

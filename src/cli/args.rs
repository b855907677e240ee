//! The command line (contract/cli.md).
//!
//! Says what can be typed; each command lives in its own file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::auth::Lasts;
use crate::config::{self, Action, Config, Environment, ListenAddress, Mistakes};

/// The data folder of the quick start.
const DEFAULT_DATA_DIR: &str = "./data";

/// `chartgate`; without a command it serves.
#[derive(Debug, Parser)]
#[command(
    name = "chartgate",
    version,
    about = "A caching gateway in front of Helm chart repositories and OCI registries",
    long_about = None,
    after_help = "Without a command, `chartgate serve` runs on the embedded quick start.\n\n\
                  Example:\n  chartgate serve --config /etc/chartgate/chartgate.yaml\n\n\
                  Exit codes: 0 fine, 1 failed while running, 64 usage or configuration."
)]
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
    /// Tell where a chart version comes from, who answers for an image, or what somebody may do
    Explain(Explain),
    /// Print an htpasswd line for a user
    Passwd(Passwd),
    /// Make, list and revoke API tokens
    #[command(subcommand, after_help = TOKEN_EXAMPLE)]
    Token(Token),
    /// Find, and remove, what no hosted repository needs any more
    Gc(Gc),
    /// Run the service that ChartMuseum's flags, environment and configuration file ask for
    Chartmuseum(Chartmuseum),
    /// Print the configuration that does what another program's flags ask for
    #[command(subcommand, after_help = MIGRATE_EXAMPLE)]
    Migrate(Migrate),
}

const MIGRATE_EXAMPLE: &str = "Example:\n  chartgate migrate chartmuseum --storage local --storage-local-rootdir ./charts > chartgate.yaml";

/// `chartgate chartmuseum`; the flags are read in their own grammar, help and version included.
#[derive(Args, Clone, Debug)]
#[command(
    disable_help_flag = true,
    after_help = "`chartgate chartmuseum --help` lists the flags.\n\n\
                  Example:\n  chartgate chartmuseum --storage local --storage-local-rootdir ./charts --port 8080"
)]
pub struct Chartmuseum {
    /// ChartMuseum's flags
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub flags: Vec<String>,
}

/// `chartgate migrate`
#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// From the flags, environment and configuration file of ChartMuseum
    #[command(after_help = MIGRATE_EXAMPLE)]
    Chartmuseum(Chartmuseum),
}

/// `chartgate serve`
#[derive(Args, Clone, Debug, Default)]
#[command(
    after_help = "SIGHUP reads the file again, SIGTERM ends after the requests in flight. Logs go to stderr, for people \
                  on a terminal, as JSON otherwise; CHARTGATE_LOG=debug shows more.\n\n\
                  Examples:\n  chartgate serve\n  \
                  chartgate serve --config chartgate.yaml --http 0.0.0.0:8080 --data-dir /var/lib/chartgate"
)]
pub struct Serve {
    /// The configuration file; without it the embedded quick start runs
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
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
#[command(after_help = "Example:\n  chartgate check --config chartgate.yaml --connect")]
pub struct Check {
    /// The configuration file; without it the embedded quick start is checked
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Also try every upstream, store and redis, and print a table
    #[arg(long)]
    pub connect: bool,
}

/// `chartgate index`
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  chartgate index acme/platform --config chartgate.yaml > index.yaml"
)]
pub struct Index {
    /// The tenant's path; `/` is the root tenant
    pub tenant: String,
    /// The configuration file; without it the embedded quick start is used
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `chartgate explain`
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  chartgate explain acme/platform ingress-nginx 4.11.3 --config chartgate.yaml\n  \
                  chartgate explain acme/platform team/app:1.2 --config chartgate.yaml\n  \
                  chartgate explain --as user:ci,group:dev acme/platform/app push --config chartgate.yaml"
)]
pub struct Explain {
    /// The tenant's path; `/` is the root tenant. With --as also of something in it
    pub tenant: String,
    /// The chart's name, or an image: REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST. With --as: pull (default), push, delete or admin
    #[arg(required_unless_present = "as_whom")]
    pub chart: Option<String>,
    /// One version; absent: all of them
    #[arg(conflicts_with = "as_whom")]
    pub version: Option<String>,
    /// Says whether somebody may do something, and which rule decides: `user:NAME`, `group:NAME`, `claim:NAME=VALUE`, several
    /// with commas between them; `token:ID` of an API token; or `anonymous`
    #[arg(long = "as", value_name = "SUBJECTS", id = "as_whom")]
    pub as_whom: Option<String>,
    /// The configuration file; without it the embedded quick start is used
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `chartgate passwd`
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The password is asked for on a terminal, or is the first line of standard input.\n\n\
                  Example:\n  chartgate passwd ci >> users.htpasswd"
)]
pub struct Passwd {
    /// The user's name
    pub user: String,
}

const TOKEN_EXAMPLE: &str = "A running gateway honours what these commands do within a second; one on another machine that shares a \
                             bucket, within `store.refresh`.\n\n\
                             Examples:\n  chartgate token create --name ci --tenants 'acme/*' --actions pull,push --config chartgate.yaml\n  \
                             chartgate token list --config chartgate.yaml\n  \
                             chartgate token revoke k3v9x0a7q2mf --config chartgate.yaml";

/// `chartgate token`
#[derive(Clone, Debug, Subcommand)]
pub enum Token {
    /// Make a token, and print it: the only time that it is shown
    #[command(
        after_help = "The token goes to standard output, what it may do to standard error. Clients send it as `Bearer`, or as the \
                      password of any user name.\n\n\
                      Examples:\n  chartgate token create --name ci --tenants 'acme/*' --actions pull,push --config chartgate.yaml\n  \
                      chartgate token create --name mirror --tenants '**' --actions pull --names 'app-*' --names 'lib/**' --expires 30d"
    )]
    Create(TokenCreate),
    /// Print all tokens, without their secrets
    #[command(after_help = "Example:\n  chartgate token list --json --config chartgate.yaml")]
    List(TokenList),
    /// End a token, and everything that was given out for it
    #[command(
        after_help = "Example:\n  chartgate token revoke k3v9x0a7q2mf --config chartgate.yaml"
    )]
    Revoke(TokenRevoke),
}

/// `chartgate token create`
#[derive(Args, Clone, Debug)]
pub struct TokenCreate {
    /// What logs and lists call it
    #[arg(long)]
    pub name: String,
    /// Where it counts: paths, or patterns as the keys of `tenants` are: `acme/*`, `acme/**`, `**`; `/` is the root tenant
    #[arg(long, value_name = "TENANTS", required = true, value_delimiter = ',')]
    pub tenants: Vec<String>,
    /// What it is for: pull, push, delete, or admin for all of them
    #[arg(long, value_name = "ACTIONS", required = true, value_delimiter = ',', value_parser = Action::parse)]
    pub actions: Vec<Action>,
    /// Only charts and repositories that this pattern fits: `app-*`, `team/**`; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub names: Vec<String>,
    /// How long it counts, such as `12h` or `90d` (the default), or `never` for until it is revoked
    #[arg(long, value_name = "TIME", value_parser = Lasts::parse)]
    pub expires: Option<Lasts>,
    /// Print a JSON document with the token in it
    #[arg(long)]
    pub json: bool,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `chartgate token list`
#[derive(Args, Clone, Debug)]
pub struct TokenList {
    /// Print a JSON document
    #[arg(long)]
    pub json: bool,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `chartgate token revoke`
#[derive(Args, Clone, Debug)]
pub struct TokenRevoke {
    /// Its id, as `chartgate token list` shows it; a token itself will do
    pub id: String,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `chartgate gc`
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Deleting images frees no space by itself: their layers may be in others. This finds what is in none. Without \
                  --delete it only counts. It may run while the gateway does, on the same machine or another one.\n\n\
                  Exit codes: 0 fine, 1 failed or found something that should not be, 64 usage or configuration.\n\n\
                  Example:\n  chartgate gc --config chartgate.yaml --delete"
)]
pub struct Gc {
    /// The configuration file; without it the embedded quick start is used
    #[arg(long, value_name = "FILE", env = "CHARTGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Remove it instead of counting it
    #[arg(long)]
    pub delete: bool,
    /// How old it must be, at least 2h
    #[arg(long, value_name = "TIME", default_value = "2h", value_parser = config::parse_duration)]
    pub grace: Duration,
    /// Also manifests without a tag that no tagged index needs and that refer to, and are referred to by, nothing tagged
    #[arg(long)]
    pub untagged: bool,
}

impl Serve {
    /// What to serve: the file, or the quick start, with the options of the command line applied. Blocking.
    pub fn configuration(&self, env: Environment<'_>) -> Result<Config, Mistakes> {
        let mut config = match (&self.config, &self.data_dir) {
            (None, Some(data_dir)) => config::quick_start(data_dir),
            (file, _) => configuration(file.as_deref(), env)?,
        };
        if let Some(data_dir) = &self.data_dir {
            config.set_data_dir(data_dir);
        }
        if let Some(http) = &self.http {
            config.server.http = vec![http.clone()];
        }
        config.offline |= self.offline;
        Ok(config)
    }
}

/// The configuration in `file`, or the quick start. Blocking.
pub fn configuration(file: Option<&Path>, env: Environment<'_>) -> Result<Config, Mistakes> {
    match file {
        Some(file) => config::load(file, env),
        None => Ok(config::quick_start(Path::new(DEFAULT_DATA_DIR))),
    }
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    config::listen_address(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn typed(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
            .map(|cli| cli.command.unwrap_or(Command::Serve(Serve::default())))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_serves_the_quick_start() {
        let Ok(Command::Serve(serve)) = typed("chartgate") else {
            panic!("serve")
        };
        let config = serve.configuration(&|_| None).expect("embedded");
        assert_eq!(config.data_dir, Path::new("./data"));
    }

    #[test]
    fn options_win_over_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, "data_dir: /a\ntenants: {/: {hosted: true}}").expect("written");
        let line = format!(
            "chartgate serve --config {} --http 127.0.0.1:0 --data-dir /b --offline",
            file.display()
        );
        let Ok(Command::Serve(serve)) = typed(&line) else {
            panic!("serve")
        };
        let config = serve.configuration(&|_| None).expect("valid");
        assert_eq!(config.server.http[0].to_string(), "127.0.0.1:0");
        assert_eq!(config.data_dir, Path::new("/b"));
        assert_eq!(config.store.root(), Some(Path::new("/b/hosted")));
        assert!(config.offline);
    }

    #[test]
    fn the_quick_start_moves_as_a_whole() {
        let Ok(Command::Serve(serve)) = typed("chartgate serve --data-dir /srv/x") else {
            panic!("serve")
        };
        let config = serve.configuration(&|_| None).expect("embedded");
        assert_eq!(config.store.root(), Some(Path::new("/srv/x/hosted")));
        assert!(
            matches!(&config.upstreams["sample"].source, config::Source::Dir(path) if path == Path::new("/srv/x/sample"))
        );
    }

    #[test]
    fn lists_are_written_with_commas_or_several_times() {
        let line = "chartgate token create --name ci --tenants a/*,b --tenants c --actions pull,push --expires never";
        let Ok(Command::Token(Token::Create(create))) = typed(line) else {
            panic!("token create")
        };
        assert_eq!(create.tenants, ["a/*", "b", "c"]);
        assert_eq!(create.actions, [Action::Pull, Action::Push]);
        assert_eq!(create.expires, Some(Lasts::Forever));
        assert!(create.names.is_empty());
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "chartgate serv",
            "chartgate serve --http nonsense",
            "chartgate serve --nope",
            "chartgate index",
            "chartgate passwd",
            "chartgate gc --grace 2",
            "chartgate token",
            "chartgate token create --tenants a --actions pull",
            "chartgate token create --name ci --actions pull",
            "chartgate token create --name ci --tenants a",
            "chartgate token create --name ci --tenants a --actions fly",
            "chartgate token create --name ci --tenants a --actions pull --expires 5",
            "chartgate token revoke",
        ] {
            let error = typed(line).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{help}");
            assert!(
                help.contains(&format!("chartgate {}", command.get_name())),
                "{help}"
            );
        }
    }
}

//! Where log lines go: stderr, human on a terminal, JSON otherwise.

use std::io::{self, IsTerminal as _};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Environment;

/// What is logged where nobody says otherwise: the server library tells its own life at `info`, which ours tells better.
const SERVICE_FILTER: &str = "info,pingora=warn,pingora_core=warn";

/// What is logged where somebody asks for all of what we do ourselves.
const DEBUGGING_FILTER: &str = "info,chartgate=debug,pingora=warn,pingora_core=warn";

/// What is logged by a command that a person runs for its output.
const COMMAND_FILTER: &str = "warn";

/// What the process is for, where nobody says what to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It serves: its log is its life.
    Service,
    /// It serves, and somebody looks for a fault.
    Debugging,
    /// It prints an answer and ends.
    Command,
}

impl Purpose {
    fn default_filter(self) -> &'static str {
        match self {
            Self::Service => SERVICE_FILTER,
            Self::Debugging => DEBUGGING_FILTER,
            Self::Command => COMMAND_FILTER,
        }
    }
}

/// Starts logging for this process, in this style. To be called once, by `main`; a second call does nothing.
///
/// `CHARTGATE_LOG`, else `RUST_LOG`, filters, in the directives of `tracing_subscriber`'s `EnvFilter`: `debug`,
/// `info,chartgate::upstream=debug`. A filter that cannot be read is told and the default used. Events of the `log` crate
/// are included. Lines are written by a thread of their own, so that a slow reader of stderr never holds a request up; if
/// 128,000 of them wait, more are dropped. Keep the result until the process ends: dropping it writes what waits.
pub fn start(purpose: Purpose, style: Style, env: Environment<'_>) -> WorkerGuard {
    let (filter, fault) = filter(purpose.default_filter(), env);
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    if subscriber(filter, style, writer).try_init().is_ok()
        && let Some(fault) = fault
    {
        tracing::warn!("{fault}");
    }
    guard
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Human {
        /// With the colors of a terminal.
        color: bool,
    },
    /// One JSON object a line.
    Json,
}

impl Style {
    /// Human where stderr is a terminal, JSON otherwise.
    pub fn usual(env: Environment<'_>) -> Self {
        if io::stderr().is_terminal() {
            Self::human(env)
        } else {
            Self::Json
        }
    }

    /// Human, with colors where stderr is a terminal and `NO_COLOR` does not forbid them.
    pub fn human(env: Environment<'_>) -> Self {
        let color =
            io::stderr().is_terminal() && env("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::Human { color }
    }
}

fn subscriber<W>(
    filter: EnvFilter,
    style: Style,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // Complaining on stderr that stderr is closed would panic.
        .log_internal_errors(false);
    match style {
        Style::Human { color } => Box::new(builder.with_ansi(color).with_target(false).finish()),
        Style::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        ),
    }
}

fn filter(default: &str, env: Environment<'_>) -> (EnvFilter, Option<String>) {
    let asked = ["CHARTGATE_LOG", "RUST_LOG"].into_iter().find_map(|name| {
        env(name)
            .filter(|directives| !directives.trim().is_empty())
            .map(|directives| (name, directives))
    });
    let Some((name, directives)) = asked else {
        return (EnvFilter::new(default), None);
    };
    match EnvFilter::try_new(&directives) {
        Ok(filter) => (filter, None),
        Err(error) => (
            EnvFilter::new(default),
            Some(format!(
                "`{name}` cannot be read as a log filter, using `{default}`: {error}"
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(EnvFilter::new(filter), style, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", tenant.name = "acme");
            let _entered = span.enter();
            tracing::info!(upstream.name = "nginx", "upstream `nginx` answered 503");
            tracing::debug!("detail");
        });
        let bytes = lines.0.lock().expect("a lock").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_json_line_is_queryable() {
        let text = logged(Style::Json, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["message"], "upstream `nginx` answered 503");
        assert_eq!(line["upstream.name"], "nginx");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["tenant.name"], "acme");
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
    }

    #[test]
    fn a_human_line_reads_alone() {
        let text = logged(Style::Human { color: false }, "debug");
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.contains("INFO request{tenant.name=\"acme\"}: upstream `nginx` answered 503"),
            "{text}"
        );
    }

    #[test]
    fn the_filter_comes_from_the_environment() {
        let env = |own: Option<&'static str>, rust: Option<&'static str>| {
            move |name: &str| match name {
                "CHARTGATE_LOG" => own.map(str::to_owned),
                "RUST_LOG" => rust.map(str::to_owned),
                _ => None,
            }
        };
        let shown = |own, rust| {
            let (filter, fault) = filter(SERVICE_FILTER, &env(own, rust));
            (filter.to_string(), fault.is_some())
        };
        assert_eq!(
            shown(Some("debug"), Some("error")),
            ("debug".to_owned(), false)
        );
        assert_eq!(shown(None, Some("error")), ("error".to_owned(), false));
        assert_eq!(shown(Some(" "), Some("error")), ("error".to_owned(), false));
        assert!(shown(None, None).0.contains("info"));
        let (fallback, told) = shown(Some("a=b=c"), None);
        assert!(fallback.contains("info") && told);
    }
}

//! Logs, to standard error: lines for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that holds the filter.
pub const FILTER_VARIABLE: &str = "P2P_LOG";
/// What is logged when nothing is asked for.
pub const DEFAULT_FILTER: &str = "info";

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Logging cannot be set up as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error(
        "the log filter {filter:?} is not understood: {cause}; \
         use a level (error, warn, info, debug, trace) or `crate=level` parts joined by commas"
    )]
    BadFilter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The format is none of the three.
    #[error("{0:?} is not a log format; use auto, text or json")]
    BadFormat(String),
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::BadFormat(text.to_owned())),
        }
    }
}

impl LogFormat {
    /// Whether lines are JSON, where standard error is or is not a terminal.
    pub fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// Starts logging for this process, filtered by `P2P_LOG` (default `info`).
///
/// Where the process logs already, nothing changes: several services and tests share one log.
pub fn init(format: LogFormat) -> Result<(), LogError> {
    let text = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.trim().is_empty());
    init_with(format, text.as_deref().unwrap_or(DEFAULT_FILTER))
}

/// Starts logging for this process with a filter of the caller's.
pub fn init_with(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = parse_filter(filter)?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if format.is_json(terminal) {
        builder.json().flatten_event(true).with_current_span(true).finish().try_init()
    } else {
        builder.with_ansi(terminal).with_target(false).finish().try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was set up already; the first set-up stays");
    }
    Ok(())
}

fn parse_filter(text: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(text)
        .map_err(|error| LogError::BadFilter { filter: text.to_owned(), cause: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_means_text_on_a_terminal_and_json_elsewhere() {
        assert!(!LogFormat::Auto.is_json(true));
        assert!(LogFormat::Auto.is_json(false));
        assert!(LogFormat::Json.is_json(true));
        assert!(!LogFormat::Text.is_json(false));
    }

    #[test]
    fn a_filter_that_does_not_parse_is_refused_with_the_forms_that_do() {
        let error = parse_filter("p2p=louder").unwrap_err().to_string();
        assert!(error.contains("p2p=louder") && error.contains("use a level"), "{error}");
        assert!(parse_filter("warn,p2p_signaling=debug").is_ok());
    }

    #[test]
    fn an_unknown_format_is_refused_with_the_known_ones() {
        let error = "xml".parse::<LogFormat>().unwrap_err().to_string();
        assert!(error.contains("auto, text or json"), "{error}");
        assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
    }

    #[test]
    fn a_second_set_up_leaves_the_first_one_alone() {
        init_with(LogFormat::Json, "info").unwrap();
        init_with(LogFormat::Text, "debug").unwrap();
    }
}

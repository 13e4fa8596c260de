//! What the program says while it works: sentences for people on stderr, or JSON lines for scripts.
//!
//! stdout belongs to data: a pipe's bytes, a received file's path, a report. With `--json` the
//! events of a verb whose stdout is free go there; those of a verb that pipes stay on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

/// Where and how to talk. Clones share the line.
#[derive(Debug, Clone)]
pub struct Talk {
    json: bool,
    stdout_is_data: bool,
    terminal: bool,
    /// A progress bar stands on the last line and has to go before the next sentence.
    line_open: Arc<AtomicBool>,
}

impl Talk {
    /// Of a verb whose stdout carries data of its own.
    pub fn beside_data(json: bool) -> Self {
        Self::new(json, true)
    }

    /// Of a verb whose events are its data.
    pub fn as_data(json: bool) -> Self {
        Self::new(json, false)
    }

    fn new(json: bool, stdout_is_data: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { json, stdout_is_data, terminal, line_open: Arc::default() }
    }

    /// Whether events are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Tells of an event: `fields` to a script, the sentence to a person.
    pub fn event(&self, name: &str, fields: Value, sentence: &str) {
        if self.json {
            self.json_line(&named(name, fields));
        } else {
            self.sentence(sentence);
        }
    }

    /// Tells of a failure that the program survives.
    pub fn trouble(&self, code: &str, cause: &str, fix: &str) {
        if self.json {
            self.json_line(&json!({ "error": { "code": code, "cause": cause, "fix": fix } }));
        } else {
            self.sentence(&format!("{cause} ({fix})"));
        }
    }

    /// A line of JSON, in the place where events go.
    pub fn json_line(&self, value: &Value) {
        if self.stdout_is_data {
            say(&format!("{value}\n"));
        } else {
            data(&value.to_string());
        }
    }

    /// A line for people.
    pub fn sentence(&self, text: &str) {
        if self.line_open.swap(false, Relaxed) {
            say("\r\x1b[2K");
        }
        say(&format!("{text}\n"));
    }

    /// Redraws the last line, on a terminal; elsewhere progress is silent.
    pub fn redraw(&self, text: &str) {
        if self.terminal && !self.json {
            self.line_open.store(true, Relaxed);
            say(&format!("\r\x1b[2K{text}"));
        }
    }
}

/// A line of data on stdout. A closed stdout ends the program's output, not the program.
pub fn data(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Text on stderr. Whoever closed it does not want it, and that is no reason to end.
pub fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

fn named(name: &str, fields: Value) -> Value {
    let mut event = json!({ "event": name });
    if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
        event.extend(fields);
    }
    event
}

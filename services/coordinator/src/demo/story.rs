//! What the demo shows while it runs: headings, and steps that end with a tick and a time.

use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

/// Columns of a step's name and of its text, before the time.
const NAME: usize = 9;
const TEXT: usize = 62;

/// A terminal, or a log that reads like one.
pub struct Story {
    out: Box<dyn Write + Send>,
    terminal: bool,
    colour: bool,
    step: Option<(String, Instant)>,
}

impl Story {
    /// On stdout, or on stderr where stdout carries a document.
    pub fn new(beside_document: bool) -> Self {
        let (out, terminal): (Box<dyn Write + Send>, bool) = if beside_document {
            (Box::new(std::io::stderr()), std::io::stderr().is_terminal())
        } else {
            (Box::new(std::io::stdout()), std::io::stdout().is_terminal())
        };
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { out, terminal, colour, step: None }
    }

    /// A line by itself.
    pub fn line(&mut self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// What the next steps are about.
    pub fn heading(&mut self, text: &str) {
        let text = self.paint("1", text);
        self.print(&format!("\n{text}\n"));
    }

    /// Something begins. On a terminal it shows at once.
    pub fn begin(&mut self, name: &str, doing: &str) {
        self.step = Some((name.to_owned(), Instant::now()));
        if self.terminal {
            let mark = self.paint("33", "…");
            self.print(&format!("  {mark} {name:<NAME$} {doing}"));
        }
    }

    /// What began has ended well.
    pub fn done(&mut self, text: &str) {
        let Some((name, started)) = self.step.take() else { return };
        let mark = self.paint("32", "✔");
        let took = self.paint("2", &time(started.elapsed()));
        self.clear();
        self.print(&format!("  {mark} {name:<NAME$} {text:<TEXT$} {took}\n"));
    }

    /// What began has failed; the failure itself is told elsewhere.
    pub fn failed(&mut self) {
        let Some((name, _)) = self.step.take() else { return };
        let mark = self.paint("31", "✘");
        self.clear();
        self.print(&format!("  {mark} {name:<NAME$} failed\n"));
    }

    fn clear(&mut self) {
        if self.terminal {
            self.print("\r\x1b[2K");
        }
    }

    /// Text in an ANSI colour, where colours show.
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn print(&mut self, text: &str) {
        // Whoever closed the output does not want the story; the demo goes on for its exit status.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// `0.8 ms`, `41 ms`, `3.2 s`.
pub fn time(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ if ms < 1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

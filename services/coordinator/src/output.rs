//! Data to stdout, talk to stderr. Whoever closed one of them does not want it, and that is no
//! reason to end: `coordinator ports | head -1` is not a failure.

use std::fmt::Display;
use std::io::Write as _;

/// A line of data.
pub fn data(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line for a person.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

//! Text for a terminal: headings, tables whose columns are as wide as what is in them, numbers and
//! times as people read them.
//!
//! What peers wrote is shown without its control characters: a name or a verdict must not move the
//! cursor of whoever reads it.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

/// The widest cell; what is longer ends in `…`.
const WIDEST: usize = 36;

/// How a cell stands out, where colours show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Not at all.
    Plain,
    /// As it should be.
    Good,
    /// Works, at a price.
    Fair,
    /// Does not work.
    Bad,
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell that stands out.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: fit(&clean(text.as_ref())), tone }
    }

    /// A cell that may be of any width: the last of its row, or one that is to be copied.
    pub fn whole(text: &str) -> Self {
        Self { text: clean(text), tone: Tone::Plain }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text.to_string(), Tone::Plain)
    }
}

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A page of text, printed at once.
#[derive(Debug)]
pub struct Sheet {
    text: String,
    colour: bool,
}

impl Sheet {
    /// For stdout: in colour on a terminal, unless `NO_COLOR` is set.
    pub fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { text: String::new(), colour: std::io::stdout().is_terminal() && !plain }
    }

    /// A line by itself.
    pub fn line(&mut self, text: &str) {
        self.text.push_str(clean(text).trim_end());
        self.text.push('\n');
    }

    /// What comes next is about this.
    pub fn heading(&mut self, text: &str) {
        let text = self.paint("1", &clean(text));
        self.text.push_str(&format!("\n{text}\n"));
    }

    /// A name and its value, several of which stand below each other.
    pub fn field(&mut self, name: &str, value: &str) {
        let name = self.paint("2", &format!("{name:<10}"));
        self.text.push_str(&format!("  {name} {}\n", clean(value)));
    }

    /// Rows below their headings.
    pub fn table<const N: usize>(&mut self, columns: [(&str, Side); N], rows: &[[Cell; N]]) {
        let width = |n: usize| {
            let cells = rows.iter().map(|row| columns_of(&row[n].text));
            cells.chain([columns_of(columns[n].0)]).max().unwrap_or_default()
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let pad = |n: usize, text: &str| {
            let space = " ".repeat(widths[n].saturating_sub(columns_of(text)));
            match columns[n].1 {
                Side::Left => format!("{text}{space}"),
                Side::Right => format!("{space}{text}"),
            }
        };
        let heads: Vec<String> = (0..N).map(|n| pad(n, columns[n].0)).collect();
        let head = self.paint("2", heads.join("  ").trim_end());
        self.text.push_str(&format!("  {head}\n"));
        for row in rows {
            let cells = row.iter().enumerate().map(|(n, cell)| {
                let code = match cell.tone {
                    Tone::Plain => return pad(n, &cell.text),
                    Tone::Good => "32",
                    Tone::Fair => "33",
                    Tone::Bad => "31",
                };
                self.paint(code, &pad(n, &cell.text))
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            self.text.push_str(&format!("  {}\n", line.trim_end()));
        }
    }

    /// Puts it on stdout.
    pub fn print(self) {
        // Whoever closed stdout does not want it.
        let _ = std::io::stdout().lock().write_all(self.text.as_bytes());
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `1 204 311`, with thin groups of three.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `83.3 %`, or `-` where there is nothing to have a share of.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// `< 1 ms`, `41 ms`, `3.2 s`, or `-` where it did not happen.
pub fn ms(value: Option<u64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(0) => "< 1 ms".to_owned(),
        Some(ms) if ms < 1000 => format!("{ms} ms"),
        Some(ms) if ms < 120_000 => format!("{:.1} s", ms as f64 / 1e3),
        Some(ms) if ms < 7_200_000 => format!("{} min", ms / 60_000),
        Some(ms) => format!("{} h", count(ms / 3_600_000)),
    }
}

/// `512 B`, `8.4 MB`, in powers of a thousand.
pub fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} PB")
}

/// `2026-03-01 12:00:05` in UTC.
pub fn utc(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's civil_from_days: years that begin in March, in eras of 400 of them.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

fn columns_of(text: &str) -> usize {
    text.chars().count()
}

fn clean(text: &str) -> String {
    // The second range turns the direction of what follows.
    let harmful =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect()
}

fn fit(text: &str) -> String {
    if columns_of(text) <= WIDEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([0, 999, 1000, 1_204_311].map(count), ["0", "999", "1 000", "1 204 311"]);
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(8_388_608), "8.4 MB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        let times = [None, Some(0), Some(41), Some(3200), Some(600_000), Some(7_200_000)].map(ms);
        assert_eq!(times, ["-", "< 1 ms", "41 ms", "3.2 s", "10 min", "2 h"]);
        assert_eq!([None, Some(1.0)].map(percent), ["-", "100.0 %"]);
    }

    #[test]
    fn times_are_dates_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_700_000_000_999), "2023-11-14 22:13:20");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut sheet = Sheet { text: String::new(), colour: false };
        let rows = [["alice".into(), 7.into()], ["Zoë".into(), Cell::from(count(12_000))]];
        sheet.table([("peer", Side::Left), ("n", Side::Right)], &rows);
        assert_eq!(sheet.text, "  peer        n\n  alice       7\n  Zoë    12 000\n");
    }

    #[test]
    fn what_peers_wrote_moves_no_cursor() {
        let mut sheet = Sheet { text: String::new(), colour: false };
        sheet.line("all \x1b[2J well\r\n");
        sheet.table([("peer", Side::Left)], &[["a\x07b\u{202e}c".into()]]);
        assert!(!sheet.text.contains(['\x1b', '\r', '\x07', '\u{202e}']), "{:?}", sheet.text);
        let long = fit(&"x".repeat(100));
        assert_eq!((columns_of(&long), long.ends_with('…')), (WIDEST, true));
    }
}

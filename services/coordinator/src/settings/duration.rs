//! Durations as people write them: `90s`, `15m`, `1h30m`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Reads a duration of whole seconds, longest unit first. A bare number is seconds.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write for example 90s, 15m, 1h30m or 7d");
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return positive(seconds, text);
    }
    let mut total = 0_u64;
    for (unit, seconds) in UNITS {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if let Some(after) = rest[digits..].strip_prefix(unit) {
            let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let part = count.checked_mul(seconds).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = after;
        }
    }
    if rest.is_empty() { positive(total, text) } else { Err(wrong()) }
}

/// The same, of at most so many seconds.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn at_most<const SECONDS: u64>(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(SECONDS);
    let duration = parse(text)?;
    if duration > most {
        return Err(format!("{text:?} is too long: write {} or less", show(most)));
    }
    Ok(duration)
}

/// The duration in the form that [`parse`] reads.
pub fn show(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (unit, seconds) in UNITS {
        if rest >= seconds {
            text.push_str(&format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn positive(seconds: u64, text: &str) -> Result<Duration, String> {
    match seconds {
        0 => Err(format!("{text:?} is no time at all: write for example 90s, 15m or 1h")),
        _ => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_in_each_unit_and_in_several() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("7d", 604_800), ("60", 60)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_examples() {
        for text in
            ["", "h", "1w", "-1s", "1h 30m", "30m1h", "0", "0s", "1.5h", "99999999999999999d"]
        {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains("for example"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_duration_that_is_too_long_is_refused_with_the_longest() {
        assert_eq!(at_most::<300>("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(at_most::<300>("301"), Err("\"301\" is too long: write 5m or less".to_owned()));
    }

    #[test]
    fn a_shown_duration_reads_back() {
        for seconds in [1, 59, 60, 5400, 86_400, 90_061] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}

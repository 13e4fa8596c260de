//! Numbers as people read them.

use std::time::Duration;

/// `312 B`, `4.2 MiB`, `1.3 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Bytes a second: `31.4 MiB/s`.
pub fn rate(count: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-6);
    format!("{}/s", bytes((count as f64 / seconds) as u64))
}

/// `0.8 ms`, `41 ms`, `3.2 s`, `2 min 5 s`.
pub fn time(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ if ms < 1000.0 => format!("{ms:.0} ms"),
        _ if ms < 60_000.0 => format!("{:.1} s", ms / 1e3),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_carry_their_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(8 << 20), "8.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
        assert_eq!(rate(8 << 20, Duration::from_secs(2)), "4.0 MiB/s");
        assert_eq!(time(Duration::from_micros(830)), "0.8 ms");
        assert_eq!(time(Duration::from_millis(41)), "41 ms");
        assert_eq!(time(Duration::from_secs(125)), "2 min 5 s");
    }
}

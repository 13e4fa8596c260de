//! The bar of a transfer: bytes, rate, time left, path.

use std::time::{Duration, Instant};

use crate::talk::Talk;
use crate::transfer::Progress;
use crate::units;

/// Between two redraws: fast enough to look alive, too slow to cost anything.
const REDRAW: Duration = Duration::from_millis(100);

/// Columns of the bar itself.
const COLUMNS: usize = 24;

/// A transfer's bar.
pub struct Bar {
    talk: Talk,
    name: String,
    total: u64,
    /// Where the transfer began, so that a resumed part does not count as speed.
    first: Option<u64>,
    started: Instant,
    drawn: Option<Instant>,
    path: Box<dyn Fn() -> String + Send>,
}

impl Bar {
    /// `path` names the way the bytes take, each time the bar is drawn.
    pub fn new(
        talk: Talk,
        name: impl Into<String>,
        total: u64,
        path: impl Fn() -> String + Send + 'static,
    ) -> Self {
        let started = Instant::now();
        let path = Box::new(path);
        Self { talk, name: name.into(), total, first: None, started, drawn: None, path }
    }
}

impl Progress for Bar {
    fn at(&mut self, bytes: u64) {
        let first = *self.first.get_or_insert(bytes);
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if due || bytes == self.total {
            self.drawn = Some(Instant::now());
            let took = self.started.elapsed();
            let line = line(&self.name, bytes, self.total, bytes.saturating_sub(first), took);
            self.talk.redraw(&format!("{line}  {}", (self.path)()));
        }
    }
}

fn line(name: &str, bytes: u64, total: u64, moved: u64, took: Duration) -> String {
    let share = if total == 0 { 1.0 } else { bytes as f64 / total as f64 };
    let filled = (share * COLUMNS as f64) as usize;
    let bar: String = (0..COLUMNS).map(|i| if i < filled { '█' } else { '░' }).collect();
    let speed = moved as f64 / took.as_secs_f64().max(1e-6);
    let left = match total.saturating_sub(bytes) {
        0 => units::time(took),
        _ if moved == 0 => "--".to_owned(),
        left => {
            // A stalled transfer has no sensible time left; a month is as good as never.
            let seconds = (left as f64 / speed).min(2.6e6);
            format!("{} left", units::time(Duration::from_secs_f64(seconds)))
        }
    };
    format!(
        "{name}  {bar} {:>3.0} %  {} of {}  {}  {left}",
        share * 100.0,
        units::bytes(bytes),
        units::bytes(total),
        units::rate(moved, took),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_share_bytes_rate_and_time_left() {
        let text = line("a.iso", 50 << 20, 100 << 20, 50 << 20, Duration::from_secs(5));
        assert!(text.starts_with("a.iso  ████████████░░░░"), "{text}");
        assert!(text.contains(" 50 %  50.0 MiB of 100 MiB  10.0 MiB/s  5.0 s left"), "{text}");
    }

    #[test]
    fn a_resumed_part_is_not_speed_and_an_empty_file_is_whole() {
        let text = line("a", 90, 100, 0, Duration::from_secs(1));
        assert!(text.contains("0 B/s  --"), "{text}");
        assert!(line("a", 0, 0, 0, Duration::ZERO).contains("100 %"));
    }
}

//! Hours and days, and which of them answer a question: whole days that are rolled up, then whole
//! hours, then the attempts themselves.

use std::collections::BTreeSet;

use crate::query::Filter;

/// Milliseconds of an hour.
pub(super) const HOUR: i64 = 60 * 60 * 1000;
/// Milliseconds of a day.
pub(super) const DAY: i64 = 24 * HOUR;

/// A stretch of time that is rolled up, counted from 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Span {
    Hour(i64),
    Day(i64),
}

impl Span {
    /// The hour of a time.
    pub(super) fn hour_of(unix_ms: i64) -> Self {
        Self::Hour(unix_ms.div_euclid(HOUR))
    }

    /// The day of a time.
    pub(super) fn day_of(unix_ms: i64) -> Self {
        Self::Day(unix_ms.div_euclid(DAY))
    }

    /// Its name in the database.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hour(_) => "hour",
            Self::Day(_) => "day",
        }
    }

    /// Its number in the database.
    pub(super) fn start(self) -> i64 {
        match self {
            Self::Hour(start) | Self::Day(start) => start,
        }
    }

    /// The day it is in.
    pub(super) fn day(self) -> i64 {
        match self {
            Self::Hour(hour) => hour.div_euclid(24),
            Self::Day(day) => day,
        }
    }

    /// Its first hour.
    pub(super) fn first_hour(self) -> i64 {
        match self {
            Self::Hour(hour) => hour,
            Self::Day(day) => day.saturating_mul(24),
        }
    }

    /// Its first and its last millisecond.
    pub(super) fn bounds(self) -> (i64, i64) {
        let (start, length) = match self {
            Self::Hour(start) => (start, HOUR),
            Self::Day(start) => (start, DAY),
        };
        // The first and the last hour of all do not lie within the numbers on both sides.
        let within = |ms: i128| i64::try_from(ms.clamp(i64::MIN.into(), i64::MAX.into()));
        let begin = i128::from(start) * i128::from(length);
        let first = within(begin).unwrap_or(i64::MIN);
        let last = within(begin + i128::from(length) - 1).unwrap_or(i64::MAX);
        (first, last)
    }

    /// The key of the server's advisory lock that stands for it. Bits 40 and above say what locks
    /// these are ("p2p"); a collision makes somebody wait, nothing worse.
    pub(super) fn lock(self) -> i64 {
        let kind = match self {
            Self::Hour(_) => 0x70_3270_0000_0000_i64,
            Self::Day(_) => 0x70_3271_0000_0000_i64,
        };
        kind ^ self.start()
    }
}

/// Where the answer to a question comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources {
    /// The first whole day.
    pub(super) from_day: i64,
    /// The day after the last whole one.
    pub(super) to_day: i64,
    /// Days between them that are not rolled up; their hours stand in.
    pub(super) stale_days: Vec<i64>,
    /// The first whole hour.
    pub(super) from_hour: i64,
    /// The hour after the last whole one.
    pub(super) to_hour: i64,
    /// Hours between them that are not rolled up; their attempts stand in.
    pub(super) stale_hours: Vec<i64>,
    /// The stretches whose attempts are read, first and last millisecond of each.
    pub(super) stretches: Vec<(i64, i64)>,
}

impl Sources {
    /// What answers a question about the time of a filter, where these spans are stale.
    pub(super) fn of(filter: &Filter, stale: &BTreeSet<Span>) -> Self {
        let (since, before) = (filter.since_unix_ms, filter.before_unix_ms);
        let at_or_after = |length: i64| {
            since.map_or(i64::MIN, |since| {
                since.div_euclid(length) + i64::from(since.rem_euclid(length) != 0)
            })
        };
        let up_to = |length: i64| before.map_or(i64::MAX, |before| before.div_euclid(length));
        let (from_day, from_hour) = (at_or_after(DAY), at_or_after(HOUR));
        let (to_day, to_hour) = (up_to(DAY), up_to(HOUR));
        let (first, last) = filter.bounds();
        let mut stretches = Vec::new();
        if since.is_some_and(|since| since.rem_euclid(HOUR) != 0) && first <= last {
            stretches.push((first, Span::hour_of(first).bounds().1.min(last)));
        }
        let (mut stale_days, mut stale_hours) = (Vec::new(), Vec::new());
        for span in stale {
            match *span {
                Span::Day(day) if (from_day..to_day).contains(&day) => stale_days.push(day),
                Span::Hour(hour) if (from_hour..to_hour).contains(&hour) => {
                    stale_hours.push(hour);
                    stretches.push(span.bounds());
                }
                Span::Day(_) | Span::Hour(_) => {}
            }
        }
        if before.is_some_and(|before| before.rem_euclid(HOUR) != 0) {
            let (begin, _) = Span::hour_of(last).bounds();
            // Where both times lie in one hour, the first stretch is all there is.
            if begin >= first {
                stretches.push((begin, last));
            }
        }
        let stretches = joined(stretches);
        Self { from_day, to_day, stale_days, from_hour, to_hour, stale_hours, stretches }
    }
}

/// Stretches in order, with those that touch made one.
fn joined(stretches: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (first, last) in stretches {
        match joined.last_mut() {
            Some(before) if before.1.saturating_add(1) == first => before.1 = last,
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(unix_ms: i64) -> Filter {
        Filter { since_unix_ms: Some(unix_ms), ..Filter::default() }
    }

    #[test]
    fn every_millisecond_of_a_filter_is_in_one_source_and_no_other_is() {
        // The day of a stale hour is stale.
        let days = [1, 2].map(Span::Day);
        let stale: BTreeSet<_> = days.into_iter().chain([25, 30, 49].map(Span::Hour)).collect();
        let edges = [0, 5, HOUR, DAY, DAY + 1, DAY + 90, 25 * HOUR + 7, 26 * HOUR, 2 * DAY];
        let edges: Vec<_> = edges.into_iter().chain([2 * DAY + HOUR + 3, 3 * DAY]).collect();
        let bounds = || edges.iter().copied().map(Some).chain([None]);
        for (since_unix_ms, before_unix_ms) in bounds().flat_map(|a| bounds().map(move |b| (a, b)))
        {
            let filter = Filter { app: None, since_unix_ms, before_unix_ms };
            let sources = Sources::of(&filter, &stale);
            let near = |edge: i64| [edge - 1, edge, edge + 1, edge + HOUR / 2];
            for ms in edges.iter().copied().flat_map(near) {
                let (day, hour) = (ms.div_euclid(DAY), ms.div_euclid(HOUR));
                let by_day = (sources.from_day..sources.to_day).contains(&day)
                    && !sources.stale_days.contains(&day);
                let by_hour = (sources.from_hour..sources.to_hour).contains(&hour)
                    && !sources.stale_hours.contains(&hour)
                    && (day < sources.from_day
                        || day >= sources.to_day
                        || sources.stale_days.contains(&day));
                let stretches = sources.stretches.iter();
                let by_stretch = stretches.filter(|(a, b)| (*a..=*b).contains(&ms)).count();
                let times = usize::from(by_day) + usize::from(by_hour) + by_stretch;
                let (first, last) = filter.bounds();
                let within = usize::from((first..=last).contains(&ms));
                assert_eq!(times, within, "{ms} in {filter:?}: {sources:?}");
            }
        }
    }

    #[test]
    fn a_question_about_everything_reads_only_what_is_stale() {
        let stale = BTreeSet::from([Span::Day(2), Span::Hour(49), Span::Hour(50), Span::Hour(60)]);
        let sources = Sources::of(&Filter::default(), &stale);
        assert_eq!((sources.from_day, sources.from_hour), (i64::MIN, i64::MIN));
        assert_eq!(
            (&sources.stale_days[..], &sources.stale_hours[..]),
            (&[2][..], &[49, 50, 60][..])
        );
        assert_eq!(sources.stretches, [(49 * HOUR, 51 * HOUR - 1), (60 * HOUR, 61 * HOUR - 1)]);
    }

    #[test]
    fn a_question_from_within_an_hour_reads_the_rest_of_that_hour() {
        let sources = Sources::of(&since(DAY + HOUR + 5), &BTreeSet::from([Span::Hour(25)]));
        assert_eq!((sources.from_day, sources.from_hour), (2, 26));
        assert!(sources.stale_hours.is_empty(), "a part of an hour is never taken from a rollup");
        assert_eq!(sources.stretches, [(DAY + HOUR + 5, DAY + 2 * HOUR - 1)]);
        let whole = Sources::of(&since(DAY), &BTreeSet::new());
        assert_eq!((whole.from_day, whole.from_hour, whole.stretches), (1, 24, vec![]));
    }

    #[test]
    fn spans_at_the_edges_hold_the_times_at_the_edges() {
        for edge in [i64::MIN, -1, 0, i64::MAX] {
            for span in [Span::hour_of(edge), Span::day_of(edge)] {
                let (first, last) = span.bounds();
                assert!(first <= edge && edge <= last, "{edge} in {span:?}: {first}..={last}");
            }
        }
        assert_eq!(Span::hour_of(-1).bounds(), (-HOUR, -1));
    }
}

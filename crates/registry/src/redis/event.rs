//! What comes over an instance's channel. The scripts write it, so its form is between them and
//! this file: lines, and behind them a frame, which may have line breaks itself.

use p2p_wire::{AppId, AttemptId, PeerId, RequestId, RoomName, SessionId};

use crate::notice::Presence;

/// One event.
#[derive(Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// A frame for some peers; with the room and its version, where it is about one.
    Frame { app: AppId, room: Option<(RoomName, u64)>, to: Vec<(PeerId, u64)>, frame: &'a str },
    /// A message in some inboxes, with its number in each.
    Message { app: AppId, to: Vec<(PeerId, u64, u64)>, mail: Mail },
    /// A receipt.
    Receipt { app: AppId, to: (PeerId, u64), id: RequestId, status: &'a str, frame: &'a str },
    /// A newer connection took over.
    Replaced { app: AppId, peer: PeerId, epoch: u64 },
    /// Where a side of attempts is now that this instance watches.
    Side { app: AppId, peer: PeerId, presence: Presence, attempts: Vec<AttemptId> },
    /// What another instance hands to this one, whatever it is.
    PassedOn(&'a str),
    /// Another instance asks whether anybody hears.
    AreYouThere,
    /// This instance asks itself whether it hears: which of its channels, and the number.
    Probe(usize, u64),
}

/// A message without its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) from: PeerId,
    pub(super) session: SessionId,
    pub(super) id: RequestId,
    pub(super) to_room: bool,
    /// The frame behind the number.
    pub(super) rest: std::sync::Arc<str>,
}

/// What a text for an instance begins with; the text follows.
pub(super) const PASSED_ON: &str = "x";

/// Whoever hears this has nothing to do.
pub(super) const ARE_YOU_THERE: &str = "!";

/// What a probe begins with; the channel and the number follow.
pub(super) const PROBE: &str = "?";

impl<'a> Event<'a> {
    /// Reads an event; `None` is one that no script writes.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut lines = Lines(text);
        Some(match lines.next()? {
            PROBE => Self::Probe(lines.parse()?, lines.parse()?),
            PASSED_ON => Self::PassedOn(lines.0),
            "f" => {
                let app = lines.parse()?;
                let room = lines.next()?.split_once('/');
                let room = room.and_then(|(room, v)| Some((room.parse().ok()?, v.parse().ok()?)));
                let count: usize = lines.parse()?;
                let to = (0..count)
                    .map(|_| Some((lines.parse()?, lines.parse()?)))
                    .collect::<Option<_>>()?;
                Self::Frame { app, room, to, frame: lines.0 }
            }
            "m" => {
                let app = lines.parse()?;
                let (from, session, id) = (lines.parse()?, lines.parse()?, lines.parse()?);
                let to_room = lines.next()? == "1";
                let count: usize = lines.parse()?;
                let to = (0..count)
                    .map(|_| Some((lines.parse()?, lines.parse()?, lines.parse()?)))
                    .collect::<Option<_>>()?;
                let mail = Mail { from, session, id, to_room, rest: lines.0.into() };
                Self::Message { app, to, mail }
            }
            "c" => {
                let app = lines.parse()?;
                let to = (lines.parse()?, lines.parse()?);
                let (id, status) = (lines.parse()?, lines.next()?);
                Self::Receipt { app, to, id, status, frame: lines.0 }
            }
            "w" => {
                let (app, peer) = (lines.parse()?, lines.parse()?);
                let presence = presence(lines.next()?)?;
                let attempts = lines.0.lines().map(str::parse).collect::<Result<_, _>>().ok()?;
                Self::Side { app, peer, presence, attempts }
            }
            ARE_YOU_THERE => Self::AreYouThere,
            "e" => {
                Self::Replaced { app: lines.parse()?, peer: lines.parse()?, epoch: lines.parse()? }
            }
            _ => return None,
        })
    }
}

/// A peer's state in the words of the scripts.
pub(super) fn presence(word: &str) -> Option<Presence> {
    match word {
        "on" => Some(Presence::On),
        "away" => Some(Presence::Away),
        "gone" => Some(Presence::Gone),
        _ => None,
    }
}

struct Lines<'a>(&'a str);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest) = self.0.split_once('\n').unwrap_or((self.0, ""));
        self.0 = rest;
        Some(line)
    }

    fn parse<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_the_line_breaks_of_its_payload() {
        let text = "m\napp\nalice\ns\nm1\n0\n1\nbob\n7\n3\n,\"payload\":{\n}}";
        let Some(Event::Message { to, mail, .. }) = Event::parse(text) else {
            panic!("not a message");
        };
        assert_eq!(to, [("bob".parse().unwrap(), 7, 3)]);
        assert_eq!(&*mail.rest, ",\"payload\":{\n}}");
    }

    #[test]
    fn where_a_side_is_names_the_attempts_that_it_is_about() {
        let Some(Event::Side { presence, attempts, .. }) =
            Event::parse("w\napp\nbob\naway\na1.x\na2.x")
        else {
            panic!("not a side");
        };
        assert_eq!(presence, Presence::Away);
        assert_eq!(attempts, ["a1.x".parse().unwrap(), "a2.x".parse().unwrap()]);
    }

    #[test]
    fn what_no_script_writes_is_no_event() {
        for text in ["", "y", "f\napp", "f\napp\n-\n2\nbob\n1\n{}", "m\n{}\n", "e\napp\nbob\nx"] {
            assert_eq!(Event::parse(text), None, "{text:?}");
        }
    }
}

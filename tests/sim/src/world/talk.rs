//! What the sides of a call have to say to each other, again and again.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{QUIC, World};
use crate::coordinator::Call;

/// Packets of a transfer that may be on their way.
const WINDOW: u64 = 10;
/// How long a transfer waits for an acknowledgement before it says its last packet again, and then
/// twice as long each time, as QUIC does (RFC 9002 §6.2.1).
const PROBE: Duration = Duration::from_millis(150);

/// Data that a call's sides send.
pub(super) struct Talk {
    call: Call,
    every: Duration,
    next: Instant,
    count: u64,
    kind: Kind,
}

enum Kind {
    /// Both sides send, whatever they hear.
    Talk,
    /// The caller sends whatever it hears, and so much of it has been acknowledged.
    Lecture(usize),
    /// The caller sends what the other side's acknowledgements let it.
    Transfer(Transfer),
}

/// How far a transfer is.
struct Transfer {
    /// Packets that the other side had when it acknowledged last.
    arrived: usize,
    /// Acknowledgements that the caller has seen.
    seen: usize,
    /// The highest packet that they name.
    acknowledged: u64,
    patience: Duration,
    probe: Instant,
}

impl Talk {
    pub(super) fn due(&self) -> Instant {
        match &self.kind {
            Kind::Transfer(transfer) if self.count > transfer.acknowledged => {
                self.next.min(transfer.probe)
            }
            Kind::Talk | Kind::Lecture(_) | Kind::Transfer(_) => self.next,
        }
    }
}

impl World {
    /// From here on both sides send a packet this often.
    pub fn talk(&mut self, call: &Call, every: Duration) {
        self.begin(call, every, Kind::Talk);
    }

    /// From here on the caller sends a packet this often, and the other side only acknowledges what
    /// has come.
    pub fn lecture(&mut self, call: &Call, every: Duration) {
        let heard = self.side(&call.callee, call).received.len();
        self.begin(call, every, Kind::Lecture(heard));
    }

    /// From here on the caller sends a packet this often, as long as the other side acknowledges them.
    /// Nothing else of the call's may be under way.
    /// Without that it says its last packet again, more and more rarely. Both sides also do so when
    /// their node has found another path, or that the one they have answers.
    pub fn transfer(&mut self, call: &Call, every: Duration) {
        let count = |side| self.side(side, call).received.len();
        let transfer = Transfer {
            arrived: count(&call.callee),
            seen: count(&call.caller),
            acknowledged: 0,
            patience: PROBE,
            probe: self.clock.now(),
        };
        self.begin(call, every, Kind::Transfer(transfer));
    }

    /// Everybody falls silent.
    pub fn hush(&mut self) {
        self.talks.clear();
    }

    fn begin(&mut self, call: &Call, every: Duration, kind: Kind) {
        let next = self.clock.now();
        self.talks.push(Talk { call: call.clone(), every, next, count: 0, kind });
    }

    pub(super) fn keep_talking(&mut self, now: Instant) {
        let mut talks = std::mem::take(&mut self.talks);
        for talk in &mut talks {
            let Talk { call, every, next, count, kind } = talk;
            let due = *next <= now;
            if due {
                *next = now + *every;
            }
            match kind {
                Kind::Talk if due => {
                    *count += 1;
                    for side in [&call.caller, &call.callee] {
                        self.send(side, call, &format!("{side} {count}"));
                    }
                }
                Kind::Talk => {}
                Kind::Lecture(acknowledged) => {
                    if due {
                        *count += 1;
                        self.send(&call.caller, call, &format!("{} {count}", call.caller));
                    }
                    let heard = self.side(&call.callee, call).received.len();
                    for number in *acknowledged..heard {
                        self.send(&call.callee, call, &format!("ack {}", number + 1));
                    }
                    *acknowledged = heard;
                }
                Kind::Transfer(transfer) => self.go_on(call, transfer, count, due, now),
            }
        }
        self.talks = talks;
    }

    fn go_on(
        &mut self,
        call: &Call,
        transfer: &mut Transfer,
        count: &mut u64,
        due: bool,
        now: Instant,
    ) {
        let arrived = self.numbers(&call.callee, call, &mut transfer.arrived, ' ');
        if let Some(highest) = arrived {
            self.send_last(&call.callee, call, &format!("ack:{highest}"));
        }
        let acknowledged = self.numbers(&call.caller, call, &mut transfer.seen, ':');
        if let Some(highest) = acknowledged.filter(|highest| *highest > transfer.acknowledged) {
            transfer.acknowledged = highest;
            transfer.patience = PROBE;
            transfer.probe = now + PROBE;
        }
        let under_way = *count - transfer.acknowledged;
        if due && under_way < WINDOW {
            *count += 1;
            transfer.probe = now + transfer.patience;
        } else if under_way > 0 && transfer.probe <= now {
            transfer.patience *= 2;
            transfer.probe = now + transfer.patience;
        } else {
            return;
        }
        self.send_last(&call.caller, call, &format!("{} {count}", call.caller));
    }

    /// The highest of the numbers that a side has received since this was asked last.
    fn numbers(&self, side: &str, call: &Call, from: &mut usize, before: char) -> Option<u64> {
        let received = &self.side(side, call).received;
        let fresh = &received[std::mem::replace(from, received.len())..];
        let texts = fresh.iter().filter_map(|r| std::str::from_utf8(&r.payload[1..]).ok());
        texts.filter_map(|text| text.rsplit(before).next()?.parse().ok()).max()
    }

    /// Sends what is said again over another path.
    fn send_last(&mut self, from: &str, call: &Call, text: &str) {
        let mut payload = vec![QUIC];
        payload.extend_from_slice(text.as_bytes());
        let (from, payload) = (self.index(from), Bytes::from(payload));
        self.peers[from.0].keep(&call.id, &payload);
        self.send_bytes(from, &call.id, &payload);
    }
}

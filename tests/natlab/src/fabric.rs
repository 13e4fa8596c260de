//! What the lab's internet does to a frame: how long it takes, whether it is lost, how far it is.
//!
//! No I/O: frames and the time go in, frames that are due come out. [`crate::switch`] carries them.
//! Delay and loss are the lab's own because `tc netem` is not in every kernel.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

/// How long a frame may wait for its turn where the rate is limited; longer, and it is lost.
const LONGEST_QUEUE: Duration = Duration::from_millis(100);
/// Frames under way at once; a second of a full gigabit. More are dropped, as by any router.
const MAX_UNDER_WAY: usize = 65_536;
const ETHERNET_HEADER: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
/// RFC 8489 §5: what every STUN message has after its type and length.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];

/// Where something is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    Servers,
    SiteA,
    SiteB,
}

impl Port {
    pub const ALL: [Self; 3] = [Self::Servers, Self::SiteA, Self::SiteB];
}

/// How the internet between the sites and the servers is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// From one site to the other.
    pub between_sites: Way,
    /// From a site to the servers.
    pub to_servers: Way,
    /// What the losses are drawn from.
    pub seed: u64,
}

/// One stretch of it, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Way {
    /// One way.
    pub delay: Duration,
    /// Lost packets in percent.
    pub loss: f64,
    /// Routers on it: each takes one from a packet's time to live.
    pub hops: u8,
    /// Nothing passes.
    pub cut: bool,
    /// Bytes a second in either direction, where there is a limit.
    pub rate: Option<u64>,
}

impl Weather {
    /// No delay, no loss and no hops: one segment.
    pub const CALM: Self = Self { between_sites: Way::NEAR, to_servers: Way::NEAR, seed: 0 };

    /// 50 ms of round trip between the sites and 40 ms to the servers.
    pub const FAR: Self = Self {
        between_sites: Way { delay: Duration::from_millis(25), hops: 6, ..Way::NEAR },
        to_servers: Way { delay: Duration::from_millis(20), hops: 4, ..Way::NEAR },
        seed: 0,
    };

    /// The same with this loss on the way between the sites, from a seed that is printed.
    #[must_use]
    pub fn with_loss(mut self, percent: f64, seed: u64) -> Self {
        self.between_sites.loss = percent;
        self.seed = seed;
        self
    }

    /// The same with this loss on every way.
    #[must_use]
    pub fn with_loss_everywhere(mut self, percent: f64, seed: u64) -> Self {
        self.to_servers.loss = percent;
        self.with_loss(percent, seed)
    }

    /// The same with this many bytes a second in either direction of every way.
    #[must_use]
    pub fn with_rate(mut self, rate: u64) -> Self {
        self.between_sites.rate = Some(rate);
        self.to_servers.rate = Some(rate);
        self
    }

    fn way(&self, one: Port, other: Port) -> &Way {
        if one == Port::Servers || other == Port::Servers {
            &self.to_servers
        } else {
            &self.between_sites
        }
    }
}

impl Way {
    const NEAR: Self = Self { delay: Duration::ZERO, loss: 0.0, hops: 0, cut: false, rate: None };
}

/// What has crossed between the sites, and what has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Bytes of IPv4 packets from one site to the other.
    pub bytes: u64,
    /// The packets.
    pub packets: u64,
    /// STUN Binding requests among them: what checks cost the network.
    pub checks: u64,
    /// Packets on any way that the weather has swallowed.
    pub lost: u64,
    /// Packets on any way that found no room.
    pub overflowed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Fabric {
    weather: Weather,
    rng: StdRng,
    learnt: HashMap<[u8; 6], Port>,
    under_way: BinaryHeap<Reverse<Parcel>>,
    /// When the last frame on a way is due: a shorter delay must not let the next one overtake it.
    last_due: HashMap<(Port, Port), Instant>,
    /// When a way with a limited rate has carried what it has taken.
    free_at: HashMap<(Port, Port), Instant>,
    next_number: u64,
    counts: Counts,
}

/// A frame under way. Ordered by when it is due, then by when it came.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    due: Instant,
    number: u64,
    to: Port,
    frame: Vec<u8>,
}

impl Fabric {
    pub fn new(weather: Weather) -> Self {
        Self {
            weather,
            rng: StdRng::seed_from_u64(weather.seed),
            learnt: HashMap::new(),
            under_way: BinaryHeap::new(),
            last_due: HashMap::new(),
            free_at: HashMap::new(),
            next_number: 0,
            counts: Counts::default(),
        }
    }

    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    pub fn weather(&self) -> Weather {
        self.weather
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a frame that came in at `from`.
    pub fn accept(&mut self, from: Port, frame: &[u8], now: Instant) {
        let Some((destination, source)) = addresses(frame) else { return };
        self.learnt.insert(source, from);
        match self.learnt.get(&destination) {
            Some(to) if *to == from => {}
            Some(to) => self.carry(from, *to, frame, now),
            None => {
                for to in Port::ALL.into_iter().filter(|to| *to != from) {
                    self.carry(from, to, frame, now);
                }
            }
        }
    }

    /// The next frame that is due, and where it goes.
    pub fn take_due(&mut self, now: Instant) -> Option<(Port, Vec<u8>)> {
        let Reverse(next) = self.under_way.peek()?;
        if next.due > now {
            return None;
        }
        let Reverse(parcel) = self.under_way.pop()?;
        Some((parcel.to, parcel.frame))
    }

    /// When [`Fabric::take_due`] has something.
    pub fn next_due(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(parcel)| parcel.due)
    }

    fn carry(&mut self, from: Port, to: Port, frame: &[u8], now: Instant) {
        let mut frame = frame.to_vec();
        let way = *self.weather.way(from, to);
        // Who owns an address is asked on the segment itself: that is no part of the internet.
        let Some(packet) = Packet::of(&mut frame) else {
            return self.post(to, frame, now);
        };
        if from != Port::Servers && to != Port::Servers {
            self.counts.packets += 1;
            self.counts.bytes += packet.len() as u64;
            self.counts.checks += u64::from(packet.is_check());
        }
        if way.cut || !packet.age(way.hops) || self.rng.random_bool(way.loss / 100.0) {
            self.counts.lost += 1;
            return;
        }
        let Some(sent) = self.take_turn(from, to, way.rate, frame.len(), now) else {
            self.counts.lost += 1;
            return;
        };
        let due = sent + way.delay;
        let due = self.last_due.get(&(from, to)).map_or(due, |last| due.max(*last));
        self.last_due.insert((from, to), due);
        self.post(to, frame, due);
    }

    /// When a frame has left, where only so much leaves in a second; `None` if the queue is full.
    fn take_turn(
        &mut self,
        from: Port,
        to: Port,
        rate: Option<u64>,
        len: usize,
        now: Instant,
    ) -> Option<Instant> {
        let Some(rate) = rate else { return Some(now) };
        let free_at = self.free_at.entry((from, to)).or_insert(now);
        let start = now.max(*free_at);
        if start.saturating_duration_since(now) > LONGEST_QUEUE {
            return None;
        }
        *free_at = start + Duration::from_secs_f64(len as f64 / rate.max(1) as f64);
        Some(*free_at)
    }

    fn post(&mut self, to: Port, frame: Vec<u8>, due: Instant) {
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.counts.overflowed += 1;
            return;
        }
        self.next_number += 1;
        let number = self.next_number;
        self.under_way.push(Reverse(Parcel { due, number, to, frame }));
    }
}

/// Destination and source.
fn addresses(frame: &[u8]) -> Option<([u8; 6], [u8; 6])> {
    let (destination, rest) = frame.split_first_chunk()?;
    let (source, _) = rest.split_first_chunk()?;
    Some((*destination, *source))
}

/// The IPv4 packet in a frame.
struct Packet<'a>(&'a mut [u8]);

impl<'a> Packet<'a> {
    fn of(frame: &'a mut [u8]) -> Option<Self> {
        let packet = frame.get(12..14)? == IPV4.as_slice();
        let packet = packet.then(|| &mut frame[ETHERNET_HEADER..])?;
        (packet.len() >= 20 && packet[0] >> 4 == 4).then_some(Self(packet))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_check(&self) -> bool {
        let header = usize::from(self.0[0] & 0xf) * 4;
        let payload = self.0.get(header + 8..).unwrap_or_default();
        self.0[9] == UDP
            && payload.starts_with(&BINDING_REQUEST)
            && payload.get(4..8) == Some(MAGIC_COOKIE.as_slice())
    }

    /// Takes the hops from the time to live (RFC 791 §3.2); `false` if it does not last so long.
    fn age(self, hops: u8) -> bool {
        let Some(left) = self.0[8].checked_sub(hops).filter(|left| *left > 0) else {
            return false;
        };
        let word = |packet: &[u8]| u16::from_be_bytes([packet[8], packet[9]]);
        let before = word(self.0);
        self.0[8] = left;
        // RFC 1624 §3: the header's checksum changes by what has changed.
        let sum = !u16::from_be_bytes([self.0[10], self.0[11]]);
        let sum = u32::from(sum) + u32::from(!before) + u32::from(word(self.0));
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !u16::try_from(sum & 0xffff).unwrap_or(u16::MAX);
        self.0[10..12].copy_from_slice(&sum.to_be_bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

    /// An IPv4 packet over UDP from `source` to `destination` with this mark in it.
    fn frame(destination: [u8; 6], source: [u8; 6], mark: u16) -> Vec<u8> {
        let mut frame = [destination.as_slice(), &source, &IPV4].concat();
        let mut packet = vec![0x45, 0, 0, 30, 0, 0, 0, 0, 64, UDP, 0, 0];
        packet.extend([203, 0, 113, 11, 203, 0, 113, 12, 0, 1, 0, 2, 0, 10, 0, 0]);
        packet.extend(mark.to_be_bytes());
        let sum = !checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// The sum over a header; all ones where its checksum is right.
    fn checksum(header: &[u8]) -> u16 {
        let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::try_from((sum & 0xffff) + (sum >> 16)).expect("sixteen bits")
    }

    fn drain(fabric: &mut Fabric, now: Instant) -> Vec<(Port, Vec<u8>)> {
        std::iter::from_fn(|| fabric.take_due(now)).collect()
    }

    fn introduce(fabric: &mut Fabric, now: Instant) {
        fabric.accept(Port::SiteA, &frame(B, A, 0), now);
        fabric.accept(Port::SiteB, &frame(A, B, 0), now);
        drain(fabric, now + Duration::from_secs(1));
    }

    #[test]
    fn a_packet_takes_as_long_as_its_way_and_order_is_kept() {
        let (mut fabric, start) = (Fabric::new(Weather::FAR), Instant::now());
        introduce(&mut fabric, start);
        let sent = start + Duration::from_secs(2);
        for mark in 0..100 {
            fabric.accept(Port::SiteA, &frame(B, A, mark), sent);
        }
        let due = sent + Duration::from_millis(25);
        assert_eq!(fabric.next_due(), Some(due));
        assert!(fabric.take_due(due - Duration::from_millis(1)).is_none());
        let arrived = drain(&mut fabric, due);
        let marks: Vec<u16> = arrived
            .iter()
            .map(|(_, frame)| u16::from_be_bytes([frame[frame.len() - 2], frame[frame.len() - 1]]))
            .collect();
        assert!(arrived.iter().all(|(to, _)| *to == Port::SiteB));
        assert_eq!(marks, (0..100).collect::<Vec<u16>>());
    }

    #[test]
    fn a_shorter_way_does_not_let_packets_overtake() {
        let (mut fabric, start) = (Fabric::new(Weather::FAR), Instant::now());
        introduce(&mut fabric, start);
        fabric.accept(Port::SiteA, &frame(B, A, 1), start);
        fabric.set_weather(Weather::CALM);
        fabric.accept(Port::SiteA, &frame(B, A, 2), start);
        assert!(fabric.take_due(start).is_none());
        assert_eq!(drain(&mut fabric, start + Duration::from_millis(25)).len(), 2);
    }

    #[test]
    fn losses_are_as_many_as_asked_for_and_the_same_for_the_same_seed() {
        let count = |seed| {
            let mut fabric = Fabric::new(Weather::FAR.with_loss(5.0, seed));
            let now = Instant::now();
            introduce(&mut fabric, now);
            for mark in 0..10_000 {
                fabric.accept(Port::SiteA, &frame(B, A, mark), now);
            }
            fabric.counts().lost
        };
        assert!((400..600).contains(&count(7)), "{} of 10,000", count(7));
        assert_eq!(count(7), count(7));
        assert_ne!(count(7), count(8));
    }

    #[test]
    fn hops_are_taken_from_the_time_to_live_and_the_checksum_stays_right() {
        let (mut fabric, now) = (Fabric::new(Weather::FAR), Instant::now());
        introduce(&mut fabric, now);
        fabric.accept(Port::SiteA, &frame(B, A, 1), now);
        let (_, arrived) = fabric.take_due(now + Duration::from_millis(25)).expect("arrives");
        assert_eq!(arrived[ETHERNET_HEADER + 8], 58);
        assert_eq!(checksum(&arrived[ETHERNET_HEADER..ETHERNET_HEADER + 20]), 0xffff);

        let mut short = frame(B, A, 2);
        short[ETHERNET_HEADER + 8] = 6;
        fabric.accept(Port::SiteA, &short, now);
        assert!(fabric.next_due().is_none(), "it dies on the way");
    }

    #[test]
    fn nothing_passes_where_the_way_is_cut() {
        let mut weather = Weather::CALM;
        weather.between_sites.cut = true;
        let (mut fabric, now) = (Fabric::new(weather), Instant::now());
        fabric.accept(Port::SiteA, &frame(B, A, 1), now);
        let reached: Vec<Port> = drain(&mut fabric, now).into_iter().map(|(to, _)| to).collect();
        assert_eq!(reached, [Port::Servers]);
    }

    #[test]
    fn a_limited_way_carries_its_rate_and_drops_what_waits_too_long() {
        let (mut fabric, start) = (Fabric::new(Weather::CALM.with_rate(44_000)), Instant::now());
        introduce(&mut fabric, start);
        let sent = start + Duration::from_secs(10);
        // Each of 44 bytes: a millisecond at this rate.
        for mark in 0..1000 {
            fabric.accept(Port::SiteA, &frame(B, A, mark), sent);
        }
        let arrived = drain(&mut fabric, sent + Duration::from_millis(50)).len();
        assert!((49..=50).contains(&arrived), "{arrived} in 50 ms");
        let rest = drain(&mut fabric, sent + Duration::from_secs(1)).len();
        assert!((100..=102).contains(&(arrived + rest)), "{} got a place", arrived + rest);
    }

    #[test]
    fn checks_between_the_sites_are_counted_apart_from_data() {
        let (mut fabric, now) = (Fabric::new(Weather::CALM), Instant::now());
        introduce(&mut fabric, now);
        let before = fabric.counts();
        let mut check = frame(B, A, u16::from_be_bytes(BINDING_REQUEST));
        check.extend([0, 0]);
        check.extend(MAGIC_COOKIE);
        fabric.accept(Port::SiteA, &check, now);
        fabric.accept(Port::SiteA, &frame(B, A, 9), now);
        let after = fabric.counts();
        assert_eq!((after.checks - before.checks, after.packets - before.packets), (1, 2));
    }
}

//! What only fresh sockets can find out (RFC 5780 §4.4): which packets the NAT lets in, whether two
//! hosts behind it reach each other by their public addresses, and which ports it gives to new
//! flows.
//!
//! A [`Task`] says what to measure. The caller opens [`Task::sockets`] new UDP sockets, drives a
//! [`Probe`] over them until it has an outcome, closes them, and hands the outcome to the node. That
//! takes less than a second on ordinary lines and holds up nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_nat::classify::Behaviour;
use p2p_nat::ports;
use p2p_wire::Filtering;
use rand::RngCore;

use crate::stun::{self, Change, Class, TransactionId};

/// Silence is the answer that a filter gives, so it has to be told from loss: each request goes out
/// three times, at these multiples of the probe's step, and the probe ends at the last.
const SENDS: [u32; 3] = [0, 1, 3];
const END: u32 = 4;
/// The step is twice the round trip and at least this.
const SHORTEST_STEP: Duration = Duration::from_millis(100);
/// And at most this: a slower line gets a verdict, or none, all the same.
const LONGEST_STEP: Duration = Duration::from_millis(500);

const NO_ANSWER: &str = "the STUN server did not answer a second socket";
const NO_CHANGE: &str = "the STUN server does not answer from its second address when asked to";
const SATURATED: &str = "the STUN server has answered this network as often as it may for now";

/// What is to be measured, with which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// The server's address that is asked.
    pub server: SocketAddr,
    /// Its other address and port.
    pub other: SocketAddr,
    /// The round trip to it.
    pub rtt: Duration,
    /// Whether there is a NAT at all.
    pub translated: bool,
    /// Whether the kind of port allocation is not known yet.
    pub sample_ports: bool,
}

impl Task {
    /// How many new sockets it takes.
    #[must_use]
    pub fn sockets(&self) -> usize {
        match (self.sample_ports, self.translated) {
            (true, _) => ports::SAMPLES,
            (false, true) => 2,
            (false, false) => 1,
        }
    }
}

/// A datagram out of one of the fresh sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Which socket.
    pub socket: usize,
    /// Where it goes.
    pub to: SocketAddr,
    /// The datagram.
    pub payload: Bytes,
}

/// Measures once.
#[derive(Debug)]
pub struct Probe {
    task: Task,
    started: Instant,
    step: Duration,
    sends: usize,
    sockets: Vec<Socket>,
    /// Answers that are to come from elsewhere, to the first socket.
    by_port: Test,
    by_address: Test,
    hairpin: Option<Hairpin>,
    /// The server has named its other address, as it does within its limits.
    unlimited: bool,
    ended: bool,
}

#[derive(Debug)]
struct Socket {
    local_port: u16,
    id: TransactionId,
    mapped: Option<SocketAddr>,
}

#[derive(Debug)]
struct Test {
    change: Change,
    id: TransactionId,
    source: SocketAddr,
    result: Option<Reply>,
}

/// What came of asking for an answer from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// It came from there, so the filter lets it in.
    LetIn,
    /// The server answered from where it was asked, or refused.
    NotChanged,
}

/// Two of the sockets send to each other's external address, as two punching peers would.
#[derive(Debug)]
struct Hairpin {
    ids: [TransactionId; 2],
    started: Instant,
    sends: usize,
    arrived: bool,
}

impl Probe {
    /// `local_ports` are those of the fresh sockets, in the order of their numbers; the first is the
    /// one whose filter is measured.
    pub fn new(task: Task, local_ports: &[u16], now: Instant, rng: &mut dyn RngCore) -> Self {
        let mut id = || {
            let mut id = [0; 12];
            rng.fill_bytes(&mut id);
            id
        };
        let socket = |local_port: &u16| Socket { local_port: *local_port, id: id(), mapped: None };
        let sockets = local_ports.iter().map(socket).collect();
        let test = |change, id, source| Test { change, id, source, result: None };
        let next_port = SocketAddr::new(task.server.ip(), task.other.port());
        Self {
            task,
            started: now,
            step: (2 * task.rtt).clamp(SHORTEST_STEP, LONGEST_STEP),
            sends: 0,
            sockets,
            by_port: test(Change::Port, id(), next_port),
            by_address: test(Change::AddressAndPort, id(), task.other),
            hairpin: None,
            unlimited: false,
            ended: local_ports.is_empty(),
        }
    }

    /// Reads a datagram that came from `from` to this one of the sockets.
    pub fn handle_datagram(
        &mut self,
        socket: usize,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        rng: &mut dyn RngCore,
    ) {
        let Some((class, id)) = stun::peek(datagram) else { return };
        match class {
            Class::Request => {
                if let Some(hairpin) = &mut self.hairpin
                    && hairpin.ids.iter().enumerate().any(|(of, own)| *own == id && of != socket)
                {
                    hairpin.arrived = true;
                }
            }
            Class::Response if socket == 0 && id == self.by_port.id => {
                self.by_port.answer(from, datagram);
            }
            Class::Response if socket == 0 && id == self.by_address.id => {
                self.by_address.answer(from, datagram);
            }
            Class::Response => self.answer(socket, from, id, datagram, now, rng),
            Class::Indication => {}
        }
    }

    /// What is to be sent now.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Outgoing> {
        let mut out = Vec::new();
        if self.ended {
            return out;
        }
        if self.next_send().is_some_and(|due| due <= now) {
            self.sends += 1;
            self.send_all(&mut out);
        }
        let step = self.step;
        if let Some(hairpin) = &mut self.hairpin
            && hairpin.due(step).is_some_and(|due| due <= now)
        {
            hairpin.sends += 1;
            let peers = [(0, self.sockets[1].mapped), (1, self.sockets[0].mapped)];
            for (socket, to) in peers {
                let payload = Bytes::copy_from_slice(&stun::binding_request(hairpin.ids[socket]));
                out.extend(to.map(|to| Outgoing { socket, to, payload }));
            }
        }
        self.ended = self.started + END * self.step <= now || self.knows_everything();
        out
    }

    /// When [`Probe::handle_timeout`] is due; `None` when the outcome is there.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        if self.knows_everything() {
            return Some(self.started);
        }
        let hairpin = self.hairpin.as_ref().and_then(|hairpin| hairpin.due(self.step));
        let end = self.started + END * self.step;
        Some([self.next_send(), hairpin].into_iter().flatten().fold(end, Instant::min))
    }

    /// What was found out, once there is nothing more to wait for.
    pub fn outcome(&self) -> Option<Behaviour> {
        if !self.ended {
            return None;
        }
        let (filtering, filtering_unknown_because) = match self.filtering() {
            Ok(filtering) => (filtering, None),
            Err(why) => (Filtering::Unknown, Some(why)),
        };
        let samples: Vec<_> = self
            .sockets
            .iter()
            .filter_map(|socket| Some((socket.local_port, socket.mapped?.port())))
            .collect();
        Some(Behaviour {
            filtering,
            filtering_unknown_because,
            hairpin: self.hairpin.as_ref().map(|hairpin| hairpin.arrived),
            ports: ports::allocation(&samples),
        })
    }

    /// RFC 5780 §4.4. Silence counts only from a server that answers otherwise.
    fn filtering(&self) -> Result<Filtering, &'static str> {
        let answered = self.sockets.first().is_some_and(|socket| socket.mapped.is_some());
        match (self.by_address.result, self.by_port.result) {
            _ if !answered => Err(NO_ANSWER),
            (Some(Reply::LetIn), _) => Ok(Filtering::EndpointIndependent),
            (Some(Reply::NotChanged), _) | (_, Some(Reply::NotChanged)) => Err(NO_CHANGE),
            _ if !self.unlimited => Err(SATURATED),
            (None, Some(Reply::LetIn)) => Ok(Filtering::AddressDependent),
            (None, None) => Ok(Filtering::AddressAndPortDependent),
        }
    }

    fn answer(
        &mut self,
        socket: usize,
        from: SocketAddr,
        id: TransactionId,
        datagram: &[u8],
        now: Instant,
        rng: &mut dyn RngCore,
    ) {
        let Some(asked) = self.sockets.get_mut(socket) else { return };
        if asked.id != id || from != self.task.server || asked.mapped.is_some() {
            return;
        }
        asked.mapped = stun::mapped_address(datagram);
        if socket == 0 {
            self.unlimited = stun::other_address(datagram) == Some(self.task.other);
        }
        let both = self.sockets.len() > 1 && self.sockets[..2].iter().all(|s| s.mapped.is_some());
        if both && self.task.translated && self.hairpin.is_none() {
            let mut ids = [[0; 12]; 2];
            ids.iter_mut().for_each(|id| rng.fill_bytes(id));
            self.hairpin = Some(Hairpin { ids, started: now, sends: 0, arrived: false });
        }
    }

    fn send_all(&self, out: &mut Vec<Outgoing>) {
        let to = self.task.server;
        for (socket, asked) in self.sockets.iter().enumerate() {
            if asked.mapped.is_none() {
                let payload = Bytes::copy_from_slice(&stun::binding_request(asked.id));
                out.push(Outgoing { socket, to, payload });
            }
        }
        if self.by_address.result == Some(Reply::LetIn) {
            return;
        }
        for test in [&self.by_address, &self.by_port] {
            if test.result.is_none() {
                let payload = Bytes::copy_from_slice(&stun::change_request(test.id, test.change));
                out.push(Outgoing { socket: 0, to, payload });
            }
        }
    }

    fn next_send(&self) -> Option<Instant> {
        SENDS.get(self.sends).map(|times| self.started + *times * self.step)
    }

    fn knows_everything(&self) -> bool {
        self.by_address.result.is_some()
            && self.sockets.iter().all(|socket| socket.mapped.is_some())
            && self.hairpin.as_ref().is_none_or(|hairpin| hairpin.arrived)
    }
}

impl Test {
    /// An answer only proves something if it comes from where it was asked for, which has to be
    /// where it says that it comes from.
    fn answer(&mut self, from: SocketAddr, datagram: &[u8]) {
        let changed = from == self.source
            && stun::mapped_address(datagram).is_some()
            && stun::response_origin(datagram).is_none_or(|origin| origin == from);
        let result = if changed { Reply::LetIn } else { Reply::NotChanged };
        self.result.get_or_insert(result);
    }
}

impl Hairpin {
    fn due(&self, step: Duration) -> Option<Instant> {
        let unsent = !self.arrived && self.sends < 2;
        unsent.then(|| self.started + self.sends as u32 * step / 2)
    }
}

#[cfg(test)]
mod tests;

//! A Binding transaction over a stream, where STUN frames itself (RFC 8489 §6.2.2).

use std::net::SocketAddr;

use rand::RngCore;

use crate::stun::{self, Class, TransactionId};

/// What an answer may be long; a server that sends more is none.
const MAX_ANSWER: usize = 1024;
const HEADER: usize = 20;

/// One request and the answer to it.
#[derive(Debug)]
pub struct StreamBinding {
    id: TransactionId,
    received: Vec<u8>,
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The address and port that it saw.
    pub mapped: SocketAddr,
    /// Its other address and port, if it has one (RFC 5780 §7.4).
    pub other: Option<SocketAddr>,
}

/// What a server's bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There is more to come.
    Partial,
    /// The whole answer is there.
    Whole(Seen),
    /// This is no answer to the request.
    Garbage,
}

impl StreamBinding {
    /// A transaction with an id of its own.
    pub fn new(rng: &mut dyn RngCore) -> Self {
        let mut id = [0; 12];
        rng.fill_bytes(&mut id);
        Self { id, received: Vec::new() }
    }

    /// What is to be sent.
    #[must_use]
    pub fn request(&self) -> [u8; 20] {
        stun::binding_request(self.id)
    }

    /// Takes in what the server sent.
    pub fn receive(&mut self, bytes: &[u8]) -> Answer {
        if self.received.len() + bytes.len() > MAX_ANSWER {
            return Answer::Garbage;
        }
        self.received.extend_from_slice(bytes);
        let Some(length) = self.received.get(2..4) else { return Answer::Partial };
        let whole = HEADER + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if whole > MAX_ANSWER {
            return Answer::Garbage;
        }
        let Some(message) = self.received.get(..whole) else { return Answer::Partial };
        if stun::peek(message) != Some((Class::Response, self.id)) {
            return Answer::Garbage;
        }
        let other = stun::other_address(message);
        let seen = stun::mapped_address(message).map(|mapped| Seen { mapped, other });
        seen.map_or(Answer::Garbage, Answer::Whole)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use stun_types::attribute::{MappedSocketAddr, XorMappedAddress};
    use stun_types::message::{Message, MessageWrite, MessageWriteExt, MessageWriteVec};

    use super::*;

    fn answer(request: &[u8], mapped: &str, other: &str) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        let mut response = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(mapped.parse().unwrap(), request.transaction_id());
        response.add_attribute(&mapped).unwrap();
        let other = MappedSocketAddr::new(other.parse().unwrap());
        response.add_attribute(&other.to_raw(0x802c.into())).unwrap();
        response.finish()
    }

    #[test]
    fn an_answer_is_read_however_the_stream_cuts_it() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut binding = StreamBinding::new(&mut rng);
        let bytes = answer(&binding.request(), "203.0.113.11:40000", "203.0.113.2:3479");
        for byte in &bytes[..bytes.len() - 1] {
            assert_eq!(binding.receive(&[*byte]), Answer::Partial);
        }
        let mapped = "203.0.113.11:40000".parse().unwrap();
        let other = Some("203.0.113.2:3479".parse().unwrap());
        let seen = Answer::Whole(Seen { mapped, other });
        assert_eq!(binding.receive(&bytes[bytes.len() - 1..]), seen);
    }

    #[test]
    fn another_s_answer_and_what_is_no_stun_is_garbage() {
        let mut rng = StdRng::seed_from_u64(1);
        let request = StreamBinding::new(&mut rng).request();
        let other = answer(&request, "203.0.113.11:1", "203.0.113.2:3479");
        assert_eq!(StreamBinding::new(&mut rng).receive(&other), Answer::Garbage);
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert_eq!(StreamBinding::new(&mut rng).receive(http), Answer::Garbage);
        assert_eq!(StreamBinding::new(&mut rng).receive(&[0; 2_000]), Answer::Garbage);
    }
}

//! Whatever arrives, nothing panics and nobody gets anything without a credential (I3, I5).

use proptest::prelude::*;
use stun_types::message::{Message, MessageWrite as _, MessageWriteVec};
use turn_types::attribute::{
    ChannelNumber, Data, EvenPort, Lifetime, RequestedTransport, XorPeerAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};

use super::world::{Client, PEER, World, add, channel_data};

#[derive(Debug, Clone)]
enum Mutation {
    Flip {
        at: prop::sample::Index,
        bit: u8,
    },
    Truncate(prop::sample::Index),
    Insert {
        at: prop::sample::Index,
        bytes: Vec<u8>,
    },
    /// Sets a 16-bit field to a number, where lengths and types live.
    Overwrite {
        at: prop::sample::Index,
        value: u16,
    },
    FixLength,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        (index(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        index().prop_map(Mutation::Truncate),
        (index(), prop::collection::vec(any::<u8>(), 1..32))
            .prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        (index(), any::<u16>()).prop_map(|(at, value)| Mutation::Overwrite { at, value }),
        Just(Mutation::FixLength),
    ]
}

impl Mutation {
    fn apply(&self, message: &mut Vec<u8>) {
        if message.len() < 4 {
            return;
        }
        match self {
            Self::Flip { at, bit } => {
                let at = at.index(message.len());
                message[at] ^= 1 << bit;
            }
            Self::Truncate(at) => message.truncate(at.index(message.len())),
            Self::Insert { at, bytes } => {
                let at = at.index(message.len());
                message.splice(at..at, bytes.iter().copied());
            }
            Self::Overwrite { at, value } => {
                let at = at.index(message.len() - 1);
                message[at..at + 2].copy_from_slice(&value.to_be_bytes());
            }
            Self::FixLength => {
                let length = message.len().saturating_sub(20) as u16;
                message[2..4].copy_from_slice(&length.to_be_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_never_panic_and_never_make_state(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)
    ) {
        let mut world = World::new();
        for datagram in datagrams {
            world.feed("5.5.5.5:1000".parse().unwrap(), &datagram);
        }
        prop_assert_eq!((world.server.allocation_count(), world.sockets.len()), (0, 0));
        prop_assert_eq!(world.server.poll_timeout(), None);
    }

    /// Behind a good STUN header, so that the attributes are looked at.
    #[test]
    fn random_attributes_never_panic_and_never_make_state(
        method in prop::sample::select(vec![0x0001u16, 0x0003, 0x0004, 0x0008, 0x0009, 0x0016]),
        body in prop::collection::vec(any::<u8>(), 0..50)
    ) {
        let mut world = World::new();
        let mut datagram = method.to_be_bytes().to_vec();
        let mut body = body;
        body.resize(body.len().next_multiple_of(4), 0);
        datagram.extend((body.len() as u16).to_be_bytes());
        datagram.extend([0x21, 0x12, 0xa4, 0x42]);
        datagram.extend([7; 12]);
        datagram.extend(body);
        world.feed("5.5.5.5:1000".parse().unwrap(), &datagram);
        prop_assert_eq!(world.server.allocation_count(), 0);
        prop_assert_eq!(world.server.poll_timeout(), None);
    }

    /// A mutated message of a client without a credential gets at most a refusal.
    #[test]
    fn mutated_messages_of_a_stranger_make_no_state(
        kind in 0usize..6, mutations in prop::collection::vec(mutation(), 1..6)
    ) {
        let mut world = World::new();
        // Has a nonce, but not a password.
        let mallory = Client::new("5.5.5.5:1000", "alice", "guess").challenged(&mut world);
        let mut message = valid_message(&mallory, kind);
        for mutation in &mutations {
            mutation.apply(&mut message);
        }
        world.feed(mallory.addr, &message);
        prop_assert_eq!(world.server.allocation_count(), 0);
        prop_assert_eq!(world.server.poll_timeout(), None);
    }

    /// A mutated message in the middle of a session hurts neither the session nor the server.
    #[test]
    fn mutated_messages_inside_a_session_never_panic(
        kinds in prop::collection::vec((0usize..6, prop::collection::vec(mutation(), 0..4)), 1..8),
        pass in 0u64..1000
    ) {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice.allocate(&mut world).unwrap();
        alice.bind(&mut world, 0x4000, PEER).unwrap();
        for (kind, mutations) in kinds {
            let mut message = valid_message(&alice, kind);
            for mutation in &mutations {
                mutation.apply(&mut message);
            }
            world.feed(alice.addr, &message);
            while world.next_sent().is_some() {}
        }
        world.pass(super::world::seconds(pass));
        world.pass(super::world::seconds(10_000));
        prop_assert_eq!((world.server.allocation_count(), world.sockets.len()), (0, 0));
        prop_assert!(world.fast_path.is_empty());
    }
}

/// The class of CVE-2026-43994: lengths are checked before anything is computed from the content.
#[test]
fn oversized_values_are_refused_before_they_are_used() {
    use stun_types::attribute::RawAttribute;
    let mut world = World::new();
    let mut alice = Client::alice().challenged(&mut world);
    let huge = vec![b'x'; 60_000];
    alice.challenge = Some(("test".to_owned(), "n".repeat(700)));
    let request = alice.build(ALLOCATE, &|request, _| {
        add(request, &RawAttribute::new(0x8000.into(), &huge));
    });
    world.feed(alice.addr, &request);
    assert_eq!(alice.read(&world.answer_to(alice.addr)), Err(438));
}

#[test]
fn more_attributes_than_any_request_has_use_for_are_malformed() {
    let mut world = World::new();
    let mut request = Message::builder_request(ALLOCATE, MessageWriteVec::new());
    for _ in 0..65 {
        add(&mut request, &Lifetime::new(1));
    }
    world.feed("5.5.5.5:1000".parse().unwrap(), &request.finish());
    assert_eq!(world.count(p2p_turn_core::Reason::MalformedStun), 1);
}

fn valid_message(client: &Client, kind: usize) -> Vec<u8> {
    match kind {
        0 => client.build(ALLOCATE, &|request, _| {
            add(request, &RequestedTransport::new(RequestedTransport::UDP));
            add(request, &EvenPort::new(true));
        }),
        1 => client.build(REFRESH, &|request, _| add(request, &Lifetime::new(900))),
        2 => client.build(CREATE_PERMISSION, &|request, id| {
            add(request, &XorPeerAddress::new(PEER.parse().unwrap(), id));
            add(request, &XorPeerAddress::new("[2606:4700::1]:5".parse().unwrap(), id));
        }),
        3 => client.build(CHANNEL_BIND, &|request, id| {
            add(request, &ChannelNumber::new(0x4001));
            add(request, &XorPeerAddress::new("9.9.9.9:9".parse().unwrap(), id));
        }),
        4 => {
            let mut indication = Message::builder_indication(SEND, MessageWriteVec::new());
            let id = stun_types::message::MessageWriteExt::transaction_id(&indication);
            add(&mut indication, &XorPeerAddress::new(PEER.parse().unwrap(), id));
            add(&mut indication, &Data::new(b"hello"));
            indication.finish()
        }
        _ => channel_data(0x4000, b"hello"),
    }
}

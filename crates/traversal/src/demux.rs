//! Telling apart what shares one UDP socket by its first byte (RFC 7983 §7, RFC 9443 §3).

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// STUN: Binding, TURN control, ICE checks.
    Stun,
    /// TURN ChannelData.
    ChannelData,
    /// QUIC.
    Quic,
    /// None of these.
    Other,
}

/// The kind of a datagram. A first byte of 64–79 is ChannelData; QUIC's short headers may begin
/// with it too, so the caller only takes it for ChannelData when it comes from its relay.
pub fn kind(datagram: &[u8], from_relay: bool) -> Kind {
    match datagram.first() {
        Some(0..=3) if datagram.len() >= 20 => Kind::Stun,
        Some(64..=79) if from_relay => Kind::ChannelData,
        Some(64..=127 | 192..=255) => Kind::Quic,
        Some(_) | None => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_decides() {
        let datagram = |first: u8| {
            let mut bytes = vec![0; 20];
            bytes[0] = first;
            bytes
        };
        assert_eq!(kind(&datagram(0), false), Kind::Stun);
        assert_eq!(kind(&datagram(1), true), Kind::Stun);
        assert_eq!(kind(&datagram(0x40), true), Kind::ChannelData);
        assert_eq!(kind(&datagram(0x40), false), Kind::Quic);
        assert_eq!(kind(&datagram(0xc3), false), Kind::Quic);
        assert_eq!(kind(&datagram(20), false), Kind::Other);
        assert_eq!(kind(&[], false), Kind::Other);
        assert_eq!(kind(&[0; 19], false), Kind::Other);
    }
}

//! Stateless nonces (RFC 8489 §9.2.4): the server recognises its own without keeping any (I3).
//!
//! A nonce is the second it was made and a MAC over that second and the client's transport
//! address. It is worthless from another address and goes stale by age, so a source that echoes a
//! fresh one has shown that it receives what is sent to it.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::addr::ClientAddr;

/// How far another server's clock may be ahead, when several share a key.
const SKEW: Duration = Duration::from_secs(30);
const MAC_LEN: usize = 14;
const RAW_LEN: usize = 4 + MAC_LEN;
/// 18 bytes are 24 characters, a multiple of four: the attribute needs no padding.
const TEXT_LEN: usize = 24;

/// The key nonces are made with. Servers that share clients share it.
#[derive(Clone)]
pub struct NonceKey(hmac::Key);

impl NonceKey {
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn mac(&self, made: u32, client: ClientAddr) -> [u8; MAC_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&made.to_be_bytes());
        match client.0.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&client.0.port().to_be_bytes());
        let tag = context.sign();
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&tag.as_ref()[..MAC_LEN]);
        mac
    }
}

/// The current key and, during a rotation, the one before it.
pub(crate) struct Nonces {
    current: NonceKey,
    previous: Option<NonceKey>,
    lifetime: Duration,
}

impl Nonces {
    pub(crate) fn new(key: NonceKey, lifetime: Duration) -> Self {
        Self { current: key, previous: None, lifetime }
    }

    /// Nonces of the key before stay good until they go stale or the next rotation comes.
    pub(crate) fn rotate(&mut self, key: NonceKey) {
        self.previous = Some(std::mem::replace(&mut self.current, key));
    }

    pub(crate) fn mint(&self, client: ClientAddr, now_unix: u64) -> String {
        // 32 bits of seconds wrap in 2106; ages are computed modulo 2³².
        let made = now_unix as u32;
        let mut raw = [0; RAW_LEN];
        raw[..4].copy_from_slice(&made.to_be_bytes());
        raw[4..].copy_from_slice(&self.current.mac(made, client));
        STANDARD_NO_PAD.encode(raw)
    }

    /// Whether the nonce was made here, for this client, recently.
    pub(crate) fn is_fresh(&self, nonce: &[u8], client: ClientAddr, now_unix: u64) -> bool {
        // The length is checked before any decoding or MAC (the class of CVE-2026-43994).
        let mut raw = [0; RAW_LEN];
        if nonce.len() != TEXT_LEN
            || !matches!(STANDARD_NO_PAD.decode_slice(nonce, &mut raw), Ok(RAW_LEN))
        {
            return false;
        }
        let (made, mac) = raw.split_at(4);
        let made = u32::from_be_bytes([made[0], made[1], made[2], made[3]]);
        let age = (now_unix as u32).wrapping_add(SKEW.as_secs() as u32).wrapping_sub(made);
        if u64::from(age) > (self.lifetime + SKEW).as_secs() {
            return false;
        }
        std::iter::once(&self.current)
            .chain(&self.previous)
            .any(|key| verify_slices_are_equal(&key.mac(made, client), mac).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_700_000_000;

    #[test]
    fn a_nonce_is_good_for_its_client_until_it_is_stale() {
        let nonces = nonces();
        let nonce = nonces.mint(client(1000), NOON);
        assert_eq!(nonce.len(), TEXT_LEN);
        assert!(nonces.is_fresh(nonce.as_bytes(), client(1000), NOON));
        assert!(nonces.is_fresh(nonce.as_bytes(), client(1000), NOON + 3600));
        assert!(!nonces.is_fresh(nonce.as_bytes(), client(1000), NOON + 3601));
    }

    #[test]
    fn a_nonce_is_worthless_from_another_address_or_port() {
        let nonces = nonces();
        let nonce = nonces.mint(client(1000), NOON);
        assert!(!nonces.is_fresh(nonce.as_bytes(), client(1001), NOON));
        let elsewhere = ClientAddr("203.0.113.8:1000".parse().unwrap());
        assert!(!nonces.is_fresh(nonce.as_bytes(), elsewhere, NOON));
    }

    #[test]
    fn a_nonce_from_a_clock_slightly_ahead_is_accepted_and_one_far_ahead_is_not() {
        let nonces = nonces();
        let ahead = |seconds| nonces.mint(client(1000), NOON + seconds);
        assert!(nonces.is_fresh(ahead(30).as_bytes(), client(1000), NOON));
        assert!(!nonces.is_fresh(ahead(31).as_bytes(), client(1000), NOON));
    }

    #[test]
    fn after_one_rotation_an_old_nonce_is_good_and_after_two_it_is_not() {
        let mut nonces = nonces();
        let nonce = nonces.mint(client(1000), NOON);
        nonces.rotate(NonceKey::new(&[2; 32]));
        assert!(nonces.is_fresh(nonce.as_bytes(), client(1000), NOON));
        nonces.rotate(NonceKey::new(&[3; 32]));
        assert!(!nonces.is_fresh(nonce.as_bytes(), client(1000), NOON));
    }

    #[test]
    fn garbage_is_not_a_nonce() {
        let nonces = nonces();
        let mut forged = nonces.mint(client(1000), NOON).into_bytes();
        forged[10] ^= 1;
        let long = vec![b'A'; 4096];
        for garbage in [&b""[..], b"A", b"====", &[0xff; TEXT_LEN], &long, &forged] {
            assert!(!nonces.is_fresh(garbage, client(1000), NOON));
        }
    }

    fn nonces() -> Nonces {
        Nonces::new(NonceKey::new(&[1; 32]), Duration::from_secs(3600))
    }

    fn client(port: u16) -> ClientAddr {
        ClientAddr(([203, 0, 113, 7], port).into())
    }
}

//! Asymmetric keys: public ones verify tokens, private ones sign them.
//!
//! A key has one algorithm, which its own type decides, and no way leads from here to HMAC: a
//! public key can never be taken for a shared secret (RFC 8725 §2.1).

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

use crate::claims::Claims;
use crate::der::{self, Element};
use crate::error::{KeyError, TokenError};
use crate::token::Token;

/// Keys that one file or key set may hold. Real ones hold two or three.
pub const MAX_KEYS: usize = 64;

/// Bits of an RSA modulus (RFC 7518 §3.3 asks for 2048; more than 8192 only costs time).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of a coordinate of P-256.
const P256_BYTES: usize = 32;
/// SEC 1 §2.3.3: an uncompressed point.
const UNCOMPRESSED: u8 = 4;

/// RFC 3279 §2.3.1: rsaEncryption, with its NULL.
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// RFC 5480 §2.1.1: id-ecPublicKey on secp256r1.
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// RFC 8410 §3: id-Ed25519.
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

/// What an asymmetric key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256 (RFC 7518 §3.3).
    Rs256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    Es256,
    /// Ed25519 (RFC 8037 §3.1).
    EdDsa,
}

impl KeyAlgorithm {
    /// The name in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Which algorithm a key's AlgorithmIdentifier (RFC 5280 §4.1.1.2) stands for.
    fn identified(identifier: &[u8]) -> Result<Self, KeyError> {
        match identifier {
            RSA => Ok(Self::Rs256),
            P256 => Ok(Self::Es256),
            ED25519 => Ok(Self::EdDsa),
            _ => Err(KeyError::Unsupported),
        }
    }

    pub(crate) fn of_library(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// A key that verifies tokens.
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: KeyAlgorithm,
    pub(crate) key: DecodingKey,
}

impl PublicKey {
    /// Reads every `PUBLIC KEY` block (RFC 7468 §13) of a text. Several are for a rotation: a token
    /// of any of them is accepted. They have no name, so they fit tokens of every `kid`.
    ///
    /// # Errors
    /// [`KeyError`] for a text without such a block, a private key, or a key of another kind.
    pub fn from_pem(text: &str) -> Result<Vec<Self>, KeyError> {
        let blocks = der::pem_blocks(text)?;
        if blocks.len() > MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        blocks
            .iter()
            .map(|(label, der)| match label.as_str() {
                "PUBLIC KEY" => Self::from_spki(der),
                label if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
                _ => Err(KeyError::Unsupported),
            })
            .collect()
    }

    /// SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    fn from_spki(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut info = der::only(bytes, Element::Sequence)?;
        let identifier = der::take(&mut info, Element::Sequence)?;
        let bits = der::take(&mut info, Element::BitString)?;
        // The first byte counts the bits that the last one lacks.
        let Some((0, key)) = bits.split_first() else { return Err(KeyError::Malformed) };
        match KeyAlgorithm::identified(identifier)? {
            KeyAlgorithm::Rs256 => {
                let mut numbers = der::only(key, Element::Sequence)?;
                let n = der::take(&mut numbers, Element::Integer)?;
                let e = der::take(&mut numbers, Element::Integer)?;
                Self::rsa(None, n, e)
            }
            KeyAlgorithm::Es256 => match key.split_first() {
                Some((&UNCOMPRESSED, point)) if point.len() == 2 * P256_BYTES => {
                    let (x, y) = point.split_at(P256_BYTES);
                    Self::p256(None, x, y)
                }
                _ => Err(KeyError::Malformed),
            },
            KeyAlgorithm::EdDsa => Self::ed25519(None, key),
        }
    }

    /// From the modulus and the exponent, big-endian.
    pub(crate) fn rsa(kid: Option<String>, n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let n = without_leading_zeros(n);
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaSize(bits));
        }
        let key = DecodingKey::from_rsa_raw_components(n, without_leading_zeros(e));
        Ok(Self { kid, algorithm: KeyAlgorithm::Rs256, key })
    }

    /// From a point's coordinates.
    pub(crate) fn p256(kid: Option<String>, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        if x.len() != P256_BYTES || y.len() != P256_BYTES {
            return Err(KeyError::Malformed);
        }
        let point = [&[UNCOMPRESSED], x, y].concat();
        Ok(Self { kid, algorithm: KeyAlgorithm::Es256, key: DecodingKey::from_ec_der(&point) })
    }

    /// From a point's 32 bytes.
    pub(crate) fn ed25519(kid: Option<String>, point: &[u8]) -> Result<Self, KeyError> {
        if point.len() != 32 {
            return Err(KeyError::Malformed);
        }
        Ok(Self { kid, algorithm: KeyAlgorithm::EdDsa, key: DecodingKey::from_ed_der(point) })
    }

    /// What it verifies.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Its name among its issuer's keys.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, kid {:?})", self.algorithm.as_str(), self.kid)
    }
}

/// A key that signs tokens. `Debug` hides it.
pub struct SigningKey {
    algorithm: KeyAlgorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// Reads a `PRIVATE KEY` block (PKCS #8, RFC 5958) or an `RSA PRIVATE KEY` block (PKCS #1),
    /// and tries the key.
    ///
    /// # Errors
    /// [`KeyError`] for a text without such a block, or a key that does not sign.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let blocks = der::pem_blocks(text)?;
        let (label, bytes) = blocks.first().ok_or(KeyError::NoKey)?;
        let (algorithm, key) = match label.as_str() {
            "PRIVATE KEY" => {
                let mut info = der::only(bytes, Element::Sequence)?;
                der::take(&mut info, Element::Integer)?;
                let algorithm = KeyAlgorithm::identified(der::take(&mut info, Element::Sequence)?)?;
                let key = match algorithm {
                    KeyAlgorithm::Rs256 => {
                        EncodingKey::from_rsa_der(der::take(&mut info, Element::OctetString)?)
                    }
                    KeyAlgorithm::Es256 => EncodingKey::from_ec_der(bytes),
                    KeyAlgorithm::EdDsa => EncodingKey::from_ed_der(bytes),
                };
                (algorithm, key)
            }
            "RSA PRIVATE KEY" => (KeyAlgorithm::Rs256, EncodingKey::from_rsa_der(bytes)),
            "PUBLIC KEY" => return Err(KeyError::Public),
            _ => return Err(KeyError::Unsupported),
        };
        let header = Header::new(algorithm.of_library());
        jsonwebtoken::encode(&header, &serde_json::json!({}), &key)
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self { algorithm, key })
    }

    /// What it signs with.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Signs claims.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] if the claims cannot be written as JSON.
    pub fn mint(&self, claims: &Claims) -> Result<Token, TokenError> {
        jsonwebtoken::encode(&Header::new(self.algorithm.of_library()), claims, &self.key)
            .map(Token::new)
            .map_err(|error| TokenError::Malformed(error.to_string()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, [redacted])", self.algorithm.as_str())
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

//! Where a request carries its token.
//!
//! Browsers cannot set headers on a WebSocket, so a token may also be a subprotocol or hide behind
//! a one-time ticket. It is never taken from the URL itself, where proxies would log it.

use std::sync::Arc;

use http::{HeaderMap, header};
use p2p_auth::{Grant, Token, TokenError};

use crate::clock;
use crate::instance::Instance;

/// What marks the subprotocol that is a token.
const BEARER_PROTOCOL: &str = "bearer.";

/// A request's proof of who sends it.
pub(crate) enum Presented {
    /// `Authorization: Bearer <JWT>`.
    Header(Token),
    /// `Sec-WebSocket-Protocol: p2p.v1, bearer.<JWT>`.
    Subprotocol(Token),
    /// `?ticket=…`.
    Ticket(String),
    /// None.
    Nothing,
}

impl Presented {
    /// Reads the headers of a request.
    pub(crate) fn in_headers(headers: &HeaderMap) -> Self {
        if let Some(token) = bearer(headers) {
            return Self::Header(token);
        }
        match protocols(headers).find_map(|p| p.strip_prefix(BEARER_PROTOCOL)) {
            Some(token) => Self::Subprotocol(Token::new(token)),
            None => Self::Nothing,
        }
    }

    /// Whether the sender can read the body of a refusal. A browser cannot: it is let in and told
    /// by an `error` frame and a close code.
    pub(crate) fn reads_http(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Header(_) => true,
            Self::Subprotocol(_) | Self::Ticket(_) => false,
            Self::Nothing => !headers.contains_key(header::ORIGIN),
        }
    }

    /// What the bearer may do.
    pub(crate) async fn verify(&self, instance: &Instance) -> Result<Arc<Grant>, TokenError> {
        let now = clock::unix_seconds();
        match self {
            Self::Header(token) | Self::Subprotocol(token) => {
                instance.keys.verify(token, now).await.map(Arc::new)
            }
            Self::Ticket(ticket) => instance.tickets.redeem(ticket).await,
            Self::Nothing => Err(TokenError::Missing),
        }
    }
}

/// The subprotocols that a request offers.
pub(crate) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// The token of an `Authorization` header (RFC 6750 §2.1). The scheme's case does not matter.
fn bearer(headers: &HeaderMap) -> Option<Token> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Token::new(token.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_either_place_and_the_header_wins() {
        let mut headers = HeaderMap::new();
        assert!(matches!(Presented::in_headers(&headers), Presented::Nothing));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "p2p.v1, bearer.abc".parse().unwrap());
        let Presented::Subprotocol(token) = Presented::in_headers(&headers) else { panic!() };
        assert_eq!(token.expose(), "abc");
        headers.insert(header::AUTHORIZATION, "bearer xyz".parse().unwrap());
        let Presented::Header(token) = Presented::in_headers(&headers) else { panic!() };
        assert_eq!(token.expose(), "xyz");
    }
}

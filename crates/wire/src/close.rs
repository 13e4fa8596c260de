//! WebSocket close codes, and which of them a client must not answer with another try.

use std::fmt;

/// Why the coordinator closed a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The message was not JSON, not UTF-8, or broke the protocol.
    BadMessage = 4400,
    /// The token is missing, malformed, expired, or not for this peer.
    Auth = 4401,
    /// The token does not allow this.
    NotAllowed = 4403,
    /// No heartbeat, or no hello, in time.
    HeartbeatLost = 4408,
    /// A newer connection of the same peer took over.
    Replaced = 4409,
    /// The session could not be resumed: its window has passed or its secret is wrong.
    SessionExpired = 4410,
    /// A message was over the size limit.
    TooLarge = 4413,
    /// Too many messages.
    TooFast = 4429,
    /// The instance is going away; another one takes the session.
    Draining = 4503,
}

impl CloseCode {
    /// All codes, in order.
    pub const ALL: [Self; 9] = [
        Self::BadMessage,
        Self::Auth,
        Self::NotAllowed,
        Self::HeartbeatLost,
        Self::Replaced,
        Self::SessionExpired,
        Self::TooLarge,
        Self::TooFast,
        Self::Draining,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The code of a number, if it is one of ours.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.code() == code)
    }

    /// Whether the client must not connect again by itself. Everything else is worth another try
    /// with full jitter.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::HeartbeatLost | Self::Draining)
    }

    /// What a person reads.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadMessage => "bad message",
            Self::Auth => "not authenticated",
            Self::NotAllowed => "not allowed",
            Self::HeartbeatLost => "heartbeat lost",
            Self::Replaced => "replaced by a newer connection",
            Self::SessionExpired => "session expired",
            Self::TooLarge => "message too large",
            Self::TooFast => "too many messages",
            Self::Draining => "draining, reconnect elsewhere",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_code(code.code()), Some(code));
        }
        assert_eq!(CloseCode::from_code(1006), None);
    }

    #[test]
    fn only_a_lost_heartbeat_and_a_drain_invite_another_try() {
        let retried: Vec<_> = CloseCode::ALL.into_iter().filter(|c| !c.is_terminal()).collect();
        assert_eq!(retried, [CloseCode::HeartbeatLost, CloseCode::Draining]);
    }
}

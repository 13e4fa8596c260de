//! Why a connection ends, and what its peer is told.

use p2p_registry::{End, RegistryError};
use p2p_wire::{CloseCode, Problem};

/// RFC 6455 §7.4.1, and the registry that it founds: try again later.
pub(crate) const TRY_AGAIN_LATER: u16 = 1013;
/// RFC 6455 §7.4.1: the purpose of the connection is fulfilled.
pub(crate) const NORMAL: u16 = 1000;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Closing {
    /// With a code of the protocol, after an `error` frame where there is more to say.
    Code(CloseCode, Option<Problem>),
    /// The instance cannot serve it at the moment; another try is welcome.
    TryLater(&'static str),
    /// The client said goodbye: code 1000 or none. Its session ends.
    Goodbye,
    /// The client closed with another code, or the connection broke. Its session can be resumed.
    Lost,
}

impl Closing {
    /// What a client's close frame means. A page that is left (1001) may come back, and so may
    /// every client that breaks off.
    pub(crate) fn by_client(code: Option<u16>) -> Self {
        match code {
            Some(NORMAL) | None => Self::Goodbye,
            Some(_) => Self::Lost,
        }
    }

    pub(crate) fn code(code: CloseCode) -> Self {
        Self::Code(code, None)
    }

    pub(crate) fn explained(code: CloseCode, problem: Problem) -> Self {
        Self::Code(code, Some(problem))
    }

    /// The code on the wire and its reason, if this side is the one that closes.
    pub(crate) fn frame(&self) -> Option<(u16, String)> {
        match self {
            Self::Code(code, problem) => {
                let detail = problem.as_ref().map(|p| p.detail.as_str());
                Some((code.code(), reason(detail.unwrap_or(code.reason()))))
            }
            Self::TryLater(why) => Some((TRY_AGAIN_LATER, (*why).to_owned())),
            Self::Goodbye => Some((NORMAL, String::new())),
            Self::Lost => None,
        }
    }
}

impl From<End> for Closing {
    fn from(end: End) -> Self {
        match end {
            End::Replaced => Self::code(CloseCode::Replaced),
            End::Lagging => Self::TryLater("frames were taken too slowly; reconnect and resume"),
            End::Closed => Self::TryLater("the registry is gone; reconnect"),
        }
    }
}

impl From<RegistryError> for Closing {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::NotOwner => Self::code(CloseCode::Replaced),
            RegistryError::PeerTaken => Self::explained(CloseCode::Replaced, error.problem()),
            RegistryError::SessionExpired => {
                Self::explained(CloseCode::SessionExpired, error.problem())
            }
            RegistryError::Full(_) => Self::TryLater("this instance is full"),
            RegistryError::RoomNotFound
            | RegistryError::RoomFull
            | RegistryError::TooManyRooms
            | RegistryError::Unavailable(_) => Self::TryLater("the registry is not available"),
        }
    }
}

/// RFC 6455 §5.5: a control frame has at most 125 bytes, two of them the code.
fn reason(text: &str) -> String {
    let mut end = text.len().min(123);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_ends_a_connection_is_counted_by_its_name() {
        let labels = p2p_telemetry::metrics::SIGNALING_CONNECTIONS_CLOSED.metric().labels;
        let known = labels.iter().find(|label| label.name == "code").unwrap().values;
        let abnormal = crate::meters::OpenConnection::begin("p2p.v1").code;
        let ours = CloseCode::ALL.map(CloseCode::code);
        for code in ours.into_iter().chain([TRY_AGAIN_LATER, NORMAL, abnormal]) {
            assert!(known.contains(&code.to_string().as_str()), "{code}");
        }
    }

    #[test]
    fn a_close_reason_fits_a_control_frame() {
        assert_eq!(reason("short"), "short");
        let long = "ü".repeat(100);
        assert_eq!(reason(&long).len(), 122, "cut between characters");
    }
}

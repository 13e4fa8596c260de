//! Candidates over the connection itself: where a peer can be reached after its network has changed.
//!
//! The coordinator passes candidates on while an attempt is young. A connection outlives that, and the
//! coordinator too (I8), so what is found later travels over whatever path the connection has: one
//! JSON list in a unidirectional stream of its own.

use p2p_wire::{AttemptId, Candidate, CandidateKind, Policy};
use tokio::sync::mpsc;

/// Lists that may be under way at once.
pub(crate) const MAX_STREAMS: u32 = 4;
/// What a list may be long: some hundred candidates.
const MAX_BYTES: usize = 16 * 1024;

/// Candidates that the other side of an attempt has told.
pub(crate) type Trickled = (AttemptId, Vec<Candidate>);

/// What the other side may learn under this policy.
pub(crate) fn allowed(candidates: &[Candidate], policy: Policy) -> Vec<Candidate> {
    let relay = |candidate: &Candidate| candidate.kind == CandidateKind::Relay;
    let allowed = candidates.iter().copied().filter(|candidate| match policy {
        Policy::Auto => true,
        Policy::Direct => !relay(candidate),
        Policy::Relay => relay(candidate),
    });
    let strip = |candidate: Candidate| match policy {
        Policy::Relay => Candidate { related: None, ..candidate },
        Policy::Auto | Policy::Direct => candidate,
    };
    allowed.map(strip).collect()
}

/// Whether a candidate of the other side's is an address that another host can have (I9).
pub(crate) fn plausible(candidate: &Candidate, allow_loopback: bool) -> bool {
    let ip = candidate.address.ip().to_canonical();
    candidate.address.port() != 0 && (allow_loopback || !ip.is_loopback())
}

/// Tells the other side, in a task of its own.
pub(crate) fn tell(quic: &quinn::Connection, candidates: &[Candidate]) {
    let Ok(list) = serde_json::to_vec(candidates) else { return };
    let quic = quic.clone();
    tokio::spawn(async move {
        let sent = async {
            let mut stream = quic.open_uni().await?;
            stream.write_all(&list).await?;
            stream.finish()?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        if let Err(error) = sent.await {
            tracing::debug!(%error, "candidates were not told");
        }
    });
}

/// Hears what the other side tells, until the connection ends.
pub(crate) async fn hear(
    quic: quinn::Connection,
    attempt: AttemptId,
    trickled: mpsc::Sender<Trickled>,
) {
    while let Ok(mut stream) = quic.accept_uni().await {
        let Ok(list) = stream.read_to_end(MAX_BYTES).await else { continue };
        let Ok(candidates) = serde_json::from_slice::<Vec<Candidate>>(&list) else { continue };
        if trickled.send((attempt.clone(), candidates)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(kind: CandidateKind, address: &str) -> Candidate {
        let related = Some("192.168.1.2:5000".parse().unwrap());
        Candidate { related, ..Candidate::udp(kind, address.parse().unwrap()) }
    }

    #[test]
    fn a_policy_lets_out_what_it_allows_and_nothing_behind_it() {
        let host = candidate(CandidateKind::Host, "192.168.1.2:5000");
        let relay = candidate(CandidateKind::Relay, "203.0.113.1:50000");
        assert_eq!(allowed(&[host, relay], Policy::Auto), [host, relay]);
        assert_eq!(allowed(&[host, relay], Policy::Direct), [host]);
        let seen = allowed(&[host, relay], Policy::Relay);
        assert_eq!(seen, [Candidate { related: None, ..relay }]);
    }

    #[test]
    fn i9_a_peer_is_not_sent_to_its_own_loopback() {
        let loopback = candidate(CandidateKind::Host, "[::ffff:127.0.0.1]:5000");
        assert!(!plausible(&loopback, false) && plausible(&loopback, true));
        assert!(!plausible(&candidate(CandidateKind::Host, "203.0.113.9:0"), true));
        assert!(plausible(&candidate(CandidateKind::Host, "203.0.113.9:1"), false));
    }
}

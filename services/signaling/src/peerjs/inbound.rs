//! What a PeerJS client's frame asks for.

use p2p_registry::{Frame, Outgoing, RegistryError, Sent, Target};
use p2p_telemetry::metrics::SIGNALING_PEERJS_FRAMES;
use p2p_wire::peerjs::{ClientFrame, ServerFrame, Signal};
use p2p_wire::server::ReceiptStatus;
use p2p_wire::{CloseCode, Code, Payload, PeerId, Problem};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::connection::Connection;
use super::waiting::{Due, Letter};
use crate::meters;
use crate::session::closing::Closing;
use crate::session::pace::Refusal;
use crate::session::rate::Pace;
use crate::session::registered::Registered;
use crate::session::socket::Socket;

/// Frames in a row that may be none before the connection is closed.
const MAX_MALFORMED: u32 = 3;

/// What became of a message.
enum Put {
    /// It is with its receiver, or will be.
    Taken,
    /// There is no such peer, as far as is known.
    Absent,
    /// It is lost.
    Refused,
}

impl Connection {
    pub(super) async fn on_text(
        &mut self,
        socket: &mut Socket,
        text: Utf8Bytes,
    ) -> Result<(), Closing> {
        let now = self.registered.last_heard;
        self.on_sign_of_life(socket).await?;
        let frame = ClientFrame::parse(&text);
        // The WebSocket reads into the same memory again once nobody has a part of it.
        drop(text);
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return self.on_malformed(&error),
        };
        self.malformed = 0;
        SIGNALING_PEERJS_FRAMES.with([name(&frame)]).increment(1);
        if let Pace::TooFast(strikes) = self.registered.bucket.take(now) {
            return match self.registered.slow_down(strikes) {
                // PeerJS has no word for it.
                Refusal::Problem(_) => Ok(()),
                Refusal::Closing(closing) => Err(closing),
            };
        }
        match frame {
            ClientFrame::Heartbeat | ClientFrame::Other => Ok(()),
            ClientFrame::Goodbye => Err(Closing::Goodbye),
            ClientFrame::ToNobody { signal, dst } if signal.waits() => {
                let frame = self.expire(&dst);
                socket.send_frame(frame).await
            }
            ClientFrame::ToNobody { .. } => Ok(()),
            ClientFrame::Signal { signal, dst, payload } => {
                Box::pin(self.pass_on(socket, signal, dst, payload, now)).await
            }
        }
    }

    fn on_malformed(&mut self, error: &serde_json::Error) -> Result<(), Closing> {
        SIGNALING_PEERJS_FRAMES.with(["malformed"]).increment(1);
        meters::rejected(Code::BadMessage);
        self.malformed += 1;
        if self.malformed < MAX_MALFORMED {
            return Ok(());
        }
        let fix = "send JSON objects that have a `type`";
        let problem = Problem::new(Code::BadMessage, "Message rejected", error.to_string(), fix);
        Err(Closing::explained(CloseCode::BadMessage, problem))
    }

    async fn pass_on(
        &mut self,
        socket: &mut Socket,
        signal: Signal,
        dst: PeerId,
        payload: Payload,
        now: Instant,
    ) -> Result<(), Closing> {
        let offer = signal == Signal::Offer;
        let too_fast = self.registered.app_pace(now).is_err()
            || offer && self.registered.offer_pace(&dst, now).is_err();
        if too_fast {
            return self.give_up(socket, &dst, signal).await;
        }
        let letter = Letter { id: self.awaited.id(), signal, payload };
        // Nothing overtakes what waits.
        if self.waiting.has(&dst) && signal.waits() {
            return self.wait(socket, dst, letter, now).await;
        }
        match self.put(&dst, &letter).await? {
            Put::Taken => Ok(()),
            Put::Absent if signal.waits() => self.wait(socket, dst, letter, now).await,
            Put::Absent => Ok(()),
            Put::Refused => self.give_up(socket, &dst, signal).await,
        }
    }

    /// Puts a message into its receiver's inbox, if there is one.
    async fn put(&mut self, to: &PeerId, letter: &Letter) -> Result<Put, Closing> {
        let outgoing = Outgoing {
            id: letter.id.clone(),
            target: Target::Peer(to.clone()),
            kind: letter.signal.kind().to_owned(),
            payload: letter.payload.clone(),
        };
        let Registered { instance, owner, bucket, .. } = &mut self.registered;
        let sent = instance.registry.send(owner, &outgoing).await;
        if let Ok(sent) = &sent {
            bucket.owe(outgoing.payload.as_str().len(), sent.receivers());
        }
        Ok(match sent {
            Ok(Sent::OnItsWay { .. } | Sent::Receipt { status: ReceiptStatus::Queued, .. }) => {
                if letter.signal.waits() && self.awaited.begin(&letter.id, to) {
                    meters::limited("peerjs_receipts");
                }
                Put::Taken
            }
            Ok(Sent::Receipt { status: ReceiptStatus::Delivered, .. }) => Put::Taken,
            Ok(Sent::Receipt { status: ReceiptStatus::Gone, .. }) => Put::Absent,
            Ok(Sent::Receipt { status: ReceiptStatus::Rejected, .. }) => Put::Refused,
            Err(RegistryError::NotOwner) => return Err(RegistryError::NotOwner.into()),
            // Whoever asks again in a moment may find out.
            Err(_) => Put::Absent,
        })
    }

    async fn wait(
        &mut self,
        socket: &mut Socket,
        to: PeerId,
        letter: Letter,
        now: Instant,
    ) -> Result<(), Closing> {
        let signal = letter.signal;
        let Self { waiting, registered, .. } = self;
        let patience = registered.instance.config.timing.peerjs_wait;
        let place = |bytes| registered.instance.absent.take(&registered.owner.app, &to, bytes);
        if waiting.push(&to, letter, patience, now, place) {
            return Ok(());
        }
        meters::limited("peerjs_waiting");
        self.give_up(socket, &to, signal).await
    }

    /// Looks whether those are there by now for whom something waits.
    pub(super) async fn ask_for_absent(
        &mut self,
        socket: &mut Socket,
        now: Instant,
    ) -> Result<(), Closing> {
        while let Some(due) = self.waiting.due(now) {
            let (Due::Ask(to) | Due::AskLast(to)) = &due;
            while let Some(letter) = self.waiting.first(to) {
                let letter =
                    Letter { id: letter.id.clone(), payload: letter.payload.clone(), ..*letter };
                match self.put(to, &letter).await? {
                    Put::Taken => self.waiting.pop(to),
                    Put::Absent if matches!(due, Due::Ask(_)) => break,
                    Put::Absent | Put::Refused => {
                        self.waiting.forget(to);
                        self.give_up(socket, to, letter.signal).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A message does not reach its receiver.
    async fn give_up(
        &mut self,
        socket: &mut Socket,
        to: &PeerId,
        signal: Signal,
    ) -> Result<(), Closing> {
        if !signal.waits() {
            return Ok(());
        }
        let frame = self.expire(to.as_str());
        socket.send_frame(frame).await
    }

    /// Says that somebody cannot be reached.
    pub(super) fn expire(&self, src: &str) -> Frame {
        ServerFrame::Expire { src, dst: &self.registered.owner.peer }.to_text().into()
    }
}

/// What a frame is counted as.
fn name(frame: &ClientFrame) -> &'static str {
    match frame {
        ClientFrame::Heartbeat => "HEARTBEAT",
        ClientFrame::Signal { signal, .. } | ClientFrame::ToNobody { signal, .. } => {
            signal.as_str()
        }
        ClientFrame::Goodbye => Signal::Leave.as_str(),
        ClientFrame::Other => "other",
    }
}

//! The shard's dealings with clients over TCP and TLS: their messages go to the state machine one by
//! one, as datagrams do, and the end of a connection ends its allocation.

use std::time::Instant;

use mio::Token;
use p2p_turn_core::{ClientAction, ClientAddr, ListenerId, Now, StreamError, StreamReader};
use tracing::debug;

use super::{Burst, Shard};
use crate::streams::Read;

/// Reads from one connection before the next one gets its turn.
const READS: usize = 16;
/// Bytes of one read.
const READ_LEN: usize = 16 * 1024;
/// A message of a client that has no allocation: a signed request fits many times over.
const LONGEST_REQUEST: usize = 4096;

impl Shard {
    pub(super) fn accept_clients(&mut self, listener: usize, now: Instant) -> Burst {
        if self.streams.accept(listener, self.poll.registry(), now) {
            Burst::Emptied
        } else {
            Burst::Cut
        }
    }

    pub(super) fn read_connection(&mut self, slot: usize, now: Now) -> Burst {
        for _ in 0..READS {
            let Some(connection) = self.streams.get_mut(slot) else { return Burst::Emptied };
            let length = match connection.read(&mut self.buffer[..READ_LEN]) {
                Read::Bytes(length) => length,
                Read::Empty => {
                    self.streams.want_flush(slot);
                    return Burst::Emptied;
                }
                Read::Closed => {
                    self.close_connection(slot, now);
                    return Burst::Emptied;
                }
                Read::BadTls(error) => {
                    debug!(client = ?connection.client, %error, "TLS failed");
                    self.streams.counts.tls_failed += 1;
                    self.close_connection(slot, now);
                    return Burst::Emptied;
                }
            };
            let client = (connection.listener, connection.client);
            let mut reader = std::mem::take(&mut connection.reader);
            reader.push(&self.buffer[..length]);
            let outcome = self.serve_messages(client, &mut reader, now);
            if let Some(connection) = self.streams.get_mut(slot) {
                connection.reader = reader;
                if let Ok(1..) = outcome {
                    connection.active = now.instant;
                }
            }
            if let Err(error) = outcome {
                match error {
                    StreamError::NotStun => self.streams.counts.not_stun += 1,
                    StreamError::TooLong => self.streams.counts.message_too_long += 1,
                }
                debug!(client = ?client.1, %error, "a stream cannot be read on");
                self.close_connection(slot, now);
                return Burst::Emptied;
            }
        }
        Burst::Cut
    }

    /// Hands every whole message to the state machine; says how many there were.
    fn serve_messages(
        &mut self,
        (listener, client): (ListenerId, ClientAddr),
        reader: &mut StreamReader,
        now: Now,
    ) -> Result<usize, StreamError> {
        let mut count = 0;
        loop {
            let known = self.server.has_allocation(listener, client);
            let longest = if known { usize::MAX } else { LONGEST_REQUEST };
            let Some(message) = reader.next(longest)? else { return Ok(count) };
            count += 1;
            match self.server.handle_client(listener, client, message, now) {
                ClientAction::Relay { allocation, peer, payload } => {
                    if let Some(Some((_, relayed))) = self.relayed.get(allocation.index()) {
                        let sent = relayed.socket.send_to(&message[payload], peer.0);
                        self.drops.count(sent);
                    }
                }
                ClientAction::Done => self.execute_commands(now),
            }
        }
    }

    /// Writes what waits, and closes what has to go.
    pub(super) fn settle_connections(&mut self, now: Now) {
        self.streams.flush();
        for slot in self.streams.take_doomed() {
            self.close_connection(slot, now);
        }
    }

    /// Once a second: what takes too long.
    pub(super) fn sweep_connections(&mut self, now: Now) {
        let server = &self.server;
        let holds = |listener, client| server.has_allocation(listener, client);
        for number in self.streams.sweep(now.instant, holds) {
            if self.accept_clients(number, now.instant) == Burst::Cut {
                self.ready.push_back(Token(number));
            }
        }
    }

    fn close_connection(&mut self, slot: usize, now: Now) {
        if let Some((listener, client)) = self.streams.close(slot, self.poll.registry()) {
            self.server.client_gone(listener, client, now);
            self.execute_commands(now);
        }
    }
}

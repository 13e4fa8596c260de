//! The data path: Send and Data indications (RFC 8656 §11) and ChannelData (§12).
//!
//! No answer, no allocation of memory, no authentication: the 5-tuple stands for the client.

use std::time::Instant;

use super::{ClientAction, ClientRoute, HEADROOM, Server};
use crate::addr::{AllocationId, FiveTuple, PeerAddr};
use crate::canonical::canonical_socket_addr;
use crate::channel_data;
use crate::config::RelayIp;
use crate::counters::Reason;
use crate::message::{self, AddressFamily, Inbound};
use crate::stream::stream_padding;

/// What a UDP datagram over IPv4 carries at most: 65 535 less the IP and UDP headers.
const MAX_DATAGRAM: usize = 65_507;

impl Server {
    pub(super) fn channel_data_from_client(
        &mut self,
        tuple: FiveTuple,
        datagram: &[u8],
        now: Instant,
    ) -> Result<ClientAction, Reason> {
        let id = self.allocations.id_of(tuple).ok_or(Reason::DataWithoutAllocation)?;
        let (number, payload) =
            channel_data::parse(datagram).map_err(|_| Reason::MalformedChannelData)?;
        let allocation = self.allocations.get_mut(id).ok_or(Reason::DataWithoutAllocation)?;
        let peer = allocation.channels.peer(number, now).ok_or(Reason::ChannelNotBound)?;
        // A channel lives ten minutes and its permission five: the permission decides.
        if !allocation.permissions.permits(peer.0.ip(), now) {
            return Err(Reason::NoPermission);
        }
        allocation.usage.client_to_peer.add(payload.len());
        self.counters.client_to_peer.add(payload.len());
        let peer = PeerAddr(RelayIp::inside(&self.config.relay_ips, peer.0));
        Ok(ClientAction::Relay { allocation: id, peer, payload })
    }

    pub(super) fn send_indication(
        &mut self,
        tuple: FiveTuple,
        indication: &Inbound<'_>,
        now: Instant,
    ) -> Result<ClientAction, Reason> {
        let id = self.allocations.id_of(tuple).ok_or(Reason::DataWithoutAllocation)?;
        // RFC 8489 §6.3.2: an indication with unknown required attributes is discarded.
        if !indication.unknown_attributes().is_empty() {
            return Err(Reason::UnknownAttribute);
        }
        let peer = indication.peer().map_err(|_| Reason::MalformedSend)?;
        let (Some(peer), Some(payload)) = (peer, indication.data()) else {
            return Err(Reason::MalformedSend);
        };
        let peer = PeerAddr(canonical_socket_addr(peer));
        let allocation = self.allocations.get_mut(id).ok_or(Reason::DataWithoutAllocation)?;
        if AddressFamily::of(peer.0) != allocation.family() {
            return Err(Reason::PeerFamilyMismatch);
        }
        if !allocation.permissions.permits(peer.0.ip(), now) {
            return Err(Reason::NoPermission);
        }
        // The permission is for an address; this packet names a port.
        self.policy.check(peer).map_err(|_| Reason::PeerDenied)?;
        allocation.usage.client_to_peer.add(payload.len());
        self.counters.client_to_peer.add(payload.len());
        let peer = PeerAddr(RelayIp::inside(&self.config.relay_ips, peer.0));
        Ok(ClientAction::Relay { allocation: id, peer, payload })
    }

    pub(super) fn data_from_peer(
        &mut self,
        id: AllocationId,
        peer: PeerAddr,
        payload_len: usize,
        now: Instant,
    ) -> Result<ClientRoute, Reason> {
        let peer = canonical_socket_addr(peer.0);
        let peer = PeerAddr(RelayIp::outside(&self.config.relay_ips, peer));
        let allocation = self.allocations.get_mut(id).ok_or(Reason::PeerDataWithoutAllocation)?;
        if !allocation.permissions.permits(peer.0.ip(), now) {
            return Err(Reason::PeerWithoutPermission);
        }
        let mut header = [0; HEADROOM];
        let tuple = allocation.tuple;
        let length = payload_len as u16;
        let route = match allocation.channels.number(peer, now) {
            Some(number) => {
                let short = channel_data::header(number, length);
                header[..short.len()].copy_from_slice(&short);
                // §12.5: padding is needed in a stream, and not over UDP.
                let stream = self.listeners.is_stream(tuple.listener);
                let padding = if stream { stream_padding(payload_len) } else { 0 };
                ClientRoute::new(tuple, header, short.len(), padding)
            }
            None => {
                let mut transaction = [0; 12];
                self.rng.fill_bytes(&mut transaction);
                let header_len =
                    message::data_indication_header(&mut header, transaction, peer.0, length);
                ClientRoute::new(tuple, header, header_len, stream_padding(payload_len))
            }
        };
        if route.header().len() + payload_len + route.padding() > MAX_DATAGRAM {
            return Err(Reason::PeerDataTooLong);
        }
        allocation.usage.peer_to_client.add(payload_len);
        self.counters.peer_to_client.add(payload_len);
        Ok(route)
    }
}

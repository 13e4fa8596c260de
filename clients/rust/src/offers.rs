//! The STUN servers and relays that the coordinator offers, from their URIs to the node.
//!
//! Names are looked up beside everything else: a name server that is slow holds nobody up.

use std::net::SocketAddr;
use std::sync::Arc;

use p2p_wire::{IceServer, Secret};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::credentials;
use crate::resolve;
use crate::socket::PathSocket;

/// By how much longer credentials have to last to be worth a look-up: those of attempts that follow
/// each other are all a little newer.
const LONGER_SECS: u64 = 60;

/// See the module.
#[derive(Debug)]
pub(crate) struct Offers {
    own_stun: Vec<String>,
    own_relays: Vec<IceServer>,
    socket: Arc<PathSocket>,
    /// Where STUN may be answered over TCP.
    tcp: watch::Sender<Vec<SocketAddr>>,
    looking: Option<AbortHandle>,
    credentials: Option<(String, Secret)>,
}

impl Offers {
    /// After the first offer has been taken.
    pub(crate) fn new(
        config: &Config,
        offered: &[IceServer],
        socket: Arc<PathSocket>,
        tcp: watch::Sender<Vec<SocketAddr>>,
    ) -> Self {
        Self {
            own_stun: config.stun_servers.clone(),
            own_relays: config.turn_servers.clone(),
            socket,
            tcp,
            looking: None,
            credentials: credentials_of(offered),
        }
    }

    /// Takes what is offered from here on. A name server that is away takes nothing away.
    pub(crate) fn take(&mut self, offered: Vec<IceServer>) {
        self.credentials = credentials_of(&offered).or(self.credentials.take());
        let offered: Vec<_> = offered.into_iter().chain(self.own_relays.iter().cloned()).collect();
        let (own, socket, tcp) =
            (self.own_stun.clone(), Arc::clone(&self.socket), self.tcp.clone());
        let known = socket.with_node(|node, _| node.relay_servers());
        let looking = tokio::spawn(async move {
            let (stun, relays) = tokio::join!(
                resolve::stun_servers(&own, &offered),
                resolve::relays(&offered, &known)
            );
            let over_tcp = resolve::tcp_stun_servers(&stun, &relays);
            socket.with_node(|node, now| {
                if !stun.is_empty() {
                    node.set_stun_servers(&stun, now);
                }
                if !relays.is_empty() {
                    node.set_relays(relays, now);
                }
            });
            if !over_tcp.is_empty() {
                tcp.send_if_modified(|before| {
                    let other = *before != over_tcp;
                    *before = over_tcp;
                    other
                });
            }
        });
        // What was offered before does not count any more.
        if let Some(before) = self.looking.replace(looking.abort_handle()) {
            before.abort();
        }
    }

    /// Takes the credentials that came with an attempt, for the relays that are known.
    pub(crate) fn renew(&mut self, relays: Vec<IceServer>) {
        let Some(fresh) = credentials_of(&relays) else { return };
        let ends = |(username, _): &(String, Secret)| credentials::ends(username);
        let known = self.credentials.as_ref();
        if known == Some(&fresh)
            || known.and_then(ends).zip(ends(&fresh)).is_some_and(|(a, b)| b < a + LONGER_SECS)
        {
            return;
        }
        self.credentials = Some(fresh);
        let socket = Arc::clone(&self.socket);
        let known = socket.with_node(|node, _| node.relay_servers());
        tokio::spawn(async move {
            let relays = resolve::relays(&relays, &known).await;
            socket.with_node(|node, now| node.renew_relays(relays, now));
        });
    }
}

/// One user's, for every relay.
fn credentials_of(servers: &[IceServer]) -> Option<(String, Secret)> {
    servers.iter().find_map(|server| server.username.clone().zip(server.credential.clone()))
}

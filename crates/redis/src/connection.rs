//! What takes commands.

use std::sync::Arc;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster_async::ClusterConnection;
use ::redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value};

use crate::address::Host;

/// How often a command follows a slot that has moved.
const MOVES: usize = 3;

/// An open connection, to one node or to all masters of a Cluster. Clones share it.
#[derive(Clone)]
pub struct Connection {
    way: Way,
    place: Arc<str>,
}

#[derive(Clone)]
enum Way {
    Node(MultiplexedConnection, Arc<Host>),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) fn of_node(open: MultiplexedConnection, host: Host) -> Self {
        Self { place: host.to_string().into(), way: Way::Node(open, Arc::new(host)) }
    }

    pub(crate) fn of_cluster(open: ClusterConnection, masters: &[Host]) -> Self {
        let masters: Vec<String> = masters.iter().map(ToString::to_string).collect();
        Self { way: Way::Cluster(open), place: masters.join(", ").into() }
    }

    /// Which node it is to, or which masters.
    pub fn place(&self) -> &Arc<str> {
        &self.place
    }

    pub(crate) fn node(&self) -> Option<&Host> {
        match &self.way {
            Way::Node(_, host) => Some(host),
            Way::Cluster(_) => None,
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.place)
    }
}

/// The slot has another master, which the connection knows by now. `ASK` is not followed: while a
/// slot is being moved, a script would find some of its keys here and some there. It is an error
/// until the slot has moved as a whole.
fn has_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.way {
            Way::Node(open, _) => open.req_packed_command(cmd),
            Way::Cluster(open) => Box::pin(async move {
                let mut answer = open.req_packed_command(cmd).await;
                for _ in 0..MOVES {
                    match &answer {
                        Err(error) if has_moved(error) => {
                            answer = open.req_packed_command(cmd).await;
                        }
                        _ => break,
                    }
                }
                answer
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.way {
            Way::Node(open, _) => open.req_packed_commands(pipeline, offset, count),
            Way::Cluster(open) => open.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.way {
            Way::Node(open, _) => open.get_db(),
            Way::Cluster(open) => open.get_db(),
        }
    }
}

//! A Cluster: who is master of which slots, and a connection to all of them.

use ::redis::cluster::ClusterClient;
use ::redis::{ProtocolVersion, RedisError, Value};
use futures_util::future::select_ok;

use crate::Patience;
use crate::address::Host;
use crate::connection::Connection;
use crate::node::{Nodes, at, refused};
use crate::slot::SLOTS;

/// Slots from the first to the last, and their master.
pub(crate) struct Range {
    first: u16,
    last: u16,
    pub(crate) master: Host,
}

/// Who is master of what.
pub(crate) struct Topology {
    ranges: Vec<Range>,
}

impl Topology {
    /// The master of a slot.
    pub(crate) fn master_of(&self, slot: u16) -> Option<&Host> {
        let range = self.ranges.iter().find(|range| (range.first..=range.last).contains(&slot));
        range.map(|range| &range.master)
    }

    fn masters(&self) -> Vec<Host> {
        let mut masters: Vec<Host> = Vec::new();
        for range in &self.ranges {
            if !masters.contains(&range.master) {
                masters.push(range.master.clone());
            }
        }
        masters
    }

    fn is_whole(&self) -> bool {
        let covered: usize =
            self.ranges.iter().map(|range| usize::from(range.last - range.first) + 1).sum();
        covered == usize::from(SLOTS)
    }
}

pub(crate) async fn connect(nodes: &Nodes, patience: Patience) -> Result<Connection, RedisError> {
    let topology = topology(nodes, patience).await?;
    if !topology.is_whole() {
        let why = "the Cluster has slots that no node serves";
        return Err(std::io::Error::new(std::io::ErrorKind::NotConnected, why).into());
    }
    let masters = topology.masters();
    let infos: Vec<_> = masters
        .iter()
        .map(|host| nodes.info(host, ProtocolVersion::RESP2))
        .collect::<Result<_, _>>()?;
    let mut builder = ClusterClient::builder(infos)
        // What is tried again, and after what, is for whoever sends the command.
        .retries(0)
        .connection_timeout(patience.connect)
        .response_timeout(patience.answer);
    if let Some(files) = nodes.tls() {
        builder = builder.certs(files.read().map_err(refused)?);
    }
    let open = builder.build()?.get_async_connection().await?;
    Ok(Connection::of_cluster(open, &masters))
}

/// What the first node says that answers.
pub(crate) async fn topology(nodes: &Nodes, patience: Patience) -> Result<Topology, RedisError> {
    let asking = nodes.hosts().iter().map(|host| Box::pin(ask(nodes, host, patience)));
    let (topology, _) = select_ok(asking).await?;
    Ok(topology)
}

async fn ask(nodes: &Nodes, host: &Host, patience: Patience) -> Result<Topology, RedisError> {
    let mut open = nodes.reach(host, patience).await?;
    let mut ask = ::redis::cmd("CLUSTER");
    let slots: Vec<Value> =
        ask.arg("SLOTS").query_async(&mut open).await.map_err(|error| at(host, &error))?;
    let ranges = slots.into_iter().map(|range| read_range(range, host)).collect::<Option<_>>();
    let garbled = || refused(format!("{host}: an answer to CLUSTER SLOTS that is none"));
    Ok(Topology { ranges: ranges.ok_or_else(garbled)? })
}

/// First and last slot, then the master: where it is, and its port.
fn read_range(range: Value, asked: &Host) -> Option<Range> {
    let Value::Array(parts) = range else { return None };
    let [first, last, master, ..] = parts.as_slice() else { return None };
    let Value::Array(master) = master else { return None };
    let [name, port, ..] = master.as_slice() else { return None };
    let slot = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let name = match name {
        Value::BulkString(name) => String::from_utf8(name.clone()).ok()?,
        _ => String::new(),
    };
    // A node that does not know how it is called means: as you called me.
    let name = match (name.as_str(), asked) {
        ("" | "?", Host::Tcp(asked, _)) => asked.clone(),
        _ => name,
    };
    let (first, last) = (slot(first)?, slot(last)?);
    (first <= last && last < SLOTS).then_some(())?;
    Some(Range { first, last, master: Host::Tcp(name, slot(port)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, name: Value) -> Value {
        let master = vec![name, Value::Int(7000), Value::BulkString(b"id".to_vec())];
        Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(master)])
    }

    #[test]
    fn a_topology_knows_the_master_of_each_slot_and_whether_one_lacks() {
        let asked = Host::Tcp("seed".to_owned(), 1);
        let read = |value| read_range(value, &asked);
        let one = range(0, 8191, Value::BulkString(b"one".to_vec()));
        let two = range(8192, 16_383, Value::Nil);
        let ranges = [one.clone(), two].map(|value| read(value).unwrap());
        let whole = Topology { ranges: ranges.into() };
        assert!(whole.is_whole());
        assert_eq!(whole.master_of(8191), Some(&Host::Tcp("one".to_owned(), 7000)));
        assert_eq!(whole.master_of(8192), Some(&Host::Tcp("seed".to_owned(), 7000)));
        assert!(!Topology { ranges: vec![read(one).unwrap()] }.is_whole());
        assert!(read(range(0, 16_384, Value::Nil)).is_none());
        assert!(read(Value::Nil).is_none());
    }
}

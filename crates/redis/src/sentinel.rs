//! Sentinels, and who they say is master.
//!
//! While they replace a master that still runs, it takes writes for a second or two that nobody will
//! know of: its successor has been promoted already. So whoever writes has to stop when a Sentinel
//! begins, which [`Sentinels::watch`] tells, and to wait until it has decided.

mod watch;

use std::collections::HashMap;
use std::time::Duration;

use ::redis::RedisError;
use ::redis::aio::MultiplexedConnection;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

use crate::Patience;
use crate::address::{Address, Host};
use crate::node::{Nodes, at};

/// How long the other Sentinels may still say that they know better than most.
const OBJECTIONS: Duration = Duration::from_millis(100);
/// Those of one master. Their connections are kept: they are asked often.
pub(crate) struct Sentinels {
    nodes: Nodes,
    service: String,
    open: Mutex<HashMap<Host, MultiplexedConnection>>,
}

/// What Sentinels know of the master.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// This one.
    Master(Host),
    /// It is being replaced, and by whom is not decided.
    UnderWay,
}

/// What one Sentinel says.
struct Answer {
    master: Host,
    /// How far it is with replacing it: `none` if it does not.
    failover: String,
}

impl Answer {
    fn is_in(&self, states: &[&str]) -> bool {
        states.contains(&self.failover.as_str())
    }
}

/// The states of a failover whose leader has not promoted anybody for sure. One that still waits for
/// the votes of others may not get them: that is none of these.
const UNDECIDED: [&str; 3] = ["select_slave", "send_slaveof_noone", "wait_promotion"];
/// Those in which it has.
const DECIDED: [&str; 2] = ["reconf_slaves", "update_config"];

impl Sentinels {
    /// Those that an address names.
    pub(crate) fn of(address: &Address) -> Option<Self> {
        let (nodes, service) = Nodes::sentinels(address)?;
        Some(Self { nodes, service, open: Mutex::default() })
    }

    /// The master: the one that a Sentinel has just promoted, and else the one that most of those
    /// name that answer in half of the time, for one alone may be cut off from the others.
    pub(crate) async fn known(&self, within: Duration) -> Result<Known, RedisError> {
        let (mut answers, mut trouble) = (Vec::new(), None);
        let mut asking: FuturesUnordered<_> =
            self.nodes.hosts().iter().map(|host| self.ask(host, within / 2)).collect();
        let mut left = within;
        while let Ok(Some(answer)) = timeout(left, asking.next()).await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    debug!(%error, "a Sentinel does not name a master");
                    trouble = Some(error);
                }
            }
            if most_named(&answers).is_some_and(|(_, count)| count * 2 > self.nodes.hosts().len()) {
                left = OBJECTIONS;
            }
        }
        decide(&answers).ok_or_else(|| {
            let why = trouble.map(|error| error.to_string()).unwrap_or_default();
            let why = format!("no Sentinel names the master of {}: {why}", self.service);
            std::io::Error::new(std::io::ErrorKind::NotConnected, why).into()
        })
    }

    async fn ask(&self, host: &Host, within: Duration) -> Result<Answer, RedisError> {
        let asked = match timeout(within, self.ask_over_open(host, within)).await {
            Ok(asked) => asked,
            Err(_) => Err(at(host, &crate::too_late(within))),
        };
        if asked.is_err() {
            self.open.lock().await.remove(host);
        }
        asked
    }

    async fn ask_over_open(&self, host: &Host, within: Duration) -> Result<Answer, RedisError> {
        let open = self.open.lock().await.get(host).cloned();
        let mut open = match open {
            Some(open) => open,
            None => {
                let patience = Patience { connect: within, answer: within };
                let open = self.nodes.reach(host, patience).await?;
                self.open.lock().await.insert(host.clone(), open.clone());
                open
            }
        };
        // In this order: one that decides in between is asked again by whoever finds no master.
        let asked = ::redis::pipe()
            .cmd("SENTINEL")
            .arg("MASTER")
            .arg(&self.service)
            .cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.service)
            .query_async::<(Vec<String>, Option<(String, u16)>)>(&mut open)
            .await;
        let (fields, named) = asked.map_err(|error| at(host, &error))?;
        let mut fields = fields.chunks(2);
        let failover = fields.find_map(|pair| match pair {
            [name, state] if name == "failover-state" => Some(state.clone()),
            _ => None,
        });
        let (master, port) = named.ok_or_else(|| {
            let why = format!("{host} knows no master of that name");
            RedisError::from(std::io::Error::other(why))
        })?;
        let failover = failover.unwrap_or_else(|| "none".to_owned());
        Ok(Answer { master: Host::Tcp(master, port), failover })
    }
}

fn most_named(answers: &[Answer]) -> Option<(&Host, usize)> {
    let count = |host: &Host| answers.iter().filter(|answer| answer.master == *host).count();
    answers.iter().map(|answer| (&answer.master, count(&answer.master))).max_by_key(|(_, n)| *n)
}

/// What follows from what Sentinels say. Only the one that leads a failover is in a state of it.
fn decide(answers: &[Answer]) -> Option<Known> {
    if let Some(leader) = answers.iter().find(|answer| answer.is_in(&DECIDED)) {
        return Some(Known::Master(leader.master.clone()));
    }
    if answers.iter().any(|answer| answer.is_in(&UNDECIDED)) {
        return Some(Known::UnderWay);
    }
    most_named(answers).map(|(master, _)| Known::Master(master.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        Host::Tcp(name.to_owned(), 6379)
    }

    fn answers(said: &[(&str, &str)]) -> Vec<Answer> {
        let answer = |(name, failover): &(&str, &str)| Answer {
            master: host(name),
            failover: (*failover).to_owned(),
        };
        said.iter().map(answer).collect()
    }

    #[test]
    fn most_sentinels_know_the_master_unless_one_has_just_promoted_another() {
        let none = answers(&[]);
        assert_eq!(decide(&none), None);
        let cut_off = answers(&[("old", "none"), ("new", "none"), ("new", "none")]);
        assert_eq!(decide(&cut_off), Some(Known::Master(host("new"))));
        let promoted = answers(&[("old", "none"), ("old", "none"), ("new", "reconf_slaves")]);
        assert_eq!(decide(&promoted), Some(Known::Master(host("new"))));
        let before = answers(&[("old", "none"), ("old", "wait_promotion"), ("old", "none")]);
        assert_eq!(decide(&before), Some(Known::UnderWay));
        // One that waits for the votes of others may not get them.
        let asks = answers(&[("old", "wait_start"), ("old", "none"), ("old", "none")]);
        assert_eq!(decide(&asks), Some(Known::Master(host("old"))));
    }
}

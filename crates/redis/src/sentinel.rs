//! Sentinels, and who they say is master.
//!
//! While they replace a master that still runs, it takes writes for a second or two that nobody will
//! know of: its successor has been promoted already. So whoever writes has to stop when a Sentinel
//! begins, which [`Sentinels::begin`] tells, and to wait until it has decided.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{ProtocolVersion, RedisError};
use futures_util::StreamExt as _;
use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::Patience;
use crate::address::{Address, Host};
use crate::node::{Nodes, at};

/// How long the other Sentinels may still say that they know better than most.
const OBJECTIONS: Duration = Duration::from_millis(100);
/// Between two tries to hear a Sentinel.
const PAUSE: Duration = Duration::from_secs(1);
/// What a Sentinel says when it begins to replace a master, and when it has done so.
const EVENTS: [&str; 2] = ["+try-failover", "+switch-master"];

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

    /// Resolves when one of the Sentinels begins to replace this master, or has done so.
    pub(crate) async fn begin(&self, master: &Host) {
        let all = self.nodes.hosts().iter();
        select_all(all.map(|host| Box::pin(self.hear(host, master)))).await;
    }

    async fn hear(&self, host: &Host, master: &Host) {
        loop {
            match self.hear_once(host, master).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => debug!(%error, "a Sentinel is not heard"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn hear_once(&self, host: &Host, master: &Host) -> Result<bool, RedisError> {
        let client = self.nodes.client(host, ProtocolVersion::RESP2)?;
        let mut open = client.get_async_pubsub().await.map_err(|error| at(host, &error))?;
        open.subscribe(&EVENTS).await.map_err(|error| at(host, &error))?;
        let mut events = open.into_on_message();
        while let Some(event) = events.next().await {
            let text: String = event.get_payload().unwrap_or_default();
            if self.concerns(&text, master) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `master NAME HOST PORT` is to be replaced, or `NAME HOST PORT NEW-HOST NEW-PORT` was.
    fn concerns(&self, event: &str, master: &Host) -> bool {
        let words: Vec<&str> = event.split(' ').collect();
        match words.as_slice() {
            ["master", service, ..] => *service == self.service,
            [service, _, _, host, port] if *service == self.service => {
                port.parse().map_or(true, |port| *master != Host::Tcp((*host).to_owned(), port))
            }
            _ => false,
        }
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
    let in_state =
        |states: &[&str]| answers.iter().find(|answer| states.contains(&answer.failover.as_str()));
    if let Some(leader) = in_state(&["reconf_slaves", "update_config"]) {
        return Some(Known::Master(leader.master.clone()));
    }
    if in_state(&["select_slave", "send_slaveof_noone", "wait_promotion"]).is_some() {
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
    fn an_event_concerns_whoever_is_not_at_the_new_master_already() {
        let url = "redis+sentinel://a/cache";
        let sentinels = Sentinels::of(&Address::parse(url).unwrap()).unwrap();
        let at = host("10.0.0.1");
        assert!(sentinels.concerns("master cache 10.0.0.1 6379", &at));
        assert!(!sentinels.concerns("master other 10.0.0.1 6379", &at));
        assert!(sentinels.concerns("cache 10.0.0.1 6379 10.0.0.2 6379", &at));
        assert!(!sentinels.concerns("cache 10.0.0.2 6379 10.0.0.1 6379", &at));
        assert!(!sentinels.concerns("", &at));
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

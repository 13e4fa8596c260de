//! Hearing from Sentinels that they replace a master.
//!
//! A Sentinel says so once, and what is said before one is heard is missed. So each is asked how far
//! it is as soon as it is heard, and nobody should use a master before all have been: between the
//! question who is master and the first event that is heard, a failover may have begun.

use std::time::Duration;

use ::redis::aio::PubSubStream;
use ::redis::{ProtocolVersion, RedisError};
use futures_util::StreamExt as _;
use futures_util::future::{join_all, select_all};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{Answer, DECIDED, Sentinels, UNDECIDED};
use crate::address::Host;
use crate::node::at;

/// Between two tries to hear a Sentinel.
const PAUSE: Duration = Duration::from_secs(1);
/// What a Sentinel says when it would replace a master, when the others let it, and when it has done
/// so. The second one is for whoever asked between the first two, when nothing was decided.
const EVENTS: [&str; 3] = ["+try-failover", "+elected-leader", "+switch-master"];

/// A Sentinel that is heard.
enum Heard {
    /// What it will say. So far it does not replace the master.
    Events(PubSubStream),
    /// It is at it already, or has done it.
    Replaces,
}

impl Sentinels {
    /// Hears all Sentinels that can be reached within this time. What this returns resolves when one
    /// of them begins to replace this master, or has done so.
    ///
    /// # Errors
    /// One has begun already.
    pub(crate) async fn watch(
        &self,
        master: &Host,
        within: Duration,
    ) -> Result<impl Future<Output = ()>, RedisError> {
        let hearing = self.nodes.hosts().iter().map(async |host| {
            match timeout(within, self.hear(host, master, within)).await {
                Ok(Ok(heard)) => Some(heard),
                Ok(Err(error)) => {
                    debug!(%error, "a Sentinel is not heard");
                    None
                }
                Err(_) => None,
            }
        });
        let mut tales = Vec::new();
        for (host, heard) in self.nodes.hosts().iter().zip(join_all(hearing).await) {
            let events = match heard {
                Some(Heard::Replaces) => {
                    let why = format!("{host} is replacing the master {master}");
                    return Err(std::io::Error::new(std::io::ErrorKind::NotConnected, why).into());
                }
                Some(Heard::Events(events)) => Some(events),
                None => None,
            };
            tales.push(Box::pin(self.until_replaced(host, master, events, within)));
        }
        Ok(async move {
            select_all(tales).await;
        })
    }

    /// Hears one Sentinel until it begins, again and again if it must be.
    async fn until_replaced(
        &self,
        host: &Host,
        master: &Host,
        mut events: Option<PubSubStream>,
        within: Duration,
    ) {
        loop {
            if let Some(mut events) = events.take() {
                while let Some(event) = events.next().await {
                    let text: String = event.get_payload().unwrap_or_default();
                    if self.concerns(&text, master) {
                        return;
                    }
                }
            }
            sleep(PAUSE).await;
            match self.hear(host, master, within).await {
                Ok(Heard::Replaces) => return,
                Ok(Heard::Events(heard)) => events = Some(heard),
                Err(error) => debug!(%error, "a Sentinel is not heard"),
            }
        }
    }

    async fn hear(
        &self,
        host: &Host,
        master: &Host,
        within: Duration,
    ) -> Result<Heard, RedisError> {
        let client = self.nodes.client(host, ProtocolVersion::RESP2)?;
        let mut open = client.get_async_pubsub().await.map_err(|error| at(host, &error))?;
        open.subscribe(&EVENTS).await.map_err(|error| at(host, &error))?;
        // Whatever it does after this answer it says to the subscription.
        let answer = self.ask(host, within).await?;
        Ok(if replaces(&answer, master) {
            Heard::Replaces
        } else {
            Heard::Events(open.into_on_message())
        })
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
}

/// Whether it leads a failover, unless that is the one to this master.
fn replaces(answer: &Answer, master: &Host) -> bool {
    answer.is_in(&UNDECIDED) || answer.is_in(&DECIDED) && answer.master != *master
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::*;
    use crate::address::Address;

    const MASTER: (&str, u16) = ("10.0.0.1", 6379);
    const HANG: Duration = Duration::from_secs(20);

    fn master() -> Host {
        Host::Tcp(MASTER.0.to_owned(), MASTER.1)
    }

    fn bulk(words: &[&str]) -> String {
        words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect()
    }

    /// A Sentinel that watches `cache`, with the failover in this state.
    struct Sentinel {
        url: String,
        state: watch::Sender<&'static str>,
        event: watch::Sender<Option<(&'static str, &'static str)>>,
        subscribed: watch::Receiver<usize>,
    }

    impl Sentinel {
        async fn start(state: &'static str) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("redis+sentinel://{}/cache", listener.local_addr().unwrap());
            let (state, told) = watch::channel(state);
            let (event, events) = watch::channel(None);
            let (subscriptions, subscribed) = watch::channel(0);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(
                        stream,
                        told.clone(),
                        events.clone(),
                        subscriptions.clone(),
                    ));
                }
            });
            Self { url, state, event, subscribed }
        }

        fn sentinels(&self) -> Sentinels {
            Sentinels::of(&Address::parse(&self.url).unwrap()).unwrap()
        }
    }

    async fn serve(
        mut stream: TcpStream,
        state: watch::Receiver<&'static str>,
        mut events: watch::Receiver<Option<(&'static str, &'static str)>>,
        subscriptions: watch::Sender<usize>,
    ) {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        let mut channels: Vec<String> = Vec::new();
        loop {
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read.unwrap_or(0),
                changed = events.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let event = *events.borrow_and_update();
                    let heard = event.filter(|(channel, _)| channels.iter().any(|one| one == channel));
                    if let Some((channel, text)) = heard {
                        let said = format!("*3\r\n{}", bulk(&["message", channel, text]));
                        stream.write_all(said.as_bytes()).await.unwrap();
                    }
                    continue;
                }
            };
            if read == 0 {
                return;
            }
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            // A command is over when all of its words are there; clients write them at once.
            while let Some((command, rest)) = command_of(&text) {
                text = rest;
                let answer = match command[0].as_str() {
                    "SUBSCRIBE" => {
                        subscriptions.send_modify(|count| *count += 1);
                        channels.extend_from_slice(&command[1..]);
                        let all = command[1..].iter().enumerate();
                        all.map(|(at, channel)| {
                            format!("*3\r\n{}:{}\r\n", bulk(&["subscribe", channel]), at + 1)
                        })
                        .collect()
                    }
                    "SENTINEL" if command[1] == "MASTER" => {
                        format!(
                            "*4\r\n{}",
                            bulk(&["name", "cache", "failover-state", *state.borrow()])
                        )
                    }
                    "SENTINEL" => {
                        let port = MASTER.1.to_string();
                        format!("*2\r\n{}", bulk(&[MASTER.0, &port]))
                    }
                    _ => "+OK\r\n".to_owned(),
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    /// The first command in it, and what follows.
    fn command_of(text: &str) -> Option<(Vec<String>, String)> {
        let (count, mut rest) = text.strip_prefix('*')?.split_once("\r\n")?;
        let mut words = Vec::new();
        for _ in 0..count.parse().ok()? {
            let (length, after) = rest.strip_prefix('$')?.split_once("\r\n")?;
            let word = after.get(..length.parse().ok()?)?;
            words.push(word.to_owned());
            rest = after.get(word.len() + 2..)?;
        }
        Some((words, rest.to_owned()))
    }

    #[tokio::test]
    async fn whoever_connects_while_a_sentinel_waits_for_votes_hears_that_it_got_them() {
        let sentinel = Sentinel::start("wait_start").await;
        let sentinels = sentinel.sentinels();
        let (master, watched) = (master(), HANG);
        let replaced = sentinels.watch(&master, watched).await.unwrap();
        sentinel.event.send_replace(Some(("+elected-leader", "master cache 10.0.0.1 6379")));
        timeout(HANG, replaced).await.expect("it is heard");
    }

    #[tokio::test]
    async fn a_failover_that_began_before_its_sentinel_was_heard_is_not_missed() {
        let sentinel = Sentinel::start("send_slaveof_noone").await;
        let sentinels = sentinel.sentinels();
        let begun = sentinels.watch(&master(), HANG).await.err().expect("it has begun");
        assert!(begun.to_string().contains("is replacing the master"), "{begun}");
        assert_eq!(*sentinel.subscribed.borrow(), 1);
        // To this master: it is over for whoever is there.
        sentinel.state.send_replace("reconf_slaves");
        assert!(sentinels.watch(&master(), HANG).await.is_ok());
    }

    #[tokio::test]
    async fn a_sentinel_that_is_away_keeps_nobody_from_the_master() {
        let alive = Sentinel::start("none").await;
        // Nobody listens there any more.
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let url = alive.url.replace("//", &format!("//{gone},"));
        let sentinels = Sentinels::of(&Address::parse(&url).unwrap()).unwrap();
        let master = master();
        let replaced = sentinels.watch(&master, HANG).await.unwrap();
        alive.event.send_replace(Some(("+try-failover", "master cache 10.0.0.1 6379")));
        timeout(HANG, replaced).await.expect("the other one is heard");
    }

    #[test]
    fn an_event_concerns_whoever_is_not_at_the_new_master_already() {
        let url = "redis+sentinel://a/cache";
        let sentinels = Sentinels::of(&Address::parse(url).unwrap()).unwrap();
        let at = master();
        assert!(sentinels.concerns("master cache 10.0.0.1 6379", &at));
        assert!(!sentinels.concerns("master other 10.0.0.1 6379", &at));
        assert!(sentinels.concerns("cache 10.0.0.1 6379 10.0.0.2 6379", &at));
        assert!(!sentinels.concerns("cache 10.0.0.2 6379 10.0.0.1 6379", &at));
        assert!(!sentinels.concerns("", &at));
    }
}

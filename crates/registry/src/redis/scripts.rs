//! The Lua scripts: what Redis does at once. `lua/lib.lua` says which keys there are.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use redis::{Script, ScriptInvocation};

/// How many hash tags there are. Everything of one app has the same tag, so that its rooms,
/// inboxes and receipts change together; apps spread over the tags, and with them over the nodes
/// of a cluster.
pub(super) const SHARDS: u8 = TAGS.len() as u8;

/// The tags. Their slots lie in the middles of sixteen equal parts of all slots, so that each node
/// of a cluster has as many of them as any other, or one more: the slots of plain numbers do not.
const TAGS: [&str; 16] = [
    "0ax", "1oy", "2cx", "3bx", "4ex", "5zz", "6yz", "7xz", "8wz", "9vz", "10qn", "11pn", "12bl",
    "13cl", "14un", "15tn",
];

/// A script and what metrics call it.
pub(super) struct Named {
    pub(super) name: &'static str,
    script: Script,
}

impl Named {
    /// A call of it on the node of this key.
    pub(super) fn key(&self, key: impl redis::ToRedisArgs) -> ScriptInvocation<'_> {
        self.script.key(key)
    }
}

macro_rules! scripts {
    ($($name:ident: [$($part:literal),+]),* $(,)?) => {
        /// All scripts, hashed once.
        pub(super) struct Scripts {
            $(pub(super) $name: Named,)*
            pub(super) renew: Named,
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                let named = |name, text| Named { name, script: Script::new(text) };
                Self {
                    $($name: named(stringify!($name), concat!(
                        include_str!("lua/lib.lua"),
                        $(include_str!(concat!("lua/", $part, ".lua"))),+
                    )),)*
                    renew: named("renew", include_str!("lua/renew.lua")),
                }
            }
        }
    };
}

scripts! {
    claim: ["presence", "claim"],
    detach: ["presence", "detach"],
    release: ["presence", "release"],
    publish: ["presence", "publish"],
    set_meta: ["presence", "set_meta"],
    join: ["presence", "view", "join"],
    leave: ["presence", "leave"],
    send: ["send"],
    ack: ["ack"],
    missed: ["presence", "missed"],
    signal: ["presence", "signal"],
    peer: ["presence", "peer"],
    peers: ["presence", "peers"],
    rooms: ["presence", "rooms"],
    room: ["presence", "view", "room"],
    due: ["presence", "due"],
    reap: ["presence", "reap"],
    owned: ["presence", "owned"],
    reassert: ["presence", "reassert"],
    watch: ["presence", "watch"],
    unwatch: ["presence", "unwatch"],
    inherit: ["presence", "inherit"],
}

/// Where things are called what.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
    /// What a channel's name begins with; the instance's name follows. Empty in a cluster, where an
    /// instance has a sharded channel beside the keys of each shard: a script can publish to that
    /// one, and learns how many hear it.
    pub(super) channels: String,
    /// When which instance's lease ends.
    pub(super) leases: String,
}

/// How long what belongs to attempts is kept after it was last touched: longer than any is open.
pub(super) const KEEP_ATTEMPTS_MS: u64 = 600_000;

impl Names {
    pub(super) fn new(prefix: &str, in_cluster: bool) -> Self {
        Self {
            prefix: prefix.to_owned(),
            channels: if in_cluster { String::new() } else { format!("{prefix}:i:") },
            leases: format!("{prefix}:leases"),
        }
    }

    /// All channels of an instance. Whatever is for it comes over one of them.
    pub(super) fn channels_of(&self, instance: &str) -> Vec<String> {
        if self.channels.is_empty() {
            (0..SHARDS).map(|shard| format!("{}:i:{instance}", self.shard(shard))).collect()
        } else {
            vec![format!("{}{instance}", self.channels)]
        }
    }

    /// Publishing over one of those channels.
    pub(super) fn publish(&self, channel: &str, event: &str) -> redis::Cmd {
        let in_cluster = self.channels.is_empty();
        let mut publish = redis::cmd(if in_cluster { "SPUBLISH" } else { "PUBLISH" });
        publish.arg(channel).arg(event);
        publish
    }

    /// Where it is written which instance goes on with what a dead one was at.
    pub(super) fn heir_of(&self, instance: &str) -> String {
        format!("{}:heir:{instance}", self.leases)
    }

    /// What the keys of a shard begin with. No id can choose a slot: the first tag of a key counts.
    pub(super) fn shard(&self, shard: u8) -> String {
        let mut name = self.prefix.clone();
        let tag = TAGS[usize::from(shard)];
        write!(name, ":{{{tag}}}").expect("writing to a string succeeds");
        name
    }

    /// The shards in parts that one script can be at: all of them, and in a cluster each alone.
    pub(super) fn shards_at_once(&self) -> Vec<Vec<String>> {
        let shards = (0..SHARDS).map(|shard| self.shard(shard));
        if self.channels.is_empty() {
            shards.map(|shard| vec![shard]).collect()
        } else {
            vec![shards.collect()]
        }
    }

    /// What the keys of an app begin with.
    pub(super) fn of_app(&self, app: &str) -> String {
        let digest = digest::digest(&digest::SHA256, app.as_bytes());
        self.shard(digest.as_ref()[0] % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_s_keys_share_a_tag_that_its_name_does_not_choose() {
        let names = Names::new("p2p", false);
        let (one, other) = (names.of_app("default"), names.of_app("default"));
        assert_eq!(one, other);
        let tags: std::collections::BTreeSet<_> =
            (0..200).map(|n| names.of_app(&format!("app-{n}"))).collect();
        assert_eq!(tags.len(), usize::from(SHARDS));
        assert!(tags.iter().all(|tag| tag.starts_with("p2p:{") && tag.ends_with('}')));
    }

    #[test]
    fn shards_spread_evenly_over_the_nodes_of_a_cluster_of_any_size() {
        let names = Names::new("p2p", true);
        for nodes in 1..=16_u32 {
            let mut shards = vec![0; nodes as usize];
            for shard in 0..SHARDS {
                let slot = p2p_redis::slot_of(&names.shard(shard));
                let node = u32::from(slot) * nodes / u32::from(p2p_redis::SLOTS);
                shards[node as usize] += 1;
            }
            let (least, most) = (shards.iter().min(), shards.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{nodes} nodes: {shards:?}");
        }
    }

    #[test]
    fn an_instance_s_channel_is_in_the_slot_of_the_shard_s_keys_whatever_ids_are_called() {
        let names = Names::new("p2p", true);
        for (shard, channel) in (0..).zip(names.channels_of("instance")) {
            let slot = p2p_redis::slot_of(&names.shard(shard));
            assert_eq!(p2p_redis::slot_of(&channel), slot);
            let key = format!("{}:p:app/{{steering}}", names.shard(shard));
            assert_eq!(p2p_redis::slot_of(&key), slot, "the tag of the shard is the first");
        }
        assert_eq!(Names::new("p2p", false).channels_of("i"), ["p2p:i:i"]);
    }
}

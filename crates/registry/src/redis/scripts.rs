//! The Lua scripts: what Redis does at once. `lua/lib.lua` says which keys there are.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use redis::{Script, ScriptInvocation};

/// How many hash tags there are. Everything of one app has the same tag, so that its rooms,
/// inboxes and receipts change together; apps spread over the tags, and with them over the nodes
/// of a cluster.
pub(super) const SHARDS: u8 = 16;

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
    claim: ["claim"],
    detach: ["detach"],
    release: ["release"],
    publish: ["publish"],
    set_meta: ["set_meta"],
    join: ["view", "join"],
    leave: ["leave"],
    send: ["send"],
    ack: ["ack"],
    missed: ["missed"],
    signal: ["signal"],
    peer: ["peer"],
    peers: ["peers"],
    rooms: ["rooms"],
    room: ["view", "room"],
    due: ["due"],
    reap: ["reap"],
    owned: ["owned"],
    reassert: ["reassert"],
    watch: ["watch"],
    unwatch: ["unwatch"],
    inherit: ["inherit"],
}

/// Where things are called what.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
    /// What a channel's name begins with; the instance's name follows.
    pub(super) channels: String,
    /// When which instance's lease ends.
    pub(super) leases: String,
}

/// How long what belongs to attempts is kept after it was last touched: longer than any is open.
pub(super) const KEEP_ATTEMPTS_MS: u64 = 600_000;

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            channels: format!("{prefix}:i:"),
            leases: format!("{prefix}:leases"),
        }
    }

    /// Where it is written which instance goes on with what a dead one was at.
    pub(super) fn heir_of(&self, instance: &str) -> String {
        format!("{}:heir:{instance}", self.leases)
    }

    /// What the keys of a shard begin with. The tag is a number, so no id can choose its slot.
    pub(super) fn shard(&self, shard: u8) -> String {
        let mut name = self.prefix.clone();
        write!(name, ":{{{shard}}}").expect("writing to a string succeeds");
        name
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
        let names = Names::new("p2p");
        let (one, other) = (names.of_app("default"), names.of_app("default"));
        assert_eq!(one, other);
        let tags: std::collections::BTreeSet<_> =
            (0..200).map(|n| names.of_app(&format!("app-{n}"))).collect();
        assert_eq!(tags.len(), usize::from(SHARDS));
        assert!(tags.iter().all(|tag| tag.starts_with("p2p:{") && tag.ends_with('}')));
    }
}

//! `coordinator demo`: the main job, once, in front of the user.
//!
//! Everything runs in this process on free loopback ports: signaling, relay, registry, statistics,
//! and two peers. They measure their network, register, find each other and connect directly, move
//! data, and do it again with direct paths forbidden. What is shown at the end is read from the
//! statistics, not from memory.

mod payload;
mod run;
mod story;

use std::time::Instant;

use p2p_client::{Client, Config, NatProfile, Policy};
use p2p_stats::{AttemptRecord, Filter, Store as _, Summary};
use p2p_telemetry::Shutdown;
use serde_json::{Value, json};

use self::run::{Pair, Run};
use self::story::{Story, time};
use crate::dev::{self, PEERS};
use crate::embedded::{Embedded, Listen};
use crate::failure::{Failure, exit};
use crate::output::data;
use crate::version::VERSION;

/// The version of the JSON document.
const SCHEMA_VERSION: u32 = 1;

/// Connect two peers on this machine, directly and through the relay, and show how it went
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON document instead of the story
    #[arg(long, env = "P2P_JSON")]
    json: bool,
    /// Leave everything running afterwards, until Ctrl-C
    #[arg(long, env = "P2P_DEMO_KEEP")]
    keep: bool,
}

/// Shows it. Succeeds only if all of it really happened.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let mut story = Story::new(args.json);
    let shown = tokio::select! {
        shown = show(args, &mut story) => shown,
        _ = tokio::signal::ctrl_c() => return Err(interrupted()),
    };
    let (embedded, clients, document) = match shown {
        Ok(shown) => shown,
        Err(failure) => {
            story.failed();
            if args.json {
                let Failure { code, cause, fix, .. } = &failure;
                let error = json!({ "code": code, "cause": cause, "fix": fix });
                data(json!({ "ok": false, "schema_version": SCHEMA_VERSION, "error": error }));
            }
            return Err(failure);
        }
    };
    let shutdown = Shutdown::new();
    if args.keep {
        // Before anything is said that a script may answer with a signal.
        shutdown.listen().map_err(|error| Failure::bug(format!("no signal handler: {error}")))?;
    }
    if args.json {
        data(document);
    }
    if args.keep {
        story.heading("Everything keeps running until Ctrl-C");
        story.line("");
        story.line(&dev::urls_and_tokens(&embedded)?);
        shutdown.draining().await;
    }
    for client in clients {
        client.shutdown().await;
    }
    embedded.stop(&shutdown).await;
    Ok(())
}

type Shown = (Embedded, [Client; 2], Value);

async fn show(args: &Args, story: &mut Story) -> Result<Shown, Failure> {
    let started = Instant::now();
    story.line(&format!("P2P Coordinator {VERSION}: two peers find each other and connect."));

    story.heading("Signaling, relay, registry and statistics, all in this process");
    story.begin("start", "signaling, relay, registry, statistics");
    let embedded = Embedded::start(Listen::anywhere(), None).await?;
    story.done(&format!("{}, {}", embedded.signaling_url(), embedded.relay_url()));

    story.heading("Two peers detect their network and register");
    let alice = start_peer(PEERS[0], &embedded, story).await?;
    let bob = start_peer(PEERS[1], &embedded, story).await?;

    let pair = Pair { alice: &alice, bob: &bob };
    story.heading("First run: any path is allowed");
    let (direct, direct_record) = run::run(&pair, Policy::Auto, &embedded, story).await?;
    story.heading("Second run: direct paths are forbidden");
    let (relayed, relayed_record) = run::run(&pair, Policy::Relay, &embedded, story).await?;

    let summary =
        embedded.store.summary(&Filter::default()).await.map_err(|error| {
            Failure::new(error.code(), exit::USAGE, error.to_string(), error.fix())
        })?;
    let records = [direct_record, relayed_record];
    tell_statistics(&summary, &records, story);
    let runs = [direct, relayed];
    tell_end(&runs, started, args.keep, story);

    let document = document(args, &embedded, [&alice, &bob], &runs, &summary, &records)?;
    Ok((embedded, [alice, bob], document))
}

async fn start_peer(name: &str, embedded: &Embedded, story: &mut Story) -> Result<Client, Failure> {
    story.begin(name, "measuring its network");
    let token = embedded.token(name)?;
    let mut config = Config::new(embedded.signaling_url(), token.expose());
    config.allow_loopback = true;
    let client = Client::start(config).await?;
    let nat = client.nat();
    if !nat.udp {
        return Err(Failure::new(
            "udp_blocked",
            exit::UNREACHABLE,
            format!("{name}'s UDP packets do not reach the STUN server on loopback"),
            "look for a firewall that drops UDP on loopback (`nft list ruleset`), and try again",
        ));
    }
    story.done(&format!("network: {}, seen as {}", nat.nat_type, seen_as(&nat)));
    Ok(client)
}

fn seen_as(nat: &NatProfile) -> String {
    nat.public_address.map_or("unknown".to_owned(), |address| address.to_string())
}

fn tell_statistics(summary: &Summary, records: &[AttemptRecord], story: &mut Story) {
    story.heading("Statistics, read back from the store");
    let ms = |value: Option<u64>| match value {
        None => "-".to_owned(),
        Some(0) => "< 1 ms".to_owned(),
        Some(ms) => format!("{ms} ms"),
    };
    let row = |cells: [&str; 6]| {
        let [from, to, policy, outcome, connected, direct] = cells;
        format!("    {from:<8} {to:<8} {policy:<8} {outcome:<9} {connected:>10} {direct:>10}")
    };
    story.line(&row(["caller", "callee", "policy", "outcome", "connected", "direct"]));
    for record in records {
        story.line(&row([
            record.caller.as_str(),
            record.callee.as_str(),
            policy_name(record.policy),
            record.outcome.as_str(),
            &ms(record.connected_ms),
            &ms(record.direct_ms),
        ]));
    }
    let Summary { attempts, direct, relay, failed, .. } = summary;
    story.line(&format!(
        "    {attempts} attempts: {direct} direct, {relay} by relay, {failed} failed; \
         connected in {} (median)",
        ms(summary.connect_ms.p50)
    ));
}

fn tell_end(runs: &[Run; 2], started: Instant, keep: bool, story: &mut Story) {
    let [direct, relayed] = runs;
    story.line("");
    story.line(&format!(
        "All of it worked, in {}: 8 MiB directly at {:.0} Mbit/s, 8 MiB by relay at {:.0} Mbit/s.",
        time(started.elapsed()),
        direct.mbit_per_s,
        relayed.mbit_per_s,
    ));
    if !keep {
        story.line("Next: `coordinator dev` serves all this for your own programs, `--help` says the rest.");
    }
}

fn document(
    args: &Args,
    embedded: &Embedded,
    peers: [&Client; 2],
    runs: &[Run; 2],
    summary: &Summary,
    records: &[AttemptRecord],
) -> Result<Value, Failure> {
    let bug = |error: serde_json::Error| Failure::bug(error.to_string());
    // As `GET /v1/stats` answers.
    let mut stats = serde_json::to_value(summary).map_err(bug)?;
    stats["live"] = serde_json::to_value(embedded.snapshot()).map_err(bug)?;
    let peers = peers.map(|peer| json!({ "peer": peer.peer_id(), "nat": peer.nat() }));
    let mut document = json!({
        "ok": true,
        "schema_version": SCHEMA_VERSION,
        "peers": peers,
        "runs": runs,
        "stats": stats,
        "attempts": records,
    });
    let mut urls = dev::document(embedded)?;
    if !args.keep {
        // Nobody can use the keys of services that are gone.
        for name in ["tokens", "admin_token", "dashboard", "test_page"] {
            if let Value::Object(urls) = &mut urls {
                urls.remove(name);
            }
        }
    }
    if let (Value::Object(document), Value::Object(urls)) = (&mut document, urls) {
        document.extend(urls);
    }
    Ok(document)
}

fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Auto => "auto",
        Policy::Direct => "direct",
        Policy::Relay => "relay",
    }
}

fn interrupted() -> Failure {
    Failure::new("interrupted", exit::INTERRUPTED, "stopped before the end", "run it again")
}

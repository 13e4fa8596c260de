//! `p2p connect`: stdin and stdout to a peer.

use p2p_client::{Client, PeerId, Policy};
use serde_json::json;

use crate::failure::Failure;
use crate::session::{self, with_client};
use crate::talk::Talk;
use crate::{paths, pipe, units};

/// Pipe stdin and stdout to a peer
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The peer, which runs `p2p listen`
    pub peer: PeerId,
    /// Which paths may be used: auto, direct (fail rather than relay) or relay
    #[arg(long, env = "P2P_POLICY", default_value = "auto", value_parser = session::policy)]
    pub policy: Policy,
    #[command(flatten)]
    pub session: session::SessionArgs,
}

/// Connects and pipes.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let talk = Talk::beside_data(args.session.json);
    let work = async |client: &Client| {
        let connection = client.connect(&args.peer, args.policy).await?;
        let stream = connection.open_stream().await?;
        let carried = tokio::select! {
            carried = pipe::standard(stream, &connection) => carried?,
            never = async { paths::tell(&connection, &talk).await; std::future::pending().await } => never,
        };
        let (sent, received) = (units::bytes(carried.sent), units::bytes(carried.received));
        talk.event(
            "closed",
            json!({ "peer": args.peer, "sent": carried.sent, "received": carried.received }),
            &format!("closed: {sent} sent, {received} received"),
        );
        connection.close("done");
        Ok(())
    };
    with_client(&args.session, &talk, work).await?.when_working()
}

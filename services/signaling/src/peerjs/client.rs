//! Who a PeerJS client is: the app by its `key`, the peer by its `id`, and both by its `token`.
//!
//! PeerServer takes for the same client whoever shows the same token again. A JWT changes whenever it
//! is made anew, so what counts is whom it is for: a token for exactly one id makes its bearer that
//! peer. A token for many ids proves nothing of the kind, nor does a text that is none: of those the
//! bearer is known by the text, and leaves an id to whoever else is connected under it.

use p2p_auth::{Grant, Pattern, Token, TokenError};
use p2p_registry::Standing;
use p2p_wire::peerjs::DEFAULT_KEY;
use p2p_wire::{AppId, CloseCode, Code, PeerId, Problem, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock;
use crate::instance::Instance;
use crate::session::closing::Closing;

/// What a client says of itself in the URL.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Said {
    /// The peer.
    #[serde(default)]
    id: String,
    /// The JWT.
    #[serde(default)]
    token: String,
    /// The app; `peerjs` is `default`.
    #[serde(default)]
    key: String,
}

/// A client that may come in.
pub(super) struct Client {
    pub(super) app: AppId,
    pub(super) peer: PeerId,
    pub(super) standing: Standing,
    /// Of its token, in seconds since the Unix epoch.
    pub(super) expires_unix: u64,
}

/// Says who it is, or why it may not come in.
pub(super) async fn identify(instance: &Instance, said: Option<Said>) -> Result<Client, Closing> {
    let complete = |said: &Said| ![&said.id, &said.token, &said.key].iter().any(|it| it.is_empty());
    let Some(Said { id, token, key }) = said.filter(complete) else {
        return Err(refused(
            CloseCode::BadMessage,
            Code::BadMessage,
            "No id, token, or key supplied to websocket server",
            "open the WebSocket with `id`, `token` and `key` in its query, once each",
        ));
    };
    let app = app_of(&key)?;
    let peer = PeerId::new(id).map_err(|error| {
        refused(
            CloseCode::BadMessage,
            Code::BadMessage,
            format!("Invalid id provided: {error}"),
            "use letters and digits, at most 128 bytes",
        )
    })?;
    if !is_jwt(&token) {
        return if instance.config.peerjs.open {
            let standing = Standing { secret: known_by(&token), yields: true };
            Ok(Client { app, peer, standing, expires_unix: u64::MAX })
        } else {
            Err(no_jwt(&peer))
        };
    }
    let verified = instance.keys.verify(&Token::new(token.as_str()), clock::unix_seconds()).await;
    let grant = verified.map_err(|error| match error {
        TokenError::KeysUnavailable(_) => Closing::TryLater("the keys of tokens are not available"),
        error => Closing::explained(CloseCode::Auth, error.problem()),
    })?;
    check(&grant, &app, &peer)?;
    let standing = match grant.subject() {
        Pattern::Exact(_) => Standing { secret: Secret::new("subject"), yields: false },
        Pattern::Prefix(_) => Standing { secret: known_by(&token), yields: true },
    };
    Ok(Client { app, peer, standing, expires_unix: grant.expires_unix() })
}

/// The app of a key. What PeerJS says where nobody has chosen one means the app of those who name none.
pub(super) fn app_of(key: &str) -> Result<AppId, Closing> {
    if key == DEFAULT_KEY {
        return Ok(AppId::default());
    }
    AppId::new(key).map_err(|error| {
        refused(
            CloseCode::NotAllowed,
            Code::NotAllowed,
            format!("Invalid key provided: {error}"),
            "use the name of the app as `key`",
        )
    })
}

fn check(grant: &Grant, app: &AppId, peer: &PeerId) -> Result<(), Closing> {
    if grant.app() != app {
        let right = match grant.app() {
            app if *app == AppId::default() => DEFAULT_KEY,
            app => app.as_str(),
        };
        return Err(refused(
            CloseCode::NotAllowed,
            Code::NotAllowed,
            format!(
                "Invalid key provided: the token is for the app {}, not for {app}",
                grant.app()
            ),
            format!("use `key: '{right}'`, or mint a token for this app"),
        ));
    }
    if !grant.may_be(peer) {
        return Err(refused(
            CloseCode::NotAllowed,
            Code::NotAllowed,
            format!("the token is for {}, not for {peer}", grant.subject()),
            "use the token's `sub` as the peer's id, or mint a token for this peer",
        ));
    }
    Ok(())
}

/// Three parts with dots between them. Clients that are given no token make up a word.
fn is_jwt(token: &str) -> bool {
    token.split('.').count() == 3
}

/// Of a token that does not name its bearer.
fn known_by(token: &str) -> Secret {
    Secret::new(format!("token {token}"))
}

fn no_jwt(peer: &PeerId) -> Closing {
    refused(
        CloseCode::Auth,
        Code::TokenMissing,
        "the `token` is no JWT",
        format!(
            "pass one for this peer as PeerJS's `token` option, new Peer('{peer}', {{ token }}): \
             `coordinator token --peer '{peer}'` mints it. For development, --peerjs-open lets \
             everybody in"
        ),
    )
}

fn refused(
    close: CloseCode,
    code: Code,
    detail: impl Into<String>,
    fix: impl Into<String>,
) -> Closing {
    Closing::explained(close, Problem::new(code, "Connection refused", detail, fix))
}

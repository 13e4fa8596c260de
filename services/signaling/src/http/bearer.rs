//! The bearer of a request's token, as an argument of a route.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use p2p_auth::{Grant, Scope};
use p2p_wire::{Code, Problem};

use super::problem::ProblemResponse;
use crate::half_open::Unproven;
use crate::instance::Instance;
use crate::session::token::Presented;

/// What the sender of a request may do.
pub(super) struct Bearer(pub(super) Arc<Grant>);

impl Bearer {
    /// The grant, if it has the scope.
    pub(super) fn with(self, scope: Scope) -> Result<Arc<Grant>, ProblemResponse> {
        if self.0.may(scope) {
            return Ok(self.0);
        }
        Err(Problem::new(
            Code::NotAllowed,
            "Not granted",
            format!("the token does not have the scope {scope}"),
            format!("mint a token with `{scope}` in `scope`"),
        )
        .into())
    }
}

impl FromRequestParts<Arc<Instance>> for Bearer {
    type Rejection = ProblemResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        instance: &Arc<Instance>,
    ) -> Result<Self, ProblemResponse> {
        let grant = Presented::in_headers(&parts.headers).verify(instance).await?;
        if let Some(unproven) = parts.extensions.get::<Arc<Unproven>>() {
            unproven.release();
        }
        Ok(Self(grant))
    }
}

//! What admin handlers take from requests.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use protocol::error::ErrorCode;

use crate::auth::AdminToken;
use crate::error::Problem;
use crate::http::extract::bearer;

/// An operator: who shows the admin token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operator;

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let token = parts.extensions.get::<Arc<AdminToken>>();
        let is_shown = token.is_some_and(|token| token.is(bearer(parts).unwrap_or_default()));
        is_shown.then_some(Self).ok_or_else(|| Problem::new(ErrorCode::Unauthenticated, "this is not the admin token"))
    }
}

//! Codes that carry a sign-in from the auth host to a website.

use serde::{Deserialize, Serialize};

use crate::gate::request::GateRequest;
use crate::platform::error::{Error, Result};
use crate::platform::id::{Id, Session};
use crate::platform::secret::{GateCode, Token};
use crate::request;
use crate::request::context::Context;

/// How long a code is honoured, in milliseconds: one redirect.
const CODE_LIFE: i64 = 60_000;

/// What a code stands for.
#[derive(Serialize, Deserialize)]
pub struct Coded {
    /// The session on the auth host.
    pub parent: Id<Session>,
    /// The browser that the request was made in.
    pub binding: String,
}

/// Makes the code by which a website's host opens a session that hangs on `parent`. It is good once, and for this request.
///
/// # Errors
/// 503 if D1 does not answer.
pub async fn issue_gate_code(
    context: &Context,
    request: &GateRequest,
    parent: &Id<Session>,
) -> Result<Token<GateCode>> {
    let code: Token<GateCode> = Token::new(context.random()?);
    let coded = Coded { parent: parent.clone(), binding: request.binding.clone() };
    let payload = serde_json::to_vec(&coded).map_err(|error| Error::Internal(error.to_string()))?;
    let (tenant, about) = (&request.tenant_id, request.app_id.as_str());
    let keep = request::store::verification::keep(context, tenant, &code, about, &payload, context.now + CODE_LIFE)?;
    context.db()?.batch([keep]).await?;
    Ok(code)
}

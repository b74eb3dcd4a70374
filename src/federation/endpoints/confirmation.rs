//! A link that works only once its owner has confirmed it by mail: `issuer.require_confirmation`.

use serde_json::json;

use crate::federation::flow::confirmation::WaitingAccount;
use crate::federation::{pages, store};
use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::d1::{StoreError, must_change};
use crate::platform::error::{Error, Result};
use crate::platform::secret::{AccountConfirmation, Token};
use crate::records::store::audit::Severity;
use crate::request::context::Context;
use crate::request::store::verification::Used;
use crate::session::call::Call;
use crate::{records, request, users};

fn read(context: &Context, used: &Used) -> Result<WaitingAccount> {
    serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no link: {error}")))
}

fn spent(call: &Call) -> Reply {
    Reply::page(400, pages::confirmation::spent(&call.context.frame("This link is spent")))
}

/// `GET /confirm-account?token=…`: asks whether to confirm.
///
/// # Errors
/// 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let context = &call.context;
    let text = call.request.param("token").unwrap_or_default();
    let Some(token) = Token::<AccountConfirmation>::parse(&text) else {
        return Ok(spent(call));
    };
    let used: Option<Used> =
        context.db()?.first(request::store::verification::peek(context, &token.hash(), None)).await?;
    let Some(used) = used else {
        return Ok(spent(call));
    };
    let waiting = read(context, &used)?;
    let frame = context.frame("Is this account yours?");
    Ok(Reply::page(200, pages::confirmation::page(&frame, &text, &waiting.issuer, &waiting.identity)))
}

/// `POST /confirm-account`: confirms. Whoever reads the user's mail owns the address, so it is proven as well.
///
/// # Errors
/// 503.
pub async fn confirm(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let text = fields.required("token", 200);
    fields.finish()?;
    let context = &call.context;
    let Some(token) = Token::<AccountConfirmation>::parse(&text) else {
        return Ok(spent(call));
    };
    let used: Option<Used> =
        context.db()?.first(request::store::verification::peek(context, &token.hash(), None)).await?;
    let Some(used) = used else {
        return Ok(spent(call));
    };
    let waiting = read(context, &used)?;
    let details = json!({ "account": waiting.account, "issuer": waiting.issuer });
    let id = context.row_id()?;
    let statements = [
        request::store::verification::take(context, &token.hash(), None),
        must_change(),
        store::upstream::confirm(context, &waiting.user, &waiting.account),
        must_change(),
        users::store::user::prove_email(context, &waiting.user, &waiting.email),
        must_change(),
        records::store::audit::audit(
            context,
            &id,
            Some(&waiting.user),
            "account.confirmed",
            Severity::Medium,
            &details,
        ),
    ];
    match context.db()?.batch(statements).await {
        Err(StoreError::Unchanged) => return Ok(spent(call)),
        other => other?,
    };
    let frame = context.frame("Confirmed");
    Ok(Reply::page(200, pages::confirmation::done(&frame, &waiting.issuer)))
}

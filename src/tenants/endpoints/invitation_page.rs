//! `/invitation`: where the mailed link leads.

use crate::http::incoming::Media;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::{Invited, Token};
use crate::session::authenticate::{Authentication, Depth};
use crate::session::call::Call;
use crate::tenants::caller::role_text;
use crate::tenants::pages::invitation::Shown;
use crate::tenants::{invitation_page, invitations, pages, store};
use crate::users;

/// The longest token read, in characters.
const LONGEST_TOKEN: usize = 200;

async fn spent(call: &Call) -> Result<Reply> {
    let is_signed_in = call.signed_in_user().await?.is_some();
    let frame = call.context.frame("This invitation cannot be answered any more");
    Ok(Reply::page(400, pages::invitation::spent(&frame, is_signed_in)))
}

/// `GET /invitation?token=…`: looking answers nothing, since mail scanners look as well.
///
/// # Errors
/// 503.
pub async fn page(call: &mut Call) -> Result<Reply> {
    let text = call.request.param("token").unwrap_or_default();
    let Some(token) = Token::<Invited>::parse(&text) else {
        return spent(call).await;
    };
    let Some(one) = invitation_page::find_invitation(&call.context, &token).await? else {
        return spent(call).await;
    };
    let signed_in = match call.visitor(Depth::Database).await? {
        Authentication::Authenticated(found) => Some(found.session.user.email),
        _ => None,
    };
    if !invitation_page::is_open(&call.context, &one) {
        // The mail that confirms their address may lead here once they have joined.
        if one.status == "accepted" && signed_in.as_ref() == Some(&one.email) {
            let frame = call.context.frame("You have accepted this invitation");
            return Ok(Reply::page(200, pages::invitation::accepted(&frame, &one.tenant_name)));
        }
        return spent(call).await;
    }
    let title = format!("Join {}", one.tenant_name);
    let roles = role_text(&one.roles);
    let shown = Shown {
        token: &text,
        organization: &one.tenant_name,
        inviter: one.inviter_email.as_deref(),
        email: &one.email,
        roles: &roles,
    };
    Ok(Reply::page(200, pages::invitation::page(&call.context.frame(&title), &shown, signed_in.as_deref())))
}

/// `POST /invitation`: joins, or turns it down. Whoever has the link reads the address's mail, so it is proven as well.
///
/// # Errors
/// 401, 403 for another address; 503.
pub async fn decide(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let text = fields.required("token", LONGEST_TOKEN);
    let decision = fields.required("decision", 20);
    fields.finish()?;
    let Some(token) = Token::<Invited>::parse(&text) else {
        return spent(call).await;
    };
    let by = store::invitation::find_by_token(&call.context, &token.hash());
    let found = match invitations::load_invitee(&call.context, by, true).await {
        Err(error) if error.wire() == Wire::INVITATION_NOT_FOUND => return spent(call).await,
        other => other?,
    };
    let (authenticated, one) = (&found.authenticated, &found.invitation);
    let context = &call.context;
    let joins = match decision.as_str() {
        "accept" => true,
        "reject" => false,
        _ => return Err(Error::Validation("[body.decision] Invalid option: expected accept or reject".to_owned())),
    };
    let cookies = if joins {
        let user = &authenticated.session.user;
        if !user.email_verified {
            // A third round trip, for those who came to be users by this invitation.
            context.db()?.batch([users::store::user::prove_email(context, &user.id, &user.email)]).await?;
        }
        match invitations::accept_invitation(&call.context, authenticated, one).await {
            Err(error) if error.wire() == Wire::INVITATION_NOT_FOUND => return spent(call).await,
            other => other?.1,
        }
    } else {
        match invitations::decline_invitation(context, authenticated, one).await {
            Err(error) if error.wire() == Wire::INVITATION_NOT_FOUND => return spent(call).await,
            other => other?,
        }
        authenticated.cookies.clone()
    };
    let frame = context.frame(if joins { "Welcome" } else { "Turned down" });
    Ok(Reply::page(200, pages::invitation::done(&frame, &one.tenant_name, joins)).with_cookies(cookies))
}

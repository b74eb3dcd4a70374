//! The end of a flow, in two shapes: by query and by form.

use crate::federation::callback::{AuthorizationCode, CallbackError, ExpectedIssuer, UnverifiedCallback};
use crate::federation::flow::begin::browser_binding;
use crate::federation::flow::identify::{Evidence, identify};
use crate::federation::flow::sign_in::Arrived;
use crate::federation::flow::token_endpoint::{TokenResponse, exchange};
use crate::federation::flow::{End, Ended, Failure, link, service_token, sign_in};
use crate::federation::id_token::Nonce;
use crate::federation::request::{Flow, Purpose};
use crate::federation::store;
use crate::federation::store::issuer::Upstream;
use crate::http::incoming::Media;
use crate::http::redirect::Target;
use crate::http::reply::Reply;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::secret::equal_in_constant_time;
use crate::request;
use crate::request::context::Context;
use crate::request::store::verification::Used;
use crate::session::authenticate::{Authentication, Depth};
use crate::session::call::Call;

/// `POST /callback/:id`: an issuer that answers by form (OAuth 2.0 Form Post Response Mode). Our cookies do not come
/// along with another site's POST, so the browser is sent once more, by GET, from our own.
///
/// # Errors
/// 400, 415.
pub async fn posted(call: &mut Call) -> Result<Reply> {
    let mut fields = call.request.fields(Media::Form).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["code", "state", "error", "error_description", "iss", "user"] {
        if let Some(value) = fields.optional(name, 8192) {
            query.append_pair(name, &value);
        }
    }
    fields.finish()?;
    let target = Target::own(format!("{}?{}", call.request.path(), query.finish()));
    Ok(Reply::redirect(303, &target))
}

/// `GET /callback/:id`.
///
/// # Errors
/// 503. Everything else is a redirect to a page that says what happened.
pub async fn callback(call: &mut Call) -> Result<Reply> {
    let name = call.segment.clone().unwrap_or_default();
    match finish(call, &name).await {
        Ok(reply) => Ok(reply),
        Err(End::Error(error)) => Err(error),
        Err(End::Failure(failure)) => {
            let refused = Error::refused(
                Wire { status: 302, code: "UPSTREAM_SIGN_IN_FAILED", message: "" },
                format!("{name}: {}: {}", failure.code, failure.reason),
            );
            call.context.log(call.request.path(), &refused);
            let page = failure.page.unwrap_or_else(|| "/api/auth/error".to_owned());
            Ok(Reply::redirect(302, &Target::own(page).with_query("error", &failure.code)))
        }
    }
}

async fn finish(call: &Call, name: &str) -> Ended<Reply> {
    let (upstream, code) = match accept(&call.context, call.request.query(), name).await? {
        Accepted::Code(accepted) => *accepted,
        Accepted::Refused(ended) => return Err(ended),
        Accepted::Spent(target) => return go_on_signed_in(call, target).await,
    };
    let page = code.flow.error_callback_url.clone();
    go_on(call, &upstream, code).await.map_err(|end| match end {
        End::Failure(failure) => End::Failure(Failure { page, ..failure }),
        End::Error(error) => End::Error(error),
    })
}

/// What a callback brings.
enum Accepted {
    /// The code of a flow that this browser began with this issuer.
    Code(Box<(Upstream, AuthorizationCode)>),
    /// Nothing that can be used; the flow's own page is told.
    Refused(End),
    /// A state that is used, expired or unknown; with the target of the sign-in, if that is known and this browser began it.
    Spent(Option<String>),
}

/// Reads a callback, and uses its state up. An error has no page of the flow's to be told on.
async fn accept(context: &Context, query: &str, name: &str) -> Ended<Accepted> {
    let unverified = UnverifiedCallback::parse(query)?;
    let state = unverified.state()?;
    // Used up by looking: whatever is wrong with the rest, this state is over.
    let statements = [
        request::store::verification::take(context, &state.hash(), None),
        store::issuer::by_name(&context.tenant().id, name),
    ];
    let mut answers = context.db()?.batch(statements).await?;
    let used: Option<Used> = answers.row()?;
    let upstream: Option<Upstream> = answers.row()?;
    let Some(used) = used else {
        let found: Option<Used> =
            context.db()?.first(request::store::verification::find(context, &state.hash())).await?;
        return Ok(Accepted::Spent(target_of_spent(context, found.as_ref())?));
    };
    if !is_of_this_browser(context, &used) {
        return Err(CallbackError::StateMismatch("begun in another browser").into());
    }
    let flow = read_flow(context, &used)?;
    let page = flow.error_callback_url.clone();
    let told = |end: End| match end {
        End::Failure(failure) => End::Failure(Failure { page: page.clone(), ..failure }),
        End::Error(error) => End::Error(error),
    };
    let Some(upstream) = upstream else {
        return Ok(Accepted::Refused(told(End::failure("provider_not_found", "issuer is gone or disabled"))));
    };
    let issuer = upstream.base_url.clone();
    let expected = ExpectedIssuer { id: &upstream.id, identifier: &issuer, sends_iss: upstream.sends_iss };
    Ok(match unverified.verify(flow, &expected) {
        Ok(code) => Accepted::Code(Box::new((upstream, code))),
        Err(error) => Accepted::Refused(told(error.into())),
    })
}

/// Whether this browser began the flow.
fn is_of_this_browser(context: &Context, used: &Used) -> bool {
    let mine = browser_binding(context).map(|binding| binding.hash());
    mine.is_some_and(|hash| {
        used.identifier.as_deref().is_some_and(|bound| equal_in_constant_time(bound, hash.as_str()))
    })
}

fn read_flow(context: &Context, used: &Used) -> Result<Flow> {
    serde_json::from_slice(used.payload(context)?.expose())
        .map_err(|error| Error::Internal(format!("verification.payload_sealed is no flow: {error}")))
}

/// Where a sign-in was going whose state is used or expired. A flow that was to link an account is not a sign-in: who comes
/// back from it must not believe that it worked.
fn target_of_spent(context: &Context, found: Option<&Used>) -> Ended<Option<String>> {
    let Some(found) = found.filter(|found| is_of_this_browser(context, found)) else {
        return Ok(None);
    };
    let flow = read_flow(context, found)?;
    match flow.purpose {
        Purpose::SignIn => Ok(Some(flow.callback_url)),
        Purpose::Link(_) | Purpose::SystemAccount(_) => {
            Err(CallbackError::StateMismatch("used or expired, and not of a sign-in").into())
        }
    }
}

/// A callback that was reloaded, or that comes too late: a browser that is signed in goes on, as the user that it is signed in
/// as. Nothing is exchanged and no session is opened.
async fn go_on_signed_in(call: &Call, target: Option<String>) -> Ended<Reply> {
    if call.request.source().is_navigation()
        && let Authentication::Authenticated(one) = call.visitor(Depth::Database).await?
        && !one.session.user.is_anonymous
    {
        let target = target.map_or_else(|| Target::own("/account"), Target::own);
        return Ok(Reply::redirect(302, &target).with_cookies(one.cookies));
    }
    Err(CallbackError::StateMismatch("unknown, expired or used").into())
}

/// Exchanges the code, believes whom the issuer names, and does what the flow was for.
async fn go_on(call: &Call, upstream: &Upstream, code: AuthorizationCode) -> Ended<Reply> {
    let context = &call.context;
    let response = exchange(context, upstream, &code).await?;
    let response: TokenResponse = response.map_err(|refused| End::failure("invalid_code", refused.reason))?;
    let nonce = if upstream.service_type.repeats_nonce() { Nonce::Required } else { Nonce::IfRepeated };
    let evidence = Evidence {
        id_token: response.id_token.as_deref(),
        nonce: nonce(&code.flow.nonce),
        access_token: Some(response.access_token.as_str()).filter(|token| !token.is_empty()),
        is_brought: false,
        form_user: code.user.as_ref(),
    };
    let profile = identify(context, upstream, &evidence).await?;
    let tokens = response.tokens(&code.flow.scope);
    match &code.flow.purpose {
        Purpose::SignIn => {
            let Arrived { outcome, is_new } = sign_in::sign_in(context, upstream, &profile, &tokens).await?;
            let new_user_url = code.flow.new_user_callback_url.as_ref().filter(|_| is_new);
            let target = new_user_url.unwrap_or(&code.flow.callback_url);
            Ok(outcome.redirect(302, &Target::own(target)))
        }
        Purpose::Link(user) => {
            let cookies = link::link(&call.context, upstream, &profile, &tokens, user).await?;
            Ok(Reply::redirect(302, &Target::own(&code.flow.callback_url)).with_cookies(cookies))
        }
        Purpose::SystemAccount(administrator) => {
            service_token::load_system_account(&call.context, upstream, &profile, &tokens, administrator).await?;
            Ok(Reply::redirect(302, &Target::own(&code.flow.callback_url)))
        }
    }
}

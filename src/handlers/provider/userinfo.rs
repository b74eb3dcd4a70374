//! The userinfo endpoint (OpenID Connect Core 1.0, section 5.3).

use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Result;
use crate::handlers::Call;
use crate::handlers::provider::authorize::doubled;
use crate::handlers::provider::{issuer, subject};
use crate::http::reply::Reply;
use crate::oauth::claims::{Subject, by_scope};
use crate::oauth::parameters::Parameters;
use crate::oauth::problem::{Code, Problem};
use crate::secret::sha256_base64url;
use crate::store;
use crate::store::oauth::token::Found;

/// The longest token read, in bytes.
const LONGEST: usize = 8192;

/// `GET /oauth2/userinfo`.
///
/// # Errors
/// 401 `invalid_token`, 403 `insufficient_scope`.
pub async fn get(call: &mut Call) -> Result<Reply> {
    answer(&call.context, None).await
}

/// `POST /oauth2/userinfo`: the token in the header, or in the form (RFC 6750, section 2.2).
///
/// # Errors
/// As [`get`].
pub async fn post(call: &mut Call) -> Result<Reply> {
    let has_form = call.request.header("Content-Type").is_some_and(|kind| kind.contains("form-urlencoded"));
    let form = if has_form { call.request.form().await? } else { String::new() };
    let parameters = Parameters::parse(&form).map_err(doubled)?;
    answer(&call.context, parameters.get("access_token")).await
}

/// The token of a request's header (section 2.1).
#[must_use]
pub fn bearer(context: &Context) -> Option<String> {
    let header = context.header("Authorization")?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim().to_owned())
}

async fn answer(context: &Context, posted: Option<&str>) -> Result<Reply> {
    let invalid = |reason: &str| Problem::new(Code::InvalidToken, "the access token is not good").because(reason);
    let header = bearer(context);
    if header.is_some() && posted.is_some() {
        return Err(Problem::new(Code::InvalidRequest, "the access token is there twice").into());
    }
    let token = header.or_else(|| posted.map(str::to_owned)).filter(|token| token.len() <= LONGEST);
    let token = token.ok_or_else(|| invalid("none, or too long"))?;
    let found: Option<Found> =
        context.db()?.first(store::oauth::token::find(context, &sha256_base64url(&token))).await?;
    let found = found.ok_or_else(|| invalid("unknown"))?;
    if found.kind != "access" || !found.is_good {
        return Err(invalid("no access token, or not good any more").into());
    }
    // RFC 8707: a token for another resource is none for us.
    let issuer = issuer(context);
    if !found.audience.is_empty() && !found.audience.iter().any(|resource| resource.trim_end_matches('/') == issuer) {
        return Err(invalid("for another resource").into());
    }
    let person = found.person.as_ref().filter(|_| found.scope.split(' ').any(|scope| scope == "openid"));
    let no_scope = || Problem::new(Code::InsufficientScope, "the access token is not of an OpenID Connect request");
    let person = person.ok_or_else(no_scope)?;
    let tenant = context.tenant();
    let about = Subject { person, roles: &found.roles, tenant: (tenant.id.as_str(), &tenant.name) };
    let mut claims = by_scope(&about, &found.scope);
    claims.insert("sub".to_owned(), json!(subject(&person.id, found.is_pairwise, &found.redirect_uris)));
    Reply::json(200, &Value::Object(claims))
}

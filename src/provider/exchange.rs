//! Token exchange (RFC 8693): a token for another token, for less or for elsewhere.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::{Value, json};

use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};
use crate::provider::client::Client;
use crate::provider::parameters::Parameters;
use crate::provider::token::narrowed;

/// An access token (section 3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A JWT, which our access tokens may be.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The longest chain of actors.
const LONGEST_CHAIN: usize = 5;

/// A token of ours that is presented, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct SubjectToken<'a> {
    /// Whether it is an access token, and good.
    pub is_good: bool,
    /// Whether it stands for a user.
    pub has_user: bool,
    /// Whom it stands for.
    pub subject: &'a str,
    /// The client that it was given to.
    pub client_id: &'a str,
    /// Scopes, space-separated.
    pub scope: &'a str,
    /// Resources.
    pub audience: &'a [String],
    /// Who acts for the user already.
    pub act: Option<&'a Value>,
    /// Its end.
    pub expires_at: Millis,
}

/// What is given for it.
#[derive(Debug, PartialEq)]
pub struct Exchanged {
    /// Scopes, space-separated.
    pub scope: String,
    /// Resources.
    pub resources: Vec<String>,
    /// Who acts for the user.
    pub act: Option<Value>,
    /// What it does not outlive.
    pub until: Millis,
}

fn bad(description: &'static str) -> Problem {
    Problem::new(Code::InvalidRequest, description)
}

/// Whether a request names types of tokens that we know (section 2.1).
///
/// # Errors
/// `invalid_request`.
pub fn judge_types(parameters: &Parameters, client: &Client) -> Result<(), Problem> {
    let is_ours = |name: &str| matches!(parameters.get(name), Some(ACCESS_TOKEN | JWT));
    if !is_ours("subject_token_type") {
        return Err(bad("subject_token_type is missing, or none that we know"));
    }
    if parameters.get("actor_token").is_some() != parameters.get("actor_token_type").is_some() {
        return Err(bad("actor_token and actor_token_type come together"));
    }
    if parameters.get("actor_token").is_some() && !is_ours("actor_token_type") {
        return Err(bad("actor_token_type is none that we know"));
    }
    match parameters.get("requested_token_type") {
        None | Some(ACCESS_TOKEN) => Ok(()),
        Some(JWT) if client.has_jwt_access_tokens => Ok(()),
        Some(_) => Err(bad("requested_token_type is none that we give")),
    }
}

/// What a client gets for a user's token. With an actor's it is delegation, and says so; without, it is impersonation
/// (section 1.1).
///
/// # Errors
/// `invalid_request` for a token that is not good or not for this client, `invalid_scope`, `invalid_target`.
pub fn exchange(
    parameters: &Parameters,
    client: &Client,
    subject: &SubjectToken<'_>,
    actor: Option<&SubjectToken<'_>>,
) -> Result<Exchanged, Problem> {
    if !subject.is_good || !subject.has_user {
        return Err(bad("subject_token is not good, or of no user"));
    }
    // Whoever finds a token must not make another of it: it was given to this client, or sent to it as its resource.
    if subject.client_id != client.client_id && !client.is_among(subject.audience) {
        return Err(bad("subject_token is not good, or of no user").because("neither the client's nor for it"));
    }
    let act = match actor {
        None => subject.act.cloned(),
        Some(actor) if !actor.is_good || actor.client_id != client.client_id => {
            return Err(bad("actor_token is not good, or another client's"));
        }
        Some(actor) => {
            let mut act = json!({ "sub": actor.subject, "client_id": actor.client_id });
            if let Some(before) = subject.act {
                act["act"] = before.clone();
            }
            Some(act)
        }
    };
    if act.as_ref().is_some_and(|act| length(act) > LONGEST_CHAIN) {
        return Err(bad("too many act for the user already"));
    }
    let own: Vec<&str> = subject
        .scope
        .split_whitespace()
        .filter(|scope| *scope != "offline_access" && client.scopes.iter().any(|known| known == scope))
        .collect();
    let scope = narrowed(&own.join(" "), parameters)?;
    let mut resources = parameters.resources().to_vec();
    resources.extend_from_slice(parameters.audiences());
    // Where tokens may be taken to is said by whoever looks after the client, and never by the request alone.
    let is_allowed =
        |resource: &String| client.details.resources.contains(resource) || subject.audience.contains(resource);
    let refused = || Problem::new(Code::InvalidTarget, "a resource is not the client's to ask for");
    if !resources.iter().all(is_allowed) {
        return Err(refused());
    }
    if resources.is_empty() {
        resources = subject.audience.to_vec();
    }
    if !resources.iter().all(|resource| client.knows(resource)) {
        return Err(refused().because("a resource that there is not"));
    }
    let until = actor.map_or(subject.expires_at, |actor| actor.expires_at.min(subject.expires_at));
    Ok(Exchanged { scope, resources, act, until })
}

fn length(act: &Value) -> usize {
    1 + act.get("act").map_or(0, length)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::provider::authorization::tests::client;

    fn parameters(text: &str) -> Parameters {
        Parameters::parse(text).expect("parameters")
    }

    fn token<'a>(audience: &'a [String], act: Option<&'a Value>) -> SubjectToken<'a> {
        SubjectToken {
            is_good: true,
            has_user: true,
            subject: "u",
            client_id: "other",
            scope: "openid email offline_access phone",
            audience,
            act,
            expires_at: 100,
        }
    }

    fn resource() -> Client {
        let mut client = client();
        client.details.resource = Some("https://a.example".to_owned());
        client.details.resources = vec!["https://b.example".to_owned()];
        client
    }

    #[test]
    fn a_resource_exchanges_what_was_sent_to_it() {
        let audience = ["https://a.example".to_owned()];
        let done = exchange(&parameters("scope=email"), &resource(), &token(&audience, None), None).expect("good");
        assert_eq!(done, Exchanged { scope: "email".to_owned(), resources: audience.to_vec(), act: None, until: 100 });
        let all = exchange(&parameters("resource=https://b.example"), &resource(), &token(&audience, None), None);
        let all = all.expect("good");
        assert_eq!((all.scope.as_str(), all.resources), ("openid email", vec!["https://b.example".to_owned()]));
        let by_audience =
            exchange(&parameters("audience=https://b.example"), &resource(), &token(&audience, None), None);
        assert_eq!(by_audience.expect("good").resources, ["https://b.example"]);
    }

    #[test]
    fn actors_are_named_in_their_order() {
        let audience = ["https://a.example".to_owned()];
        let before = json!({ "sub": "s1" });
        let subject = token(&audience, Some(&before));
        let actor = SubjectToken { subject: "s2", client_id: "app", expires_at: 50, ..token(&[], None) };
        let done = exchange(&parameters(""), &resource(), &subject, Some(&actor)).expect("good");
        assert_eq!(done.act, Some(json!({ "sub": "s2", "client_id": "app", "act": { "sub": "s1" } })));
        assert_eq!(done.until, 50);
        let impersonation = exchange(&parameters(""), &resource(), &subject, None).expect("good");
        assert_eq!(impersonation.act, Some(before.clone()), "who acted before is not forgotten");
        let long = json!({ "act": { "act": { "act": { "act": {} } } } });
        assert!(exchange(&parameters(""), &resource(), &token(&audience, Some(&long)), Some(&actor)).is_err());
    }

    #[test]
    fn the_table_of_exchanges() {
        use Code::{InvalidRequest, InvalidScope, InvalidTarget};
        let audience = ["https://a.example".to_owned()];
        let good = token(&audience, None);
        let judge = |text: &str, subject: SubjectToken<'_>, actor: Option<SubjectToken<'_>>| {
            exchange(&parameters(text), &resource(), &subject, actor.as_ref()).map_err(|problem| problem.code)
        };
        assert!(judge("", good, None).is_ok());
        assert_eq!(judge("", SubjectToken { is_good: false, ..good }, None), Err(InvalidRequest));
        assert_eq!(judge("", SubjectToken { has_user: false, ..good }, None), Err(InvalidRequest));
        assert_eq!(judge("", SubjectToken { audience: &[], ..good }, None), Err(InvalidRequest), "not for this client");
        assert!(judge("", SubjectToken { audience: &[], client_id: "app", ..good }, None).is_ok(), "its own");
        assert_eq!(judge("scope=offline_access", good, None), Err(InvalidScope));
        assert_eq!(judge("scope=phone", good, None), Err(InvalidScope), "not this client's");
        assert_eq!(judge("scope=admin", good, None), Err(InvalidScope));
        assert_eq!(judge("resource=https://c.example", good, None), Err(InvalidTarget));
        assert_eq!(judge("audience=c", good, None), Err(InvalidTarget));
        assert_eq!(judge("", good, Some(good)), Err(InvalidRequest), "another client's actor");
        let own = SubjectToken { client_id: "app", ..good };
        assert_eq!(judge("", good, Some(SubjectToken { is_good: false, ..own })), Err(InvalidRequest));
    }

    #[test]
    fn types_are_those_that_we_know() {
        let of = |text: &str| judge_types(&parameters(text), &client()).is_ok();
        let subject = format!("subject_token_type={ACCESS_TOKEN}");
        assert!(of(&subject) && of(&format!("subject_token_type={JWT}&requested_token_type={JWT}")));
        assert!(of(&format!("{subject}&actor_token=x&actor_token_type={ACCESS_TOKEN}")));
        for bad in [
            String::new(),
            "subject_token_type=urn:ietf:params:oauth:token-type:saml2".to_owned(),
            format!("{subject}&requested_token_type=urn:ietf:params:oauth:token-type:refresh_token"),
            format!("{subject}&actor_token=x"),
            format!("{subject}&actor_token_type={ACCESS_TOKEN}"),
            format!("{subject}&actor_token=x&actor_token_type=y"),
        ] {
            assert!(!of(&bad), "{bad}");
        }
    }
}

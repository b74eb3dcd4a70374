//! Claims asked for one by one: the `claims` parameter (OpenID Connect Core 1.0, section 5.5).
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::platform::problem::{Code, Problem};
use crate::provider::claims::scope_of;

/// The most claims in each of the two places.
const MOST: usize = 60;

/// What is asked for. Claims that we do not know are passed over, as section 5.5 says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClaimsRequest {
    /// In the ID token.
    pub id_token: Vec<String>,
    /// At the userinfo endpoint.
    pub userinfo: Vec<String>,
    /// The user that it has to be.
    pub sub: Option<String>,
    /// What `acr` is to be.
    pub acr: Vec<String>,
    /// Whether it has to be (section 5.5.1.1).
    pub is_acr_essential: bool,
}

fn malformed() -> Problem {
    Problem::new(Code::InvalidRequest, "claims is no JSON of the standard's form")
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(many) if many.len() <= MOST => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

impl ClaimsRequest {
    /// Reads the parameter. A claim that the client's scopes do not cover is passed over: it could not have it by scope either.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn parse(text: &str, scopes: &[String]) -> Result<Self, Problem> {
        let value: Map<String, Value> = serde_json::from_str(text).map_err(|_| malformed())?;
        let mut request = Self::default();
        for place in ["id_token", "userinfo"] {
            let claims = match value.get(place) {
                None | Some(Value::Null) => continue,
                Some(Value::Object(claims)) if claims.len() <= MOST => claims,
                Some(_) => return Err(malformed()),
            };
            for (name, demand) in claims {
                let demand = match demand {
                    Value::Null => &Map::new(),
                    Value::Object(demand) => demand,
                    _ => return Err(malformed()),
                };
                request.read(place, name, demand, scopes)?;
            }
        }
        Ok(request)
    }

    fn read(&mut self, place: &str, name: &str, demand: &Map<String, Value>, scopes: &[String]) -> Result<(), Problem> {
        let values = match demand.get("value").or_else(|| demand.get("values")) {
            // Only these two have values that change anything.
            Some(value) if name == "sub" || name == "acr" => texts(value).ok_or_else(malformed)?,
            _ => Vec::new(),
        };
        match name {
            "sub" => {
                let sub = values.into_iter().next();
                // Two users cannot sign in at once.
                if sub.is_some() && self.sub.is_some() && self.sub != sub {
                    return Err(malformed());
                }
                self.sub = sub.or(self.sub.take());
            }
            "acr" => {
                self.is_acr_essential |= demand.get("essential") == Some(&Value::Bool(true)) && !values.is_empty();
                self.acr.extend(values);
            }
            _ if scope_of(name).is_some_and(|scope| scopes.iter().any(|own| own == scope)) => {
                let list = if place == "id_token" { &mut self.id_token } else { &mut self.userinfo };
                list.push(name.to_owned());
            }
            _ => (),
        }
        Ok(())
    }

    /// The scopes that stand for what is asked for: its user is asked with their words.
    pub fn scopes(&self) -> impl Iterator<Item = &'static str> {
        self.id_token.iter().chain(&self.userinfo).filter_map(|name| scope_of(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClaimsRequest, Code> {
        let scopes = ["openid", "email", "profile"].map(str::to_owned);
        ClaimsRequest::parse(text, &scopes).map_err(|problem| problem.code)
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let read = parse(
            r#"{"userinfo": {"given_name": {"essential": true}, "nickname": null, "email": null, "phone_number": null},
                "id_token": {"auth_time": {"essential": true}, "acr": {"essential": true, "values": ["phr"]},
                             "sub": {"value": "u1"}, "email": {"essential": true}}, "other": 7}"#,
        )
        .expect("reads");
        assert_eq!(read.userinfo, ["email", "given_name"], "phone is not this client's, nickname nobody's");
        assert_eq!(read.id_token, ["email"]);
        assert_eq!(
            (read.sub.as_deref(), read.acr.as_slice(), read.is_acr_essential),
            (Some("u1"), &["phr".to_owned()][..], true)
        );
        assert_eq!(read.scopes().collect::<Vec<_>>(), ["email", "email", "profile"]);
        let voluntary = parse(r#"{"id_token": {"acr": {"values": ["phr"]}}}"#).expect("reads");
        assert!(!voluntary.is_acr_essential);
        assert_eq!(parse("{}"), Ok(ClaimsRequest::default()));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "",
            "x",
            "[]",
            "7",
            r#"{"userinfo": []}"#,
            r#"{"userinfo": {"email": true}}"#,
            r#"{"id_token": "email"}"#,
            r#"{"id_token": {"sub": {"value": 7}}}"#,
            r#"{"id_token": {"acr": {"values": [7]}}}"#,
            r#"{"id_token": {"sub": {"value": "a"}}, "userinfo": {"sub": {"value": "b"}}}"#,
        ] {
            assert_eq!(parse(text), Err(Code::InvalidRequest), "{text}");
        }
    }
}

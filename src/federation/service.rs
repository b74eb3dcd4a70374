//! Kinds of upstream service, and what each does otherwise than the others.
//!
//! PURE: no I/O, no clock, no randomness.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::federation::preset;
use crate::federation::preset::Preset;

/// A kind of service: `issuer.service_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceType {
    /// accounts.google.com.
    Google,
    /// login.microsoftonline.com; `settings.tenant` says whose people.
    Microsoft,
    /// github.com.
    Github,
    /// gitlab.com, or a GitLab of one's own.
    Gitlab,
    /// facebook.com.
    Facebook,
    /// appleid.apple.com; `settings.teamId`.
    Apple,
    /// linkedin.com.
    Linkedin,
    /// discord.com.
    Discord,
    /// A Nextcloud.
    Nextcloud,
    /// A Moodle with its plugin `local_oauth`.
    Moodle,
    /// Any OpenID Provider with discovery.
    #[default]
    Oidc,
    /// Any OAuth 2.0 service with an endpoint that says who the user is.
    Oauth2,
}

impl ServiceType {
    /// Reads the name of a kind.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(Value::String(name.to_owned())).ok()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What is known of it.
    #[must_use]
    pub const fn preset(self) -> Preset {
        match self {
            Self::Google => preset::GOOGLE,
            Self::Microsoft => preset::MICROSOFT,
            Self::Gitlab => preset::GITLAB,
            Self::Apple => preset::APPLE,
            Self::Linkedin => preset::LINKEDIN,
            Self::Github => preset::GITHUB,
            Self::Facebook => preset::FACEBOOK,
            Self::Discord => preset::DISCORD,
            Self::Nextcloud => preset::NEXTCLOUD,
            Self::Moodle => preset::MOODLE,
            Self::Oidc => preset::OPEN_ID,
            Self::Oauth2 => preset::OAUTH,
        }
    }

    /// Whether its ID tokens repeat the nonce of the request.
    #[must_use]
    pub const fn repeats_nonce(self) -> bool {
        !matches!(self, Self::Linkedin)
    }

    /// Whether it does PKCE (RFC 7636). Two refuse a token request that carries a `code_verifier`; there the state alone
    /// ties the answer to the browser.
    #[must_use]
    pub const fn does_pkce(self) -> bool {
        !matches!(self, Self::Linkedin | Self::Facebook)
    }

    /// A header without which its API does not answer.
    #[must_use]
    pub const fn api_header(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nextcloud => Some(("ocs-apirequest", "true")),
            _ => None,
        }
    }

    /// Whether its client secrets are signed JWTs of our own making.
    #[must_use]
    pub const fn signs_client_secret(self) -> bool {
        matches!(self, Self::Apple)
    }

    /// Puts what a service says otherwise into the words that its mapping expects.
    pub fn normalise(self, said: &mut Map<String, Value>) {
        match self {
            // The list comes from a second call. `email` of the first is what the profile shows, proven or not.
            Self::Github => {
                let emails = said.get("emails").and_then(Value::as_array).cloned().unwrap_or_default();
                let is = |entry: &&Value, name: &str| entry.get(name) == Some(&Value::Bool(true));
                let primary = emails.iter().find(|entry| is(entry, "primary"));
                if let Some(address) = primary.and_then(|entry| entry.get("email")) {
                    said.insert("email".to_owned(), address.clone());
                    said.insert("email_verified".to_owned(), primary.is_some_and(|one| is(&one, "verified")).into());
                } else {
                    said.remove("email_verified");
                }
                if said.get("name").is_none_or(Value::is_null)
                    && let Some(login) = said.get("login").cloned()
                {
                    said.insert("name".to_owned(), login);
                }
            }
            Self::Discord => {
                let text = |said: &Map<String, Value>, name: &str| said.get(name)?.as_str().map(str::to_owned);
                if let (Some(id), Some(avatar)) = (text(said, "id"), text(said, "avatar")) {
                    let url = format!("https://cdn.discordapp.com/avatars/{id}/{avatar}.png");
                    said.insert("avatar_url".to_owned(), url.into());
                }
                if let (None, Some(name)) = (text(said, "global_name"), said.get("username").cloned()) {
                    said.insert("global_name".to_owned(), name);
                }
            }
            Self::Nextcloud => {
                // Older ones spell it without the hyphen.
                if let Some(Value::Object(data)) = said.get_mut("ocs").and_then(|ocs| ocs.get_mut("data"))
                    && !data.contains_key("display-name")
                    && let Some(name) = data.get("displayname").cloned()
                {
                    data.insert("display-name".to_owned(), name);
                }
            }
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::mapping::Field;
    use crate::federation::preset::Protocol;

    const ALL: [ServiceType; 12] = [
        ServiceType::Google,
        ServiceType::Microsoft,
        ServiceType::Github,
        ServiceType::Gitlab,
        ServiceType::Facebook,
        ServiceType::Apple,
        ServiceType::Linkedin,
        ServiceType::Discord,
        ServiceType::Nextcloud,
        ServiceType::Moodle,
        ServiceType::Oidc,
        ServiceType::Oauth2,
    ];

    #[test]
    fn every_kind_has_a_name_and_a_preset_that_can_be_used() {
        for kind in ALL {
            assert_eq!(ServiceType::parse(&kind.name()), Some(kind));
            let preset = kind.preset();
            for (external, internal) in preset.mapping {
                assert!(Field::parse(internal).is_some(), "{kind:?}: {external} → {internal}");
            }
            let has_subject = preset.mapping.iter().any(|(_, internal)| *internal == "subject");
            let needs_one = preset.protocol == Protocol::OAuth && kind != ServiceType::Oauth2;
            assert_eq!(has_subject, needs_one, "{kind:?}: who the user is");
            assert_eq!(preset.protocol == Protocol::OpenId, preset.scopes.split(' ').any(|scope| scope == "openid"));
        }
        assert_eq!(ServiceType::parse("myspace"), None);
    }

    #[test]
    fn of_githubs_addresses_the_primary_one_counts_and_only_if_verified() {
        let said = |emails: Value| {
            let mut said = Map::new();
            said.insert("email".to_owned(), "shown@example.org".into());
            said.insert("email_verified".to_owned(), true.into());
            said.insert("emails".to_owned(), emails);
            ServiceType::Github.normalise(&mut said);
            (said["email"].clone(), said.get("email_verified").cloned())
        };
        let list = |verified: bool| serde_json::json!([{"email": "second@example.org", "primary": false, "verified": true}, {"email": "first@example.org", "primary": true, "verified": verified}]);
        assert_eq!(said(list(true)), ("first@example.org".into(), Some(true.into())));
        assert_eq!(said(list(false)), ("first@example.org".into(), Some(false.into())));
        assert_eq!(said(Value::Null), ("shown@example.org".into(), None), "what the profile shows is not proven");
    }
}

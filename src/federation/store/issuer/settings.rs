//! `issuer.settings`, and the names under which the columns of an issuer are sealed.

use serde::{Deserialize, Serialize};

use crate::platform::secret::Cell;

/// Settings of one kind of service or another: `issuer.settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Microsoft: whose people; an id, `common` or `organizations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Apple: the team that signs client secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// Client ids of native apps, whose ID tokens sign in as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Whether its assertions are grants (RFC 7523, section 2.1): it may speak for its people while they are not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_assertions: bool,
    /// `false` for a service that refuses PKCE's parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkce: Option<bool>,
}

/// The cell of a sealed column.
#[must_use]
pub const fn cell<'a>(column: &'a str, issuer: &'a str) -> Cell<'a> {
    Cell { table: "issuer", column, row: issuer }
}

//! A tenant as the login protocol shows it.

use serde::Deserialize;
use serde_json::Value;

use crate::platform::id::{Id, Millis, Tenant};

/// A tenant, as its members see it.
#[derive(Clone, Debug, Deserialize)]
pub struct Organization {
    /// Id.
    pub id: Id<Tenant>,
    /// Name.
    pub name: String,
    /// Slug.
    pub slug: String,
    /// Picture URL.
    pub logo: Option<String>,
    /// Whatever its owner keeps there.
    pub metadata: Value,
    /// `active`, `suspended` or `pending_deletion`.
    pub status: String,
    /// When it will be deleted, if that is so.
    pub deletion_scheduled_at: Option<Millis>,
    /// The security policy, as it was written.
    pub security_policy: Value,
    /// Creation.
    pub created_at: Millis,
}

/// `json_object` of an [`Organization`], for the tenant under an alias.
macro_rules! organization_json {
    ($t:literal) => {
        concat!(
            "json_object('id', ",
            $t,
            ".id, 'name', ",
            $t,
            ".name, 'slug', ",
            $t,
            ".slug, 'logo', ",
            $t,
            ".logo, 'metadata', json(",
            $t,
            ".metadata), 'status', ",
            $t,
            ".status, 'deletion_scheduled_at', ",
            $t,
            ".deletion_scheduled_at, 'security_policy', json(",
            $t,
            ".security_policy), 'created_at', ",
            $t,
            ".created_at)"
        )
    };
}

pub(crate) use organization_json;

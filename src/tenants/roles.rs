//! Reading permissions from a request.
//!
//! PURE: no I/O, no clock, no randomness.

use crate::access::permission::Permissions;
use crate::http::fields::Fields;

/// Reads `permissions`, or `permission` as the protocol calls it as well.
pub fn permission_field(fields: &mut Fields) -> Permissions {
    let (name, value) = match (fields.take("permissions"), fields.take("permission")) {
        (Some(_), Some(_)) => {
            fields.refuse("permission", "Sent beside permissions");
            return Permissions::default();
        }
        (Some(value), None) => ("permissions", value),
        (None, Some(value)) => ("permission", value),
        (None, None) => {
            fields.refuse("permissions", "Invalid input: expected object, received undefined");
            return Permissions::default();
        }
    };
    Permissions::parse(&value).unwrap_or_else(|problem| {
        fields.refuse(name, &problem.0);
        Permissions::default()
    })
}

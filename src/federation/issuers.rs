//! Loading an issuer for its administrators.

use crate::access::action::Action;
use crate::admin::administrator::{Administrator, authorize_administrator};
use crate::federation::store::issuer::IssuerRecord;
use crate::platform::error::{Error, Result, Wire};
use crate::platform::id::{Id, Issuer};
use crate::request::context::Context;

pub(crate) fn issuer_not_found() -> Error {
    Error::refused(Wire::ISSUER_NOT_FOUND, "unknown, or another tenant's")
}

/// The id in the path.
///
/// # Errors
/// 404 for what is none.
pub fn issuer_id(segment: Option<&str>) -> Result<Id<Issuer>> {
    segment.and_then(Id::parse).ok_or_else(issuer_not_found)
}

/// Whether an issuer is the administrator's to change.
///
/// # Errors
/// 403 for one that is everybody's, and they are not the one who looks after those.
pub fn may_change(administrator: &Administrator, record: &IssuerRecord) -> Result<()> {
    if record.is_global && !administrator.is_global {
        return Err(Error::refused(Wire::FORBIDDEN, "an issuer of every tenant's"));
    }
    Ok(())
}

/// The administrator, and the issuer that the path names.
///
/// # Errors
/// 401, 403, 404.
pub async fn load_issuer_as_administrator(
    context: &Context,
    segment: Option<&str>,
) -> Result<(Administrator, IssuerRecord)> {
    let id = issuer_id(segment)?;
    let mut administrator = authorize_administrator(
        context,
        Action::ManageIssuers,
        vec![crate::federation::store::issuer::record(&context.tenant().id, &id)],
    )
    .await?;
    let record: Option<IssuerRecord> = administrator.answers.row()?;
    let record = record.ok_or_else(issuer_not_found)?.with_public_key(context)?;
    Ok((administrator, record))
}

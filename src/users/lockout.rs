//! Counting a failed sign-in towards the lock of an account.

use crate::platform::d1::Statement;
use crate::platform::error::Result;
use crate::platform::id::{Id, User};
use crate::records;
use crate::records::mail;
use crate::request::context::Context;
use crate::users::store;

/// The statements that count a wrong guess, lock the account at every so many, and tell its owner.
///
/// # Errors
/// If the platform has no randomness.
pub fn failed_sign_in_statements(context: &Context, user: &Id<User>) -> Result<[Statement; 3]> {
    let told = mail::locked(&context.tenant().name, context.auth_origin().as_str());
    Ok([
        store::sign_in::failed(context, user),
        records::store::audit::locked(context, &context.row_id()?, user),
        records::store::outbox::queue_if_locked(context, user, &told)?,
    ])
}

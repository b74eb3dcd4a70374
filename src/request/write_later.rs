//! Writing after the answer.

use crate::platform::d1::{Database, Statement};
use crate::platform::log::note;
use crate::request::context::Context;

/// Writes something that nobody waits for, after the answer.
pub fn write_later(context: &Context, statements: Vec<Statement>) {
    let (env, request) = (context.env.clone(), context.request_id().to_owned());
    let binding = context.binding().to_owned();
    context.after(async move {
        let written = match Database::open(&env, &binding) {
            Ok(db) => db.batch(statements).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            note(&request, &format!("written later: {error:?}"));
        }
    });
}

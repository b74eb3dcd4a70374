//! Flows of upstream sign-in: beginning, callback, identification, linking, tokens.

pub mod access_token;
pub mod begin;
pub mod confirmation;
pub mod identify;
pub mod link;
pub mod native;
pub mod service_token;
pub mod sign_in;
pub mod token_endpoint;

use crate::federation::callback::CallbackError;
use crate::platform::d1;
use crate::platform::error::Error;

/// What ended a flow without a session: the code for the page, the exact reason for the log, and the page.
pub struct Failure {
    /// For the page.
    pub code: String,
    /// For the log.
    pub reason: String,
    /// Where to say it, if not on our own page.
    pub page: Option<String>,
}

impl Failure {
    /// A failure that our own page tells.
    pub fn new(code: &str, reason: impl Into<String>) -> Self {
        Self { code: code.to_owned(), reason: reason.into(), page: None }
    }
}

/// How a flow ends other than well.
pub enum End {
    /// The visitor is told on a page.
    Failure(Failure),
    /// Something of ours is broken.
    Error(Error),
}

impl End {
    /// A failure with a code for the page and a reason for the log.
    pub fn failure(code: &str, reason: impl Into<String>) -> Self {
        Self::Failure(Failure::new(code, reason))
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<d1::StoreError> for End {
    fn from(error: d1::StoreError) -> Self {
        Self::Error(error.into())
    }
}

impl From<CallbackError> for End {
    fn from(error: CallbackError) -> Self {
        Self::failure(error.code(), error.to_string())
    }
}

/// A result of a flow's.
pub type Ended<T> = std::result::Result<T, End>;

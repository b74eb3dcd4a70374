//! The settings, read once an isolate.

use std::cell::RefCell;
use std::rc::Rc;

use worker::Env;

use crate::platform::config::Config;
use crate::platform::error::Result;

thread_local! {
    /// Settings do not change while an isolate lives.
    static CONFIG: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

/// The settings.
///
/// # Errors
/// [`Error::Config`](crate::platform::error::Error::Config) naming the one that is missing or malformed.
pub fn load_config(env: &Env) -> Result<Rc<Config>> {
    if let Some(config) = CONFIG.with_borrow(Clone::clone) {
        return Ok(config);
    }
    let config = Rc::new(Config::read(|name| env.var(name).ok().map(|var| var.to_string()))?);
    CONFIG.with_borrow_mut(|kept| *kept = Some(config.clone()));
    Ok(config)
}

//! Which tenant and website answer on a host.

use std::rc::Rc;

use crate::platform::error::Result;
use crate::request::context::Surroundings;
use crate::request::store;
use crate::request::store::directory::HostPlace;

/// Finds who answers on a host.
///
/// # Errors
/// If D1 does not answer.
pub async fn find_place(around: &Surroundings, host: &str) -> Result<Option<Rc<HostPlace>>> {
    let config = &around.config;
    if let Some(place) = store::directory::remembered(host, config, around.now) {
        return Ok(place);
    }
    let is_default = host == config.auth_origin.host();
    Ok(store::directory::find(&around.env, host, is_default, config, around.now).await?)
}

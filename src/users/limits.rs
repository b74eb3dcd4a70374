//! What is counted of what anybody may try at an account, or have sent to somebody.
//!
//! A limit is keyed by what who is asking cannot make at will: their network, and the name that they ask about. A name has a
//! limit of its own over all networks, of which one network has a share, so that one stranger does not use it up; and a browser that
//! the account trusts is counted apart, so that no stranger uses up its.

use crate::platform::config::Limit;
use crate::platform::d1::Statement;
use crate::platform::error::{Error, Result};
use crate::platform::id::Id;
use crate::request::context::Context;
use crate::request::store::rate_limit::{Window, key};
use crate::users::store::sign_in::{Counter, Counters, Windows};

/// The part of a name's guesses that one network has, and of its mails.
const GUESSES: i64 = 2;

const MAILS: i64 = 3;

fn counter(context: &Context, purpose: &str, whose: &str, whom: &str, limit: Limit) -> Counter {
    let config = &context.config;
    Counter {
        key: key(config, purpose, whose, whom),
        apart: key(config, &format!("{purpose}:trusted"), whose, whom),
        limit,
    }
}

fn network_counter(context: &Context, purpose: &str, name: &str, limit: Limit) -> Counter {
    let (tenant, network) = (context.tenant().id.as_str(), context.client().network());
    let mut counter = counter(context, &format!("{purpose}:network"), tenant, &network, limit);
    counter.apart = key(&context.config, &format!("{purpose}:trusted"), tenant, &format!("{network}\0{name}"));
    counter
}

/// The pool that a name is somebody's in: there are tenants for the making.
fn pool_name(context: &Context) -> &str {
    context.tenant().pool().map_or("", Id::as_str)
}

/// Guesses at the password of the user called `name`. By the name typed, not by the user found: known and unknown ones are
/// limited alike.
#[must_use]
pub fn password_counters(context: &Context, name: &str) -> Counters {
    let config = &context.config;
    Counters {
        name: name.to_owned(),
        network: network_counter(context, "sign-in", name, config.limit_sign_in),
        account: counter(context, "sign-in:account", context.tenant().id.as_str(), name, config.limit_sign_in_account),
        whole: None,
    }
}

/// Guesses at a code that was sent to `name`, whatever for. They are none at a password: who guesses at that keeps nobody from
/// typing the code that they were sent.
#[must_use]
pub fn code_counters(context: &Context, name: &str) -> Counters {
    let config = &context.config;
    let (limit, both) = (config.limit_sign_in_account, format!("{name}\0{}", context.client().network()));
    Counters {
        name: name.to_owned(),
        network: network_counter(context, "sign-in", name, config.limit_sign_in),
        account: counter(context, "code:share", pool_name(context), &both, limit.share(GUESSES)),
        whole: Some(counter(context, "code:account", pool_name(context), name, limit)),
    }
}

/// Mails to `name`, or messages: by network for what they are for, and to the name for whatever they are.
#[must_use]
pub fn mail_counters(context: &Context, purpose: &str, name: &str) -> Counters {
    check_mail_limits(context, purpose, name, context.config.limit_mail)
}

/// Accounts made, and the mails to the address that is said to be theirs.
#[must_use]
pub fn sign_up_counters(context: &Context, email: &str) -> Counters {
    check_mail_limits(context, "sign-up", email, context.config.limit_sign_up)
}

fn check_mail_limits(context: &Context, purpose: &str, name: &str, network: Limit) -> Counters {
    let (limit, both) = (context.config.limit_mail_address, format!("{name}\0{}", context.client().network()));
    Counters {
        name: name.to_owned(),
        network: network_counter(context, purpose, name, network),
        account: counter(context, "mail:share", pool_name(context), &both, limit.share(MAILS)),
        whole: Some(counter(context, "mail:account", pool_name(context), name, limit)),
    }
}

/// Forgets the mails to an address whose owner has used one of them: they were wanted.
#[must_use]
pub fn forget_statements(context: &Context, name: &str) -> Vec<Statement> {
    let counters = mail_counters(context, "", name);
    let mut statements = counters.forgotten(false);
    statements.extend(counters.forgotten(true));
    statements
}

/// Whether the attempt just counted is within the limits of its network and its account.
///
/// # Errors
/// 429, with the limit's name of `names` for the log.
pub fn check_limits(context: &Context, windows: &Windows, counters: &Counters, names: [&'static str; 2]) -> Result<()> {
    let [network, account] = names;
    let over = |window: Option<Window>, limit, name| Some((window?.retry_after(limit, context.now)?, name));
    let over = over(Some(windows.network), counters.network.limit, network)
        .or_else(|| over(windows.account, counters.account.limit, account))
        .or_else(|| over(windows.whole, counters.whole.as_ref()?.limit, account));
    match over {
        Some((retry_after, limit)) => Err(Error::TooManyRequests { retry_after, limit }),
        None => Ok(()),
    }
}

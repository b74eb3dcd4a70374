//! Doorward: an authentication server at the edge.
//!
//! Start with [`routes`], the table of contents: each endpoint, what it asks of its caller, and its handler. From
//! there three files tell a request's story, named by the same noun: the handler loads, decides, commits and answers;
//! a pure module decides; [`store`] holds the SQL.
//!
//! | module | what it is |
//! |---|---|
//! | [`routes`], [`handlers`] | endpoints |
//! | [`session`], [`access`], [`credentials`], [`federation`], [`oauth`], [`gate`] | decisions: no I/O, no clock, no randomness of their own |
//! | [`store`] | all SQL and KV |
//! | [`http`], [`pages`] | requests, replies, hosted pages |
//! | [`webcrypto`], [`hashing`] | the runtime's own cryptography, and passwords with it |
//! | [`config`], [`context`], [`error`], [`id`], [`secret`] | what all of them stand on |
//! | [`jobs`] | what cron does |

pub mod access;
pub mod config;
pub mod context;
pub mod credentials;
pub mod error;
pub mod federation;
pub mod gate;
pub mod handlers;
pub mod hashing;
pub mod http;
pub mod id;
pub mod jobs;
pub mod oauth;
pub mod pages;
pub mod routes;
pub mod secret;
pub mod session;
pub mod store;
pub mod webcrypto;

use worker::{Context, Env, Request, Response, ScheduleContext, ScheduledEvent, event};

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    Ok(handlers::serve(request, env, context).await)
}

#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, _context: ScheduleContext) {
    jobs::run(&env).await;
}

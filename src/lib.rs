//! Doorward: an authentication server at the edge.
//!
//! Start with [`server::routes`], the table of all endpoints, and what each asks of its caller. From a row, a request goes
//! through the files of one room: `endpoints/` reads the request and answers, a flow loads, decides and commits, and `store`
//! has the SQL. A room uses only the rooms below it:
//!
//! | room | what it is |
//! |---|---|
//! | [`server`] | table of routes, dispatch, origin check, CORS, cron |
//! | [`login`] | ways in, and their pages |
//! | [`account`] | one's own account, and its pages |
//! | [`gate`] | websites that are protected |
//! | [`provider`] | Doorward as authorization server and `OpenID` Provider |
//! | [`federation`] | Doorward as client of upstream issuers |
//! | [`admin`] | users, looked after by administrators |
//! | [`tenants`] | organizations, members, roles, groups, invitations, API keys |
//! | [`session`] | who is asking; sessions opened, confirmed and ended |
//! | [`users`] | the rows of a user, and what they prove |
//! | [`records`] | audit, login history, notifications, outbox, mails |
//! | [`jose`] | signatures and keys |
//! | [`request`] | what one request has: context, hosts, limits, errors |
//! | [`access`] | permissions, security policies, path rules, without I/O |
//! | [`credentials`] | passwords, TOTP, backup codes, `WebAuthn`, without I/O |
//! | [`http`] | requests, replies, cookies, redirects, the frame of a page |
//! | [`platform`] | configuration, errors, ids, secrets, `WebCrypto`, D1, clock |

pub mod access;
pub mod account;
pub mod admin;
pub mod credentials;
pub mod federation;
pub mod gate;
pub mod http;
pub mod jose;
pub mod login;
pub mod platform;
pub mod provider;
pub mod records;
pub mod request;
pub mod server;
pub mod session;
pub mod tenants;
pub mod users;

use worker::{Context, Env, Request, Response, ScheduleContext, ScheduledEvent, event};

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    Ok(server::serve::serve(request, env, context).await)
}

#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, _context: ScheduleContext) {
    server::cron::run_jobs(&env).await;
}

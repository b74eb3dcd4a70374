//! The table of contents: every endpoint, what it asks of its caller, and its handler.

use std::future::Future;
use std::pin::Pin;

use crate::http::reply::Reply;
use crate::platform::error::Result;
use crate::request::errors::ErrorFormat;
use crate::session::call::Call;

/// What an endpoint asks of its caller. Enforced before the handler is entered, except where it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody. The handler may look whether somebody is signed in.
    Anybody,
    /// A session, by whichever layer answers first.
    Session,
    /// A session that D1 confirms now: for whatever changes credentials, mints tokens or administers. The handler
    /// loads it, in one batch with what else it needs; a missing or forged cookie never gets that far.
    Confirmed,
    /// The same, or a user's key with the permission for it. The handler decides, where it asks what they may.
    Permitted,
}

/// Whether an unsafe request must come from a trusted origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It must.
    Trusted,
    /// It comes from elsewhere by design, and carries its own proof.
    Any,
}

/// How errors are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// JSON of the login protocol.
    Api,
    /// A page.
    Page,
}

/// What is so of some endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Clients ask it with credentials of their own, and never by cookies. So a script of any origin may ask and read
    /// the answer, as any server may; and the tenant's restriction to addresses, which is about people, does not hold.
    AnyScript,
    /// Programs ask it from wherever they run: the tenant's restriction to addresses does not hold.
    Programs,
    /// Somebody who must set up a second factor may use it before they have.
    BeforeEnrolment,
    /// Its GET writes, because a standard or the protocol of the login's clients says so. HEAD and prefetching do not reach it.
    GetWrites,
    /// Its page is part of no client's flow: it is cut off from the window that opened it.
    OwnWindow,
    /// Though its method is unsafe, it changes nothing in an organization: an administrator who acts as somebody may use it.
    ChangesNothing,
    /// Its errors are those of RFC 6749, section 5.2.
    OAuthErrors,
    /// Its errors are those of RFC 7591, section 3.2.2.
    RegistrationErrors,
    /// Its errors are those of the login protocol, and a denial has the status of RFC 8628, section 3.5.
    DeviceErrors,
}

impl Route {
    /// Whether a fact is so of it.
    #[must_use]
    pub fn is(&self, fact: Fact) -> bool {
        self.facts.contains(&fact)
    }

    /// Whether programs ask it from wherever they run.
    #[must_use]
    pub fn is_for_programs(&self) -> bool {
        self.is(Fact::AnyScript) || self.is(Fact::Programs)
    }

    fn error_format(&self) -> ErrorFormat {
        let known = self.facts.iter().find_map(|fact| match fact {
            Fact::OAuthErrors => Some(ErrorFormat::OAuth),
            Fact::RegistrationErrors => Some(ErrorFormat::Registration),
            Fact::DeviceErrors => Some(ErrorFormat::Device),
            _ => None,
        });
        known.unwrap_or(ErrorFormat::Login)
    }
}

/// What an endpoint answers with.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply>> + 'a>>;

/// One endpoint.
pub struct Route {
    /// Method; GET serves HEAD as well.
    pub method: &'static str,
    /// Path; a segment `:name` stands for any one segment.
    pub path: &'static str,
    /// What it asks of its caller.
    pub access: Access,
    /// Whether it checks the origin.
    pub origin: Origin,
    /// How errors are shown.
    pub surface: Surface,
    /// What else is so of it.
    pub facts: &'static [Fact],
    /// The endpoint's function.
    pub handler: for<'a> fn(&'a mut Call) -> Answer<'a>,
}

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $origin:ident $surface:ident $room:ident :: $file:ident :: $name:ident $([$($fact:ident)+])?;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            access: Access::$access,
            origin: Origin::$origin,
            surface: Surface::$surface,
            facts: &[$($(Fact::$fact),+)?],
            handler: |call| Box::pin(crate::$room::endpoints::$file::$name(call)),
        }),*]
    };
}

/// Endpoints of an auth host.
pub const AUTH_HOST: &[Route] = routes! {
    GET    "/api/auth/get-session"                                 Anybody   Trusted Api  session::sessions::get [BeforeEnrolment];
    POST   "/api/auth/get-session"                                 Anybody   Trusted Api  session::sessions::get [BeforeEnrolment];
    POST   "/api/auth/sign-up/email"                               Anybody   Trusted Api  account::sign_up::email [BeforeEnrolment];
    POST   "/api/auth/sign-in/email"                               Anybody   Trusted Api  login::sign_in::email [BeforeEnrolment];
    POST   "/api/auth/sign-in/username"                            Anybody   Trusted Api  login::sign_in::username [BeforeEnrolment];
    POST   "/api/auth/sign-in/phone-number"                        Anybody   Trusted Api  login::sign_in::phone_number [BeforeEnrolment];
    POST   "/api/auth/sign-in/magic-link"                          Anybody   Trusted Api  login::magic_link::send [BeforeEnrolment];
    GET    "/api/auth/magic-link/verify"                           Anybody   Any     Api  login::magic_link::verify;
    POST   "/api/auth/sign-in/email-otp"                           Anybody   Trusted Api  login::email_otp::sign_in [BeforeEnrolment];
    POST   "/api/auth/sign-in/anonymous"                           Anybody   Trusted Api  login::anonymous::sign_in [BeforeEnrolment];
    POST   "/api/auth/sign-in/social"                              Anybody   Trusted Api  federation::social::start [BeforeEnrolment];
    GET    "/api/auth/callback/:id"                                Anybody   Any     Page federation::callback::callback [GetWrites];
    POST   "/api/auth/callback/:id"                                Anybody   Any     Page federation::callback::posted;
    POST   "/api/auth/sign-out"                                    Anybody   Trusted Api  session::sessions::sign_out [BeforeEnrolment];

    POST   "/api/auth/two-factor/enable"                           Confirmed Trusted Api  account::second_factor_setup::enable [BeforeEnrolment];
    POST   "/api/auth/two-factor/disable"                          Confirmed Trusted Api  account::second_factor_setup::disable [BeforeEnrolment];
    POST   "/api/auth/two-factor/get-totp-uri"                     Confirmed Trusted Api  account::second_factor_setup::uri [BeforeEnrolment];
    POST   "/api/auth/two-factor/generate-backup-codes"            Confirmed Trusted Api  account::second_factor_setup::backup_codes [BeforeEnrolment];
    POST   "/api/auth/two-factor/verify-totp"                      Anybody   Trusted Api  login::second_factor::verify_totp [BeforeEnrolment];
    POST   "/api/auth/two-factor/send-otp"                         Anybody   Trusted Api  login::second_factor::send [BeforeEnrolment];
    POST   "/api/auth/two-factor/verify-otp"                       Anybody   Trusted Api  login::second_factor::verify_mailed [BeforeEnrolment];
    POST   "/api/auth/two-factor/verify-backup-code"               Anybody   Trusted Api  login::second_factor::verify_backup [BeforeEnrolment];

    GET    "/api/auth/passkey/generate-register-options"           Confirmed Trusted Api  account::passkey_registration::options [BeforeEnrolment GetWrites];
    POST   "/api/auth/passkey/verify-registration"                 Confirmed Trusted Api  account::passkey_registration::verify [BeforeEnrolment];
    GET    "/api/auth/passkey/generate-authenticate-options"       Anybody   Trusted Api  login::passkey::options [BeforeEnrolment GetWrites];
    POST   "/api/auth/passkey/verify-authentication"               Anybody   Trusted Api  login::passkey::verify [BeforeEnrolment];
    GET    "/api/auth/passkey/list-user-passkeys"                  Session   Trusted Api  account::passkey_registration::list [BeforeEnrolment];
    POST   "/api/auth/passkey/update-passkey"                      Confirmed Trusted Api  account::passkey_registration::rename [BeforeEnrolment];
    POST   "/api/auth/passkey/delete-passkey"                      Confirmed Trusted Api  account::passkey_registration::delete [BeforeEnrolment];

    POST   "/api/auth/email-otp/send-verification-otp"             Anybody   Trusted Api  login::email_otp::send;
    POST   "/api/auth/email-otp/check-verification-otp"            Anybody   Trusted Api  login::email_otp::check;
    POST   "/api/auth/email-otp/verify-email"                      Anybody   Trusted Api  login::email_otp::verify_email;
    POST   "/api/auth/email-otp/request-password-reset"            Anybody   Trusted Api  login::email_otp::request_reset;
    POST   "/api/auth/forget-password/email-otp"                   Anybody   Trusted Api  login::email_otp::request_reset;
    POST   "/api/auth/email-otp/reset-password"                    Anybody   Trusted Api  login::email_otp::reset_password;
    POST   "/api/auth/email-otp/request-email-change"              Confirmed Trusted Api  login::email_otp::request_change;
    POST   "/api/auth/email-otp/change-email"                      Confirmed Trusted Api  login::email_otp::change;
    POST   "/api/auth/phone-number/send-otp"                       Anybody   Trusted Api  login::phone::send;
    POST   "/api/auth/phone-number/verify"                         Anybody   Trusted Api  login::phone::verify;
    POST   "/api/auth/phone-number/request-password-reset"         Anybody   Trusted Api  login::phone::request_reset;
    POST   "/api/auth/phone-number/reset-password"                 Anybody   Trusted Api  login::phone::reset_password;
    GET    "/api/auth/one-time-token/generate"                     Confirmed Trusted Api  login::one_time::generate [GetWrites];
    POST   "/api/auth/one-time-token/verify"                       Anybody   Trusted Api  login::one_time::verify;

    POST   "/api/auth/one-tap/callback"                            Anybody   Trusted Api  federation::social::one_tap;
    POST   "/api/auth/device/code"                                 Anybody   Trusted Api  provider::device_client::code;
    POST   "/api/auth/device/token"                                Anybody   Trusted Api  provider::device_client::poll [DeviceErrors];
    GET    "/api/auth/device"                                      Anybody   Trusted Api  provider::device_client::show;
    POST   "/api/auth/device/approve"                              Anybody   Trusted Api  provider::device_client::approve;
    POST   "/api/auth/device/deny"                                 Anybody   Trusted Api  provider::device_client::deny;
    POST   "/api/auth/update-session"                              Confirmed Trusted Api  session::sessions::update;
    GET    "/api/auth/list-sessions"                               Session   Trusted Api  session::sessions::list;
    POST   "/api/auth/revoke-session"                              Confirmed Trusted Api  session::sessions::revoke_one;
    POST   "/api/auth/revoke-sessions"                             Confirmed Trusted Api  session::sessions::revoke_all;
    POST   "/api/auth/revoke-other-sessions"                       Confirmed Trusted Api  session::sessions::revoke_others;
    GET    "/api/auth/multi-session/list-device-sessions"          Anybody   Trusted Api  session::multi_session::list;
    POST   "/api/auth/multi-session/set-active"                    Anybody   Trusted Api  session::multi_session::set_active;
    POST   "/api/auth/multi-session/revoke"                        Confirmed Trusted Api  session::multi_session::revoke;

    GET    "/api/auth/notifications"                               Confirmed Trusted Api  account::notifications::list;
    POST   "/api/auth/notifications/read"                          Confirmed Trusted Api  account::notifications::read;
    POST   "/api/auth/notifications/delete"                        Confirmed Trusted Api  account::notifications::delete;
    GET    "/api/auth/activity"                                    Confirmed Trusted Api  account::notifications::activity;
    GET    "/api/auth/profile"                                     Confirmed Trusted Api  account::profile::show;
    POST   "/api/auth/update-user"                                 Confirmed Trusted Api  account::user::update;
    POST   "/api/auth/is-username-available"                       Anybody   Trusted Api  account::username::is_available;
    POST   "/api/auth/change-email"                                Confirmed Trusted Api  account::change_email::request;
    POST   "/api/auth/change-password"                             Confirmed Trusted Api  account::password::change;
    POST   "/api/auth/verify-password"                             Confirmed Trusted Api  account::proof::verify;
    POST   "/api/auth/delete-user"                                 Confirmed Trusted Api  account::deletion::request;
    GET    "/api/auth/delete-user/callback"                        Anybody   Any     Api  account::deletion::callback;
    POST   "/api/auth/delete-anonymous-user"                       Confirmed Trusted Api  login::anonymous::delete;
    POST   "/api/auth/send-verification-email"                     Anybody   Trusted Api  account::verification::send;
    GET    "/api/auth/verify-email"                                Anybody   Any     Api  account::verification::verify;
    POST   "/api/auth/request-password-reset"                      Anybody   Trusted Api  account::reset::request;
    GET    "/api/auth/reset-password/:token"                       Anybody   Any     Page account::reset::follow;
    POST   "/api/auth/reset-password"                              Anybody   Trusted Api  account::reset::reset;
    GET    "/api/auth/list-accounts"                               Session   Trusted Api  federation::accounts::list;
    POST   "/api/auth/link-social"                                 Confirmed Trusted Api  federation::social::link;
    POST   "/api/auth/unlink-account"                              Confirmed Trusted Api  federation::accounts::unlink;
    GET    "/api/auth/account-info"                                Confirmed Trusted Api  federation::accounts::info;
    POST   "/api/auth/get-access-token"                            Confirmed Trusted Api  federation::accounts::get_access_token;
    POST   "/api/auth/refresh-token"                               Confirmed Trusted Api  federation::accounts::refresh_token;

    POST   "/api/auth/organization/create"                         Confirmed Trusted Api  tenants::tenants::create;
    POST   "/api/auth/organization/check-slug"                     Confirmed Trusted Api  tenants::tenants::check_slug;
    GET    "/api/auth/organization/list"                           Confirmed Trusted Api  tenants::tenants::list [BeforeEnrolment];
    GET    "/api/auth/organization/get-organization"               Permitted Trusted Api  tenants::tenants::get;
    GET    "/api/auth/organization/get-full-organization"          Permitted Trusted Api  tenants::tenants::full;
    POST   "/api/auth/organization/set-active"                     Confirmed Trusted Api  tenants::tenants::set_active [ChangesNothing];
    POST   "/api/auth/organization/update"                         Permitted Trusted Api  tenants::tenants::update;
    POST   "/api/auth/organization/delete"                         Permitted Trusted Api  tenants::tenants::delete;
    POST   "/api/auth/organization/restore"                        Permitted Trusted Api  tenants::tenants::restore;
    POST   "/api/auth/organization/has-permission"                 Permitted Trusted Api  tenants::tenants::has_permission [ChangesNothing];
    GET    "/api/auth/organization/security-policy"                Permitted Trusted Api  tenants::tenants::policy;
    PUT    "/api/auth/organization/security-policy"                Permitted Trusted Api  tenants::tenants::set_policy;
    GET    "/api/auth/organization/list-members"                   Permitted Trusted Api  tenants::members::list;
    GET    "/api/auth/organization/get-active-member"              Permitted Trusted Api  tenants::members::active;
    GET    "/api/auth/organization/get-active-member-role"         Permitted Trusted Api  tenants::members::active_role;
    POST   "/api/auth/organization/update-member-role"             Permitted Trusted Api  tenants::members::update_role;
    POST   "/api/auth/organization/remove-member"                  Permitted Trusted Api  tenants::members::remove;
    POST   "/api/auth/organization/leave"                          Confirmed Trusted Api  tenants::members::leave;
    POST   "/api/auth/organization/invite-member"                  Permitted Trusted Api  tenants::invitations::invite;
    POST   "/api/auth/organization/cancel-invitation"              Permitted Trusted Api  tenants::invitations::cancel;
    POST   "/api/auth/organization/accept-invitation"              Confirmed Trusted Api  tenants::invitations::accept;
    POST   "/api/auth/organization/reject-invitation"              Confirmed Trusted Api  tenants::invitations::reject;
    GET    "/api/auth/organization/get-invitation"                 Confirmed Trusted Api  tenants::invitations::get;
    GET    "/api/auth/organization/list-invitations"               Permitted Trusted Api  tenants::invitations::list;
    GET    "/api/auth/organization/list-user-invitations"          Confirmed Trusted Api  tenants::invitations::of_user;
    POST   "/api/auth/organization/create-team"                    Permitted Trusted Api  tenants::groups::create;
    GET    "/api/auth/organization/list-teams"                     Permitted Trusted Api  tenants::groups::list;
    POST   "/api/auth/organization/update-team"                    Permitted Trusted Api  tenants::groups::update;
    POST   "/api/auth/organization/remove-team"                    Permitted Trusted Api  tenants::groups::remove;
    POST   "/api/auth/organization/set-active-team"                Confirmed Trusted Api  tenants::groups::set_active [ChangesNothing];
    GET    "/api/auth/organization/list-user-teams"                Permitted Trusted Api  tenants::groups::of_user;
    GET    "/api/auth/organization/list-team-members"              Permitted Trusted Api  tenants::group_members::list;
    POST   "/api/auth/organization/add-team-member"                Permitted Trusted Api  tenants::group_members::add;
    POST   "/api/auth/organization/update-team-member"             Permitted Trusted Api  tenants::group_members::update;
    POST   "/api/auth/organization/remove-team-member"             Permitted Trusted Api  tenants::group_members::remove;
    POST   "/api/auth/organization/join-team"                      Confirmed Trusted Api  tenants::group_members::join;
    POST   "/api/auth/organization/leave-team"                     Confirmed Trusted Api  tenants::group_members::leave;
    POST   "/api/auth/organization/create-role"                    Permitted Trusted Api  tenants::roles::create;
    GET    "/api/auth/organization/list-roles"                     Permitted Trusted Api  tenants::roles::list;
    GET    "/api/auth/organization/get-role"                       Permitted Trusted Api  tenants::roles::get;
    POST   "/api/auth/organization/update-role"                    Permitted Trusted Api  tenants::roles::update;
    POST   "/api/auth/organization/delete-role"                    Permitted Trusted Api  tenants::roles::delete;

    POST   "/api/auth/api-key/create"                              Confirmed Trusted Api  tenants::api_keys::create;
    GET    "/api/auth/api-key/get"                                 Confirmed Trusted Api  tenants::api_keys::get;
    GET    "/api/auth/api-key/list"                                Confirmed Trusted Api  tenants::api_keys::list;
    POST   "/api/auth/api-key/update"                              Confirmed Trusted Api  tenants::api_keys::update;
    POST   "/api/auth/api-key/delete"                              Confirmed Trusted Api  tenants::api_keys::delete;

    POST   "/api/auth/admin/set-role"                              Permitted Trusted Api  admin::users::set_role;
    GET    "/api/auth/admin/get-user"                              Permitted Trusted Api  admin::users::get;
    POST   "/api/auth/admin/create-user"                           Permitted Trusted Api  admin::users::create;
    POST   "/api/auth/admin/update-user"                           Permitted Trusted Api  admin::users::update;
    GET    "/api/auth/admin/list-users"                            Permitted Trusted Api  admin::list_users::list;
    POST   "/api/auth/admin/list-user-sessions"                    Permitted Trusted Api  admin::user_sessions::sessions;
    POST   "/api/auth/admin/ban-user"                              Permitted Trusted Api  admin::status::ban;
    POST   "/api/auth/admin/unban-user"                            Permitted Trusted Api  admin::status::unban;
    POST   "/api/auth/admin/deactivate-user"                       Permitted Trusted Api  admin::status::deactivate;
    POST   "/api/auth/admin/reactivate-user"                       Permitted Trusted Api  admin::status::reactivate;
    POST   "/api/auth/admin/impersonate-user"                      Confirmed Trusted Api  admin::impersonation::begin;
    POST   "/api/auth/admin/stop-impersonating"                    Confirmed Trusted Api  admin::impersonation::stop;
    POST   "/api/auth/admin/revoke-user-session"                   Permitted Trusted Api  admin::user_sessions::revoke_session;
    POST   "/api/auth/admin/revoke-user-sessions"                  Permitted Trusted Api  admin::user_sessions::revoke_sessions;
    POST   "/api/auth/admin/remove-user"                           Permitted Trusted Api  admin::status::remove;
    POST   "/api/auth/admin/set-user-password"                     Permitted Trusted Api  admin::users::set_password;
    POST   "/api/auth/admin/has-permission"                        Permitted Trusted Api  admin::users::has_permission [ChangesNothing];

    GET    "/api/auth/admin/tenants"                               Permitted Trusted Api  admin::tenants::list;
    POST   "/api/auth/admin/tenants"                               Permitted Trusted Api  admin::tenants::create;
    GET    "/api/auth/admin/tenants/:id"                           Permitted Trusted Api  admin::tenants::show;
    PATCH  "/api/auth/admin/tenants/:id"                           Permitted Trusted Api  admin::tenants::update;
    DELETE "/api/auth/admin/tenants/:id"                           Permitted Trusted Api  admin::tenants::delete;
    POST   "/api/auth/admin/tenants/:id/suspend"                   Permitted Trusted Api  admin::tenants::suspend;
    POST   "/api/auth/admin/tenants/:id/resume"                    Permitted Trusted Api  admin::tenants::resume;
    POST   "/api/auth/admin/tenants/:id/restore"                   Permitted Trusted Api  admin::tenants::restore;

    GET    "/api/auth/admin/issuers"                               Confirmed Trusted Api  federation::issuers::list;
    POST   "/api/auth/admin/issuers"                               Confirmed Trusted Api  federation::issuers::create;
    GET    "/api/auth/admin/issuers/:id"                           Confirmed Trusted Api  federation::issuers::show;
    PATCH  "/api/auth/admin/issuers/:id"                           Confirmed Trusted Api  federation::issuers::update;
    DELETE "/api/auth/admin/issuers/:id"                           Confirmed Trusted Api  federation::issuers::delete;
    POST   "/api/auth/admin/issuers/:id/discover"                  Confirmed Trusted Api  federation::issuers::discover;
    GET    "/api/auth/admin/issuers/:id/system-account"            Confirmed Trusted Api  federation::system_account::show;
    POST   "/api/auth/admin/issuers/:id/system-account"            Confirmed Trusted Api  federation::system_account::connect;
    DELETE "/api/auth/admin/issuers/:id/system-account"            Confirmed Trusted Api  federation::system_account::disconnect;
    POST   "/api/auth/admin/issuers/:id/service-token"             Confirmed Trusted Api  federation::system_account::service_token;
    POST   "/api/auth/system-account/token"                        Anybody   Any     Api  federation::service_token::token [Programs];

    GET    "/api/auth/token"                                       Confirmed Trusted Api  session::token::token;
    GET    "/api/auth/jwks"                                        Anybody   Any     Api  session::token::jwks [AnyScript];
    GET    "/api/auth/ok"                                          Anybody   Any     Api  server::health::ok [Programs];
    GET    "/api/auth/error"                                       Anybody   Any     Page server::error::page;

    GET    "/.well-known/openid-configuration"                     Anybody   Any     Api  provider::metadata::document [AnyScript];
    GET    "/.well-known/oauth-authorization-server"               Anybody   Any     Api  provider::metadata::document [AnyScript];
    GET    "/oauth2/authorize"                                     Anybody   Any     Page provider::authorize::get [GetWrites OAuthErrors];
    POST   "/oauth2/authorize"                                     Anybody   Any     Page provider::authorize::post [OAuthErrors];
    POST   "/oauth2/par"                                           Anybody   Any     Api  provider::par::push [AnyScript OAuthErrors];
    POST   "/oauth2/device_authorization"                          Anybody   Any     Api  provider::device::begin [AnyScript OAuthErrors];
    GET    "/device"                                               Anybody   Trusted Page provider::device::page [OwnWindow];
    POST   "/device"                                               Anybody   Trusted Page provider::device::decide [OwnWindow];
    GET    "/oauth2/end_session"                                   Anybody   Any     Page provider::end_session::get [BeforeEnrolment GetWrites OAuthErrors];
    POST   "/oauth2/end_session"                                   Anybody   Any     Page provider::end_session::post [BeforeEnrolment OAuthErrors];
    POST   "/oauth2/end_session/confirm"                           Anybody   Trusted Page provider::end_session::confirm [BeforeEnrolment OAuthErrors];
    POST   "/oauth2/token"                                         Anybody   Any     Api  provider::token::token [AnyScript OAuthErrors];
    GET    "/oauth2/userinfo"                                      Anybody   Any     Api  provider::userinfo::get [AnyScript OAuthErrors];
    POST   "/oauth2/userinfo"                                      Anybody   Any     Api  provider::userinfo::post [AnyScript OAuthErrors];
    POST   "/oauth2/introspect"                                    Anybody   Any     Api  provider::introspection::introspect [AnyScript OAuthErrors];
    POST   "/oauth2/revoke"                                        Anybody   Any     Api  provider::introspection::revoke [AnyScript OAuthErrors];
    POST   "/oauth2/register"                                      Anybody   Any     Api  provider::registration::register [AnyScript RegistrationErrors];
    GET    "/oauth2/register/:client_id"                           Anybody   Any     Api  provider::registration::read [AnyScript RegistrationErrors];
    PUT    "/oauth2/register/:client_id"                           Anybody   Any     Api  provider::registration::replace [AnyScript RegistrationErrors];
    DELETE "/oauth2/register/:client_id"                           Anybody   Any     Api  provider::registration::delete [AnyScript RegistrationErrors];
    POST   "/api/auth/admin/oauth2/create-client"                  Confirmed Trusted Api  provider::clients::create_by_administrator;
    PATCH  "/api/auth/admin/oauth2/update-client"                  Confirmed Trusted Api  provider::clients::update;
    POST   "/api/auth/admin/oauth2/initial-access-token"           Confirmed Trusted Api  provider::clients::initial_access_token;
    POST   "/api/auth/oauth2/create-client"                        Confirmed Trusted Api  provider::clients::create_by_user;
    POST   "/api/auth/oauth2/update-client"                        Confirmed Trusted Api  provider::clients::update;
    GET    "/api/auth/oauth2/public-client"                        Session   Trusted Api  provider::clients::public;
    GET    "/api/auth/oauth2/get-clients"                          Confirmed Trusted Api  provider::clients::list;
    GET    "/api/auth/oauth2/get-client"                           Confirmed Trusted Api  provider::clients::show;
    POST   "/api/auth/oauth2/client/rotate-secret"                 Confirmed Trusted Api  provider::clients::rotate_secret;
    POST   "/api/auth/admin/oauth2/disable-client"                 Confirmed Trusted Api  provider::clients::disable;
    POST   "/api/auth/oauth2/delete-client"                        Confirmed Trusted Api  provider::clients::delete;
    GET    "/api/auth/oauth2/get-consents"                         Session   Trusted Api  provider::consents::list;
    POST   "/api/auth/oauth2/delete-consent"                       Confirmed Trusted Api  provider::consents::withdraw;
    GET    "/consent"                                              Anybody   Trusted Page provider::consent::page;
    POST   "/consent"                                              Anybody   Trusted Page provider::consent::decide;
    GET    "/form-post.js"                                         Anybody   Any     Page login::pages::form_post_script [Programs];
    GET    "/sign-out.js"                                          Anybody   Any     Page login::pages::sign_out_script [Programs BeforeEnrolment];

    GET    "/"                                                     Anybody   Trusted Page login::pages::index [BeforeEnrolment];
    GET    "/login"                                                Anybody   Trusted Page login::pages::login [BeforeEnrolment];
    POST   "/login"                                                Anybody   Trusted Page login::pages::log_in [BeforeEnrolment];
    POST   "/login/link"                                           Anybody   Trusted Page login::pages::log_in_by_link [BeforeEnrolment];
    POST   "/login/upstream"                                       Anybody   Trusted Page login::pages::log_in_upstream [BeforeEnrolment];
    GET    "/second-factor"                                        Anybody   Trusted Page login::pages::second_factor [BeforeEnrolment];
    POST   "/second-factor"                                        Anybody   Trusted Page login::pages::give_second_factor [BeforeEnrolment];
    POST   "/second-factor/send"                                   Anybody   Trusted Page login::pages::send_second_factor [BeforeEnrolment];
    GET    "/sign-up"                                              Anybody   Trusted Page login::pages::sign_up [BeforeEnrolment];
    POST   "/sign-up"                                              Anybody   Trusted Page login::pages::create_account [BeforeEnrolment];
    GET    "/forgot-password"                                      Anybody   Trusted Page login::pages::forgot;
    POST   "/forgot-password"                                      Anybody   Trusted Page login::pages::send_link;
    GET    "/reset-password"                                       Anybody   Trusted Page login::pages::reset [OwnWindow];
    POST   "/reset-password"                                       Anybody   Trusted Page login::pages::set_password [OwnWindow];
    GET    "/verify-email"                                         Anybody   Any     Page account::verification::page;
    POST   "/verify-email"                                         Anybody   Trusted Page account::verification::press;
    POST   "/verify-email/send"                                    Confirmed Trusted Page account::verification::send_again;
    GET    "/sign-in-link"                                         Anybody   Any     Page login::magic_link::page [BeforeEnrolment];
    POST   "/sign-in-link"                                         Anybody   Trusted Page login::magic_link::press [BeforeEnrolment];
    GET    "/delete-account"                                       Anybody   Any     Page account::deletion::page;
    POST   "/delete-account"                                       Anybody   Trusted Page account::deletion::press;
    GET    "/confirm-account"                                      Anybody   Any     Page federation::confirmation::page [OwnWindow];
    POST   "/confirm-account"                                      Anybody   Trusted Page federation::confirmation::confirm [OwnWindow];
    GET    "/invitation"                                           Anybody   Any     Page tenants::invitation_page::page [OwnWindow];
    POST   "/invitation"                                           Confirmed Trusted Page tenants::invitation_page::decide [OwnWindow];
    GET    "/change-email"                                         Anybody   Any     Page account::change_email::ask [OwnWindow];
    POST   "/change-email"                                         Anybody   Trusted Page account::change_email::go_on [OwnWindow];
    GET    "/account"                                              Anybody   Trusted Page account::settings::account [OwnWindow];
    POST   "/account/passkey/delete"                               Confirmed Trusted Page account::settings::delete_passkey [OwnWindow];
    POST   "/account/consents/withdraw"                            Confirmed Trusted Page account::settings::withdraw_consent [OwnWindow];
    POST   "/account/devices/forget"                               Confirmed Trusted Page account::settings::forget_devices [OwnWindow];
    GET    "/account/second-factor"                                Confirmed Trusted Page account::settings::second_factor [BeforeEnrolment OwnWindow];
    POST   "/account/second-factor"                                Confirmed Trusted Page account::settings::change_second_factor [BeforeEnrolment OwnWindow];
    POST   "/account/second-factor/verify"                         Confirmed Trusted Page account::settings::verify_second_factor [BeforeEnrolment OwnWindow];
    POST   "/sign-out"                                             Anybody   Trusted Page login::pages::sign_out [BeforeEnrolment];
    GET    "/style.css"                                            Anybody   Any     Page login::pages::stylesheet [Programs];
    GET    "/passkey.js"                                           Anybody   Any     Page login::pages::passkey_script [Programs];
    GET    "/fragment.js"                                          Anybody   Any     Page login::pages::fragment_script [Programs];
    GET    "/dev/mailbox"                                          Anybody   Trusted Page server::mailbox::show;

    GET    "/gate/sign-in"                                         Anybody   Any     Page gate::sign_in::authorize [GetWrites];
    GET    "/forward-auth"                                         Anybody   Any     Api  gate::forward_auth::check;
};

/// Endpoints that every protected host reserves; all else there goes to the origin.
pub const PROTECTED_HOST: &[Route] = routes! {
    GET    "/.doorward/sign-in"                                    Anybody   Any     Page gate::sign_in::begin [BeforeEnrolment];
    GET    "/.doorward/callback"                                   Anybody   Any     Page gate::sign_in::callback [BeforeEnrolment];
    GET    "/.doorward/sign-out"                                   Anybody   Any     Page gate::sign_in::ask_sign_out [BeforeEnrolment];
    POST   "/.doorward/sign-out"                                   Anybody   Trusted Page gate::sign_in::sign_out [BeforeEnrolment];
    GET    "/.doorward/me"                                         Anybody   Any     Api  gate::sign_in::me;
    GET    "/.doorward/style.css"                                  Anybody   Any     Page login::pages::stylesheet;
};

/// The page that a form's address belongs to, for a browser that opens that address by itself: the nearest one above it.
#[must_use]
pub fn page_of_form(table: &'static [Route], path: &str) -> Option<&'static str> {
    let is_page = |route: &&Route, method: &str| route.method == method && route.surface == Surface::Page;
    table.iter().find(|route| is_page(route, "POST") && route.path == path)?;
    let mut above = path;
    while let Some(at) = above.rfind('/') {
        above = &above[..at];
        if let Some(route) = table.iter().find(|route| is_page(route, "GET") && route.path == above) {
            return Some(route.path);
        }
    }
    Some("/")
}

/// Where clients ask: what is not there is told them as OAuth tells errors.
const OAUTH: &str = "/oauth2/";

/// Whether clients ask for what is there, by standards of OAuth.
#[must_use]
pub fn is_of_oauth(path: &str) -> bool {
    path.starts_with(OAUTH) || path.starts_with("/.well-known/")
}

/// The format of errors on a path of an auth host, whichever the method, and also where nothing is.
#[must_use]
pub fn error_format(path: &str) -> ErrorFormat {
    match with_path(AUTH_HOST, path) {
        Some(route) => route.error_format(),
        None if path.starts_with(OAUTH) => ErrorFormat::OAuth,
        None => ErrorFormat::Login,
    }
}

/// The first route of a path, whichever the method.
#[must_use]
pub fn with_path(table: &'static [Route], path: &str) -> Option<&'static Route> {
    table.iter().find(|route| segment(route.path, path).is_some())
}

/// A route and the value of its `:name` segment.
pub type FoundRoute = (&'static Route, Option<String>);

/// The methods that a path is asked by.
#[must_use]
pub fn methods(table: &'static [Route], path: &str) -> Vec<&'static str> {
    let mut methods: Vec<&str> = Vec::new();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        if find(table, method, path).is_some() {
            methods.push(method);
            methods.extend((method == "GET").then_some("HEAD"));
        }
    }
    methods
}

/// The route of a request.
#[must_use]
pub fn find(table: &'static [Route], method: &str, path: &str) -> Option<FoundRoute> {
    let method = if method == "HEAD" { "GET" } else { method };
    let routes = table.iter().filter(|route| route.method == method);
    routes.map(|route| (route, segment(route.path, path))).find_map(|(route, segment)| segment.map(|s| (route, s)))
}

/// The value of a route's `:name` segment in a path that fits it: `Some(None)` where the route has none.
#[expect(clippy::option_option, reason = "a path that fits without a segment is not one that does not fit")]
fn segment(route: &str, path: &str) -> Option<Option<String>> {
    let Some((head, tail)) = route.split_once(':') else {
        return (route == path).then_some(None);
    };
    let tail = tail.find('/').map_or("", |at| &tail[at..]);
    let segment = path.strip_prefix(head)?.strip_suffix(tail)?;
    (!segment.is_empty() && !segment.contains('/')).then(|| Some(segment.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::reserved;

    #[test]
    fn paths_match_whole() {
        let found = |method, path| find(AUTH_HOST, method, path).map(|(route, segment)| (route.path, segment));
        assert_eq!(found("GET", "/api/auth/ok"), Some(("/api/auth/ok", None)));
        assert_eq!(found("HEAD", "/api/auth/ok"), Some(("/api/auth/ok", None)));
        assert_eq!(found("GET", "/api/auth/callback/x"), Some(("/api/auth/callback/:id", Some("x".to_owned()))));
        let id = "/api/auth/admin/issuers/x/discover";
        assert_eq!(found("POST", id), Some(("/api/auth/admin/issuers/:id/discover", Some("x".to_owned()))));
        for (method, path) in [
            ("POST", "/api/auth/admin/issuers//discover"),
            ("POST", "/api/auth/admin/issuers/x/y/discover"),
            ("POST", "/api/auth/admin/issuers/x/discover/"),
            ("POST", "/api/auth/ok"),
            ("GET", "/api/auth/ok/"),
            ("GET", "/API/auth/ok"),
            ("GET", "/api/auth/callback/"),
            ("GET", "/api/auth/callback/x/y"),
            ("PROPFIND", "/api/auth/ok"),
        ] {
            assert_eq!(found(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn the_methods_of_a_path_are_known() {
        assert_eq!(methods(AUTH_HOST, "/oauth2/token"), ["POST"]);
        assert_eq!(methods(AUTH_HOST, "/oauth2/userinfo"), ["GET", "HEAD", "POST"]);
        assert_eq!(methods(AUTH_HOST, "/oauth2/register/x"), ["GET", "HEAD", "PUT", "DELETE"]);
        assert!(methods(AUTH_HOST, "/oauth2/nothing").is_empty());
    }

    #[test]
    fn the_address_of_a_form_leads_to_its_page() {
        for (path, page) in [
            ("/login/link", Some("/login")),
            ("/second-factor/send", Some("/second-factor")),
            ("/account/passkey/delete", Some("/account")),
            ("/account/second-factor/verify", Some("/account/second-factor")),
            ("/sign-out", Some("/")),
            ("/api/auth/sign-out", None),
            ("/nothing", None),
        ] {
            assert_eq!(page_of_form(AUTH_HOST, path), page, "{path}");
        }
        assert!(
            reserved::is_reserved("/.doorward")
                && reserved::is_reserved("/.doorward/x")
                && !reserved::is_reserved("/.doorwardx")
        );
    }

    #[test]
    fn no_endpoint_is_there_twice_and_nothing_unsafe_takes_any_origin_without_its_own_proof() {
        for (at, route) in AUTH_HOST.iter().chain(PROTECTED_HOST).enumerate() {
            let again = AUTH_HOST.iter().chain(PROTECTED_HOST).skip(at + 1);
            assert!(!again.clone().any(|r| r.path == route.path && r.method == route.method), "{}", route.path);
            let exempt = [
                "/api/auth/callback/:id",
                "/api/auth/system-account/token",
                "/oauth2/authorize",
                "/oauth2/par",
                "/oauth2/device_authorization",
                "/oauth2/end_session",
                "/oauth2/token",
                "/oauth2/userinfo",
                "/oauth2/introspect",
                "/oauth2/revoke",
                "/oauth2/register",
                "/oauth2/register/:client_id",
            ];
            let guarded = route.method == "GET" || route.origin == Origin::Trusted || exempt.contains(&route.path);
            assert!(guarded, "{} {}", route.method, route.path);
        }
    }

    /// Both tables as text: a line for each route, with all its facts.
    fn printed() -> String {
        let mut text = String::from(
            "# Every endpoint with its facts, as src/server/routes.rs has them: host, method, path, access, origin, surface, facts.\n\
             # A change here is a change of who may ask what. After a look at the difference:\n\
             # GOLDEN=write cargo test --quiet routes\n",
        );
        for (host, table) in [("auth", AUTH_HOST), ("website", PROTECTED_HOST)] {
            for route in table {
                let Route { method, path, access, origin, surface, facts, .. } = route;
                let (access, origin, surface) = (format!("{access:?}"), format!("{origin:?}"), format!("{surface:?}"));
                let facts: Vec<String> = facts.iter().map(|fact| format!("{fact:?}")).collect();
                let facts = if facts.is_empty() { "-".to_owned() } else { facts.join(",") };
                let line = format!("{host:<7} {method:<6} {path:<53} {access:<9} {origin:<7} {surface:<4} {facts}");
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    #[test]
    fn the_table_is_the_reviewed_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/routes.txt");
        if std::env::var("GOLDEN").as_deref() == Ok("write") {
            std::fs::write(file, printed()).expect("written");
        }
        let reviewed = std::fs::read_to_string(file).expect("read");
        for (now, then) in printed().lines().zip(reviewed.lines()) {
            assert_eq!(now, then, "tests/golden/routes.txt says otherwise; see its head");
        }
        assert_eq!(printed().lines().count(), reviewed.lines().count(), "tests/golden/routes.txt has other routes");
    }
}

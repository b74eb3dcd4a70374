//! What can go wrong, and the one place where it becomes a status, a body and a line in the log.

use std::fmt;

use crate::platform::problem::Problem;

/// An answer of the login protocol to a refused request: vague on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// HTTP status.
    pub status: u16,
    /// The protocol's error code.
    pub code: &'static str,
    /// The protocol's message.
    pub message: &'static str,
}

/// Declares the protocol's refusals, one line each.
macro_rules! wire {
    ($($name:ident = $status:literal $code:literal $message:literal;)*) => {
        impl Wire {
            $(#[doc = concat!("`", $code, "`: ", $message)]
            pub const $name: Self = Self { status: $status, code: $code, message: $message };)*
        }
    };
}

wire! {
    UNAUTHORIZED = 401 "UNAUTHORIZED" "Unauthorized";
    INVALID_EMAIL_OR_PASSWORD = 401 "INVALID_EMAIL_OR_PASSWORD" "Invalid email or password";
    INVALID_PASSWORD = 400 "INVALID_PASSWORD" "Invalid password";
    PASSWORD_TOO_SHORT = 400 "PASSWORD_TOO_SHORT" "Password too short";
    PASSWORD_TOO_LONG = 400 "PASSWORD_TOO_LONG" "Password too long";
    CREDENTIAL_ACCOUNT_NOT_FOUND = 400 "CREDENTIAL_ACCOUNT_NOT_FOUND" "Credential account not found";
    USER_ALREADY_EXISTS = 422 "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL" "User already exists. Use another email.";
    SIGN_UP_DISABLED = 400 "EMAIL_PASSWORD_SIGN_UP_DISABLED" "Email and password sign up is not enabled";
    BANNED_USER = 403 "BANNED_USER" "You have been banned from this application. Please contact support if you believe this is an error.";
    TENANT_UNAVAILABLE = 403 "TENANT_UNAVAILABLE" "This organization is not available";
    INVALID_REDIRECT_URL = 403 "INVALID_REDIRECT_URL" "Invalid redirectURL";
    EMAIL_NOT_PROVEN = 401 "INVALID_TOKEN" "Invalid token";
    INVALID_TOKEN = 400 "INVALID_TOKEN" "Invalid token";
    INVALID_CALLBACK_URL = 403 "INVALID_CALLBACK_URL" "Invalid callbackURL";
    INVALID_ERROR_CALLBACK_URL = 403 "INVALID_ERROR_CALLBACK_URL" "Invalid errorCallbackURL";
    INVALID_NEW_USER_CALLBACK_URL = 403 "INVALID_NEW_USER_CALLBACK_URL" "Invalid newUserCallbackURL";
    MISSING_OR_NULL_ORIGIN = 403 "MISSING_OR_NULL_ORIGIN" "Missing or null Origin";
    INVALID_ORIGIN = 403 "INVALID_ORIGIN" "Invalid origin";
    CROSS_SITE_NAVIGATION = 403 "CROSS_SITE_NAVIGATION_LOGIN_BLOCKED" "Cross-site navigation login blocked. This request appears to be a CSRF attack.";
    INVALID_JSON = 400 "BAD_REQUEST" "Invalid JSON in request body";
    BODY_TOO_LARGE = 413 "PAYLOAD_TOO_LARGE" "Request body is too large";
    EMAIL_CAN_NOT_BE_UPDATED = 400 "EMAIL_CAN_NOT_BE_UPDATED" "Email can not be updated";
    NO_FIELDS_TO_UPDATE = 400 "NO_FIELDS_TO_UPDATE" "No fields to update";
    PROVIDER_NOT_FOUND = 404 "PROVIDER_NOT_FOUND" "Provider not found";
    PROVIDER_NOT_SUPPORTED = 400 "PROVIDER_NOT_SUPPORTED" "Provider credential is not supported.";
    PROVIDER_NOT_CONFIGURED = 400 "PROVIDER_NOT_CONFIGURED" "Account is not associated with a configured social provider.";
    ID_TOKEN_NOT_SUPPORTED = 404 "ID_TOKEN_NOT_SUPPORTED" "id_token not supported";
    ID_TOKEN_INVALID = 401 "INVALID_TOKEN" "Invalid token";
    NO_USER_INFO = 401 "FAILED_TO_GET_USER_INFO" "Failed to get user info";
    OAUTH_LINK_ERROR = 401 "OAUTH_LINK_ERROR" "The identity cannot sign in or be linked";
    SOCIAL_ACCOUNT_ALREADY_LINKED = 409 "SOCIAL_ACCOUNT_ALREADY_LINKED" "Social account already linked";
    ACCOUNT_NOT_FOUND = 400 "ACCOUNT_NOT_FOUND" "Account not found";
    FAILED_TO_UNLINK_LAST_ACCOUNT = 400 "FAILED_TO_UNLINK_LAST_ACCOUNT" "You can't unlink your last account";
    LAST_WAY_IN = 400 "LAST_WAY_IN" "You can't remove your last way of signing in";
    FAILED_TO_GET_ACCESS_TOKEN = 400 "FAILED_TO_GET_ACCESS_TOKEN" "Failed to get a valid access token";
    FAILED_TO_REFRESH_ACCESS_TOKEN = 400 "FAILED_TO_REFRESH_ACCESS_TOKEN" "Failed to refresh access token";
    REFRESH_TOKEN_NOT_FOUND = 400 "REFRESH_TOKEN_NOT_FOUND" "Refresh token not found";
    CONSENT_NOT_FOUND = 404 "CONSENT_NOT_FOUND" "Consent not found";
    CLIENT_CHANGED = 409 "CLIENT_CHANGED" "The client was changed meanwhile. Read it again.";
    CLIENT_NOT_FOUND = 404 "CLIENT_NOT_FOUND" "Client not found";
    ISSUER_NOT_FOUND = 404 "ISSUER_NOT_FOUND" "Issuer not found";
    ISSUER_NAME_TAKEN = 409 "ISSUER_NAME_TAKEN" "An issuer of this name exists already";
    ISSUER_CHANGED = 409 "ISSUER_CHANGED" "The issuer was changed meanwhile. Read it again.";
    ISSUER_IN_USE = 409 "ISSUER_IN_USE" "Users are linked to this issuer. Disable it, or delete it with force.";
    SYSTEM_ACCOUNT_NOT_FOUND = 404 "SYSTEM_ACCOUNT_NOT_FOUND" "No system account is connected";
    PROVIDER_UNAVAILABLE = 502 "PROVIDER_UNAVAILABLE" "The provider does not answer as it should";
    EMAIL_PASSWORD_DISABLED = 400 "EMAIL_PASSWORD_DISABLED" "Email and password is not enabled";
    INVALID_USERNAME_OR_PASSWORD = 401 "INVALID_USERNAME_OR_PASSWORD" "Invalid username or password";
    USERNAME_TOO_SHORT = 400 "USERNAME_TOO_SHORT" "Username is too short";
    USERNAME_TOO_LONG = 400 "USERNAME_TOO_LONG" "Username is too long";
    INVALID_USERNAME = 400 "INVALID_USERNAME" "Username is invalid";
    USERNAME_TAKEN = 400 "USERNAME_IS_ALREADY_TAKEN" "Username is already taken. Please try another.";
    INVALID_PHONE_NUMBER_OR_PASSWORD = 401 "INVALID_PHONE_NUMBER_OR_PASSWORD" "Invalid phone number or password";
    INVALID_PHONE_NUMBER = 400 "INVALID_PHONE_NUMBER" "Invalid phone number";
    PHONE_NUMBER_EXIST = 400 "PHONE_NUMBER_EXIST" "Phone number already exists";
    PHONE_NUMBER_CANNOT_BE_UPDATED = 400 "PHONE_NUMBER_CANNOT_BE_UPDATED" "Phone number cannot be updated";
    SEND_OTP_NOT_IMPLEMENTED = 501 "SEND_OTP_NOT_IMPLEMENTED" "sendOTP not implemented";
    OTP_NOT_FOUND = 400 "OTP_NOT_FOUND" "OTP not found";
    INVALID_OTP = 400 "INVALID_OTP" "Invalid OTP";
    OTP_EXPIRED = 400 "OTP_EXPIRED" "OTP expired";
    TOO_MANY_ATTEMPTS = 403 "TOO_MANY_ATTEMPTS" "Too many attempts";
    EMAIL_NOT_VERIFIED = 403 "EMAIL_NOT_VERIFIED" "Email not verified";
    EMAIL_MISMATCH = 400 "EMAIL_MISMATCH" "Email mismatch";
    EMAIL_ALREADY_VERIFIED = 400 "EMAIL_ALREADY_VERIFIED" "Email is already verified";
    EMAIL_IS_THE_SAME = 400 "EMAIL_IS_THE_SAME" "Email is the same";
    EMAIL_ALREADY_IN_USE = 400 "EMAIL_ALREADY_IN_USE" "Email already in use";
    OTP_REQUIRED = 400 "OTP_REQUIRED" "OTP is required to verify current email";
    INVALID_OTP_TYPE = 400 "INVALID_OTP_TYPE" "Invalid OTP type";
    INVALID_USER = 401 "INVALID_USER" "Invalid user";
    PASSWORD_COMPROMISED = 400 "PASSWORD_COMPROMISED" "The password you entered has been compromised. Please choose a different password.";
    SECOND_FACTOR_NOT_GIVEN = 403 "TWO_FACTOR_NOT_GIVEN" "Give a code of your second factor first";
    SESSION_NOT_FRESH = 403 "SESSION_NOT_FRESH" "Session is not fresh";
    SESSION_EXPIRED = 400 "SESSION_EXPIRED" "Session expired. Re-authenticate to perform this action.";
    DELETION_TOKEN = 404 "INVALID_TOKEN" "Invalid token";
    FAILED_TO_GET_USER_INFO = 404 "FAILED_TO_GET_USER_INFO" "Failed to get user info";
    INVALID_SECOND_FACTOR_COOKIE = 401 "INVALID_TWO_FACTOR_COOKIE" "Invalid two factor cookie";
    INVALID_CODE = 401 "INVALID_CODE" "Invalid code";
    INVALID_BACKUP_CODE = 401 "INVALID_BACKUP_CODE" "Invalid backup code";
    BACKUP_CODES_NOT_ENABLED = 400 "BACKUP_CODES_NOT_ENABLED" "Backup codes aren't enabled";
    TOTP_NOT_ENABLED = 400 "TOTP_NOT_ENABLED" "TOTP not enabled";
    TOTP_ALREADY_ENABLED = 400 "TOTP_ALREADY_ENABLED" "TOTP is already enabled";
    SECOND_FACTOR_NOT_ENABLED = 400 "TWO_FACTOR_NOT_ENABLED" "Two factor isn't enabled";
    OTP_HAS_EXPIRED = 400 "OTP_HAS_EXPIRED" "OTP has expired";
    TOO_MANY_SECOND_FACTORS = 400 "TOO_MANY_ATTEMPTS_REQUEST_NEW_CODE" "Too many attempts. Please request a new code.";
    SECOND_FACTOR_LOCKED = 429 "ACCOUNT_TEMPORARILY_LOCKED" "Too many failed verification attempts. Your account is temporarily locked. Please try again later.";
    CHALLENGE_NOT_FOUND = 400 "CHALLENGE_NOT_FOUND" "Challenge not found";
    FAILED_TO_VERIFY_REGISTRATION = 400 "FAILED_TO_VERIFY_REGISTRATION" "Failed to verify registration";
    PASSKEY_OF_ANOTHER = 401 "YOU_ARE_NOT_ALLOWED_TO_REGISTER_THIS_PASSKEY" "You are not allowed to register this passkey";
    PREVIOUSLY_REGISTERED = 400 "PREVIOUSLY_REGISTERED" "Previously registered";
    PASSKEY_UNKNOWN = 401 "PASSKEY_NOT_FOUND" "Passkey not found";
    PASSKEY_NOT_FOUND = 404 "PASSKEY_NOT_FOUND" "Passkey not found";
    AUTHENTICATION_FAILED = 400 "AUTHENTICATION_FAILED" "Authentication failed";
    ANONYMOUS_AGAIN = 400 "ANONYMOUS_USERS_CANNOT_SIGN_IN_AGAIN_ANONYMOUSLY" "Anonymous users cannot sign in again anonymously";
    NOT_ANONYMOUS = 403 "USER_IS_NOT_ANONYMOUS" "User is not anonymous";
    INVALID_SESSION_TOKEN = 401 "INVALID_SESSION_TOKEN" "Invalid session token";
    NO_SUCH_HOST = 404 "NO_SUCH_HOST" "No website or tenant answers on this host";
    BAD_GATE_REQUEST = 400 "INVALID_GATE_REQUEST" "This sign-in request is damaged or too old";
    NOT_ALLOWED_TO_CREATE_ORGANIZATION = 403 "YOU_ARE_NOT_ALLOWED_TO_CREATE_A_NEW_ORGANIZATION" "You are not allowed to create a new organization";
    TOO_MANY_ORGANIZATIONS = 403 "YOU_HAVE_REACHED_THE_MAXIMUM_NUMBER_OF_ORGANIZATIONS" "You have reached the maximum number of organizations";
    ORGANIZATION_ALREADY_EXISTS = 400 "ORGANIZATION_ALREADY_EXISTS" "Organization already exists";
    ORGANIZATION_SLUG_TAKEN = 400 "ORGANIZATION_SLUG_ALREADY_TAKEN" "Organization slug already taken";
    ORGANIZATION_NOT_FOUND = 404 "ORGANIZATION_NOT_FOUND" "Organization not found";
    NO_ACTIVE_ORGANIZATION = 400 "NO_ACTIVE_ORGANIZATION" "No active organization";
    NOT_ALLOWED_TO_UPDATE_ORGANIZATION = 403 "YOU_ARE_NOT_ALLOWED_TO_UPDATE_THIS_ORGANIZATION" "You are not allowed to update this organization";
    NOT_ALLOWED_TO_DELETE_ORGANIZATION = 403 "YOU_ARE_NOT_ALLOWED_TO_DELETE_THIS_ORGANIZATION" "You are not allowed to delete this organization";
    ALREADY_A_MEMBER = 400 "USER_IS_ALREADY_A_MEMBER_OF_THIS_ORGANIZATION" "User is already a member of this organization";
    NO_MEMBER = 400 "USER_IS_NOT_A_MEMBER_OF_THE_ORGANIZATION" "User is not a member of the organization";
    MEMBER_NOT_FOUND = 404 "MEMBER_NOT_FOUND" "Member not found";
    ROLE_NOT_FOUND = 400 "ROLE_NOT_FOUND" "Role not found";
    NOT_ALLOWED_TO_ADD_MEMBER = 403 "YOU_ARE_NOT_ALLOWED_TO_UPDATE_THIS_MEMBER" "You are not allowed to update this member";
    NOT_ALLOWED_TO_UPDATE_MEMBER = 403 "YOU_ARE_NOT_ALLOWED_TO_UPDATE_THIS_MEMBER" "You are not allowed to update this member";
    NOT_ALLOWED_TO_DELETE_MEMBER = 403 "YOU_ARE_NOT_ALLOWED_TO_DELETE_THIS_MEMBER" "You are not allowed to delete this member";
    ONLY_OWNER = 400 "YOU_CANNOT_LEAVE_THE_ORGANIZATION_AS_THE_ONLY_OWNER" "You cannot leave the organization as the only owner";
    WITHOUT_AN_OWNER = 400 "YOU_CANNOT_LEAVE_THE_ORGANIZATION_WITHOUT_AN_OWNER" "You cannot leave the organization without an owner";
    NOT_ALLOWED_TO_INVITE = 403 "YOU_ARE_NOT_ALLOWED_TO_INVITE_USERS_TO_THIS_ORGANIZATION" "You are not allowed to invite users to this organization";
    NOT_ALLOWED_TO_INVITE_WITH_ROLE = 403 "YOU_ARE_NOT_ALLOWED_TO_INVITE_USER_WITH_THIS_ROLE" "You are not allowed to invite a user with this role";
    ALREADY_INVITED = 400 "USER_IS_ALREADY_INVITED_TO_THIS_ORGANIZATION" "User is already invited to this organization";
    INVITATION_NOT_FOUND = 400 "INVITATION_NOT_FOUND" "Invitation not found";
    NOT_THE_RECIPIENT = 403 "YOU_ARE_NOT_THE_RECIPIENT_OF_THE_INVITATION" "You are not the recipient of the invitation";
    INVITATION_NEEDS_PROOF = 403 "EMAIL_VERIFICATION_REQUIRED_BEFORE_ACCEPTING_OR_REJECTING_INVITATION" "Email verification required before accepting or rejecting invitation";
    INVITATIONS_NEED_PROOF = 403 "EMAIL_VERIFICATION_REQUIRED_FOR_INVITATION" "Email verification required to view or list invitations for the session email";
    NOT_ALLOWED_TO_CANCEL_INVITATION = 403 "YOU_ARE_NOT_ALLOWED_TO_CANCEL_THIS_INVITATION" "You are not allowed to cancel this invitation";
    INVITER_LEFT = 403 "INVITER_IS_NO_LONGER_A_MEMBER_OF_THE_ORGANIZATION" "Inviter is no longer a member of the organization";
    NOT_ALLOWED_TO_CREATE_TEAM = 403 "YOU_ARE_NOT_ALLOWED_TO_CREATE_TEAMS_IN_THIS_ORGANIZATION" "You are not allowed to create teams in this organization";
    NOT_ALLOWED_TO_UPDATE_TEAM = 403 "YOU_ARE_NOT_ALLOWED_TO_UPDATE_THIS_TEAM" "You are not allowed to update this team";
    NOT_ALLOWED_TO_DELETE_TEAM = 403 "YOU_ARE_NOT_ALLOWED_TO_DELETE_THIS_TEAM" "You are not allowed to delete this team";
    NOT_ALLOWED_TO_ADD_TEAM_MEMBER = 403 "YOU_ARE_NOT_ALLOWED_TO_CREATE_A_NEW_TEAM_MEMBER" "You are not allowed to create a new member";
    NOT_ALLOWED_TO_REMOVE_TEAM_MEMBER = 403 "YOU_ARE_NOT_ALLOWED_TO_REMOVE_A_TEAM_MEMBER" "You are not allowed to remove a team member";
    TEAM_NOT_FOUND = 400 "TEAM_NOT_FOUND" "Team not found";
    TEAM_ALREADY_EXISTS = 400 "TEAM_ALREADY_EXISTS" "Team already exists";
    LAST_TEAM = 400 "UNABLE_TO_REMOVE_LAST_TEAM" "Unable to remove last team";
    TEAM_FULL = 403 "TEAM_MEMBER_LIMIT_REACHED" "Team member limit reached";
    NO_TEAM_MEMBER = 400 "USER_IS_NOT_A_MEMBER_OF_THE_TEAM" "User is not a member of the team";
    NO_ACTIVE_TEAM = 400 "YOU_DO_NOT_HAVE_AN_ACTIVE_TEAM" "You do not have an active team";
    NOT_ALLOWED_TO_CREATE_ROLE = 403 "YOU_ARE_NOT_ALLOWED_TO_CREATE_A_ROLE" "You are not allowed to create a role";
    NOT_ALLOWED_TO_UPDATE_ROLE = 403 "YOU_ARE_NOT_ALLOWED_TO_UPDATE_A_ROLE" "You are not allowed to update a role";
    NOT_ALLOWED_TO_DELETE_ROLE = 403 "YOU_ARE_NOT_ALLOWED_TO_DELETE_A_ROLE" "You are not allowed to delete a role";
    NOT_ALLOWED_TO_READ_ROLE = 403 "YOU_ARE_NOT_ALLOWED_TO_READ_A_ROLE" "You are not allowed to read a role";
    NOT_ALLOWED_TO_LIST_ROLES = 403 "YOU_ARE_NOT_ALLOWED_TO_LIST_A_ROLE" "You are not allowed to list a role";
    TOO_MANY_ROLES = 400 "TOO_MANY_ROLES" "This organization has too many roles";
    INVALID_RESOURCE = 400 "INVALID_RESOURCE" "The provided permission includes an invalid resource";
    ROLE_NAME_TAKEN = 400 "ROLE_NAME_IS_ALREADY_TAKEN" "That role name is already taken";
    PREDEFINED_ROLE = 400 "CANNOT_DELETE_A_PRE_DEFINED_ROLE" "Cannot delete a pre-defined role";
    ROLE_IS_ASSIGNED = 400 "ROLE_IS_ASSIGNED_TO_MEMBERS" "Cannot delete a role that is assigned to members. Please reassign the members to a different role first";
    SECOND_FACTOR_REQUIRED = 403 "TWO_FACTOR_REQUIRED" "This organization asks for a second factor";
    ADDRESS_NOT_ALLOWED = 403 "ADDRESS_NOT_ALLOWED" "This organization does not allow access from your network";
    KEY_PERMISSION = 403 "INSUFFICIENT_API_KEY_PERMISSIONS" "You don't have sufficient permissions to perform this action on organization API keys.";
    OWN_KEY_PERMISSION = 403 "INSUFFICIENT_API_KEY_PERMISSIONS" "You can't give an API key permissions that you don't hold yourself.";
    INVALID_NAME_LENGTH = 400 "INVALID_NAME_LENGTH" "The name length is either too large or too small.";
    INVALID_PREFIX_LENGTH = 400 "INVALID_PREFIX_LENGTH" "The prefix length is either too large or too small.";
    INVALID_METADATA_TYPE = 400 "INVALID_METADATA_TYPE" "metadata must be an object or undefined";
    REFILL_AMOUNT_AND_INTERVAL_REQUIRED = 400 "REFILL_AMOUNT_AND_INTERVAL_REQUIRED" "refillAmount is required when refillInterval is provided";
    REFILL_INTERVAL_AND_AMOUNT_REQUIRED = 400 "REFILL_INTERVAL_AND_AMOUNT_REQUIRED" "refillInterval is required when refillAmount is provided";
    INVALID_EMAIL = 400 "INVALID_EMAIL" "Invalid email";
    FIELD_NOT_ALLOWED = 400 "FIELD_NOT_ALLOWED" "This field is not allowed to be set";
    KEY_NOT_FOUND = 404 "KEY_NOT_FOUND" "API Key not found";
    KEY_LIFE_TOO_SHORT = 400 "EXPIRES_IN_IS_TOO_SMALL" "The expiresIn is smaller than the predefined minimum value.";
    KEY_LIFE_TOO_LONG = 400 "EXPIRES_IN_IS_TOO_LARGE" "The expiresIn is larger than the predefined maximum value.";
    NO_VALUES_TO_UPDATE = 400 "NO_VALUES_TO_UPDATE" "No values to update.";
    KEY_OF_ANOTHER = 401 "UNAUTHORIZED_SESSION" "Unauthorized or invalid session";
    TOO_MANY_KEYS = 400 "TOO_MANY_KEYS" "Too many keys. Delete some first.";
    INVALID_API_KEY = 401 "INVALID_API_KEY" "Invalid API key.";
    API_KEY_DISABLED = 401 "KEY_DISABLED" "API Key is disabled";
    API_KEY_EXPIRED = 401 "KEY_EXPIRED" "API Key has expired";
    API_KEY_USED_UP = 429 "USAGE_EXCEEDED" "API Key has reached its usage limit";
    HOST_TAKEN = 400 "HOST_ALREADY_TAKEN" "Another tenant answers on this host";
    DATABASE_TAKEN = 400 "DATABASE_ALREADY_TAKEN" "Another tenant's data is in this database";
    TENANT_STATUS = 400 "TENANT_STATUS" "The tenant's status does not allow this";
    USER_NOT_FOUND = 404 "USER_NOT_FOUND" "User not found";
    NOT_ALLOWED_TO_CREATE_USERS = 403 "YOU_ARE_NOT_ALLOWED_TO_CREATE_USERS" "You are not allowed to create users";
    NOT_ALLOWED_TO_LIST_USERS = 403 "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS" "You are not allowed to list users";
    NOT_ALLOWED_TO_GET_USER = 403 "YOU_ARE_NOT_ALLOWED_TO_GET_USER" "You are not allowed to get user";
    NOT_ALLOWED_TO_UPDATE_USERS = 403 "YOU_ARE_NOT_ALLOWED_TO_UPDATE_USERS" "You are not allowed to update users";
    NOT_ALLOWED_TO_SET_USERS_EMAIL = 403 "YOU_ARE_NOT_ALLOWED_TO_SET_USERS_EMAIL" "You are not allowed to update users email";
    NOT_ALLOWED_TO_CHANGE_USERS_ROLE = 403 "YOU_ARE_NOT_ALLOWED_TO_CHANGE_USERS_ROLE" "You are not allowed to change users role";
    NOT_ALLOWED_TO_SET_USERS_PASSWORD = 403 "YOU_ARE_NOT_ALLOWED_TO_SET_USERS_PASSWORD" "You are not allowed to set users password";
    NOT_ALLOWED_TO_BAN_USERS = 403 "YOU_ARE_NOT_ALLOWED_TO_BAN_USERS" "You are not allowed to ban users";
    NOT_ALLOWED_TO_IMPERSONATE_USERS = 403 "YOU_ARE_NOT_ALLOWED_TO_IMPERSONATE_USERS" "You are not allowed to impersonate users";
    CANNOT_IMPERSONATE_ADMINS = 403 "YOU_CANNOT_IMPERSONATE_ADMINS" "You cannot impersonate admins";
    NOT_ALLOWED_TO_DELETE_USERS = 403 "YOU_ARE_NOT_ALLOWED_TO_DELETE_USERS" "You are not allowed to delete users";
    NOT_ALLOWED_TO_LIST_USERS_SESSIONS = 403 "YOU_ARE_NOT_ALLOWED_TO_LIST_USERS_SESSIONS" "You are not allowed to list users sessions";
    NOT_ALLOWED_TO_REVOKE_USERS_SESSIONS = 403 "YOU_ARE_NOT_ALLOWED_TO_REVOKE_USERS_SESSIONS" "You are not allowed to revoke users sessions";
    USER_IS_DEACTIVATED = 400 "USER_IS_DEACTIVATED" "User is deactivated: reactivate them first";
    USER_CHANGED = 409 "USER_CHANGED" "User was changed meanwhile: look again";
    USER_IS_BANNED = 400 "USER_IS_BANNED" "User is banned: lift the ban first";
    CANNOT_BAN_YOURSELF = 400 "YOU_CANNOT_BAN_YOURSELF" "You cannot ban yourself";
    CANNOT_REMOVE_YOURSELF = 400 "YOU_CANNOT_REMOVE_YOURSELF" "You cannot remove yourself";
    NO_SUCH_ROLE = 400 "YOU_ARE_NOT_ALLOWED_TO_SET_NON_EXISTENT_VALUE" "You are not allowed to set a non-existent role value";
    USER_EXISTS = 400 "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL" "User already exists. Use another email.";
    NO_DATA_TO_UPDATE = 400 "NO_DATA_TO_UPDATE" "No data to update";
    PASSWORD_BY_ITS_OWN_ENDPOINT = 400 "PASSWORD_CANNOT_BE_UPDATED_VIA_UPDATE_USER" "Password cannot be updated through update-user. Use the set-user-password endpoint instead";
    NOT_IMPERSONATING = 400 "NOT_IMPERSONATING" "You are not impersonating anyone";
    FORBIDDEN = 403 "FORBIDDEN" "Forbidden";
    BAD_GATEWAY = 502 "BAD_GATEWAY" "The website does not answer";
    STORAGE_UNAVAILABLE = 503 "SERVICE_UNAVAILABLE" "Service unavailable";
    INTERNAL = 500 "INTERNAL_SERVER_ERROR" "Internal Server Error";
}

/// Why a request was not served.
#[derive(Debug)]
pub enum Error {
    /// Refused: what the wire says, and the exact reason for the log.
    Refused {
        /// The protocol's answer.
        wire: Wire,
        /// For the log alone.
        reason: String,
    },
    /// Fields that are missing or malformed; the text names them and goes out as it is.
    Validation(String),
    /// A body of a media type that the endpoint does not read.
    UnsupportedMediaType(String),
    /// Too many requests; seconds until it is worth trying again.
    TooManyRequests {
        /// Seconds.
        retry_after: i64,
        /// Which limit; for the log.
        limit: &'static str,
    },
    /// An error of OAuth's own.
    OAuth(Box<Problem>),
    /// No such path: an empty 404.
    NotFound,
    /// D1 or KV failed: 503, and nobody is let in.
    Storage(String),
    /// A setting is missing or malformed; the text names it, in the log only.
    Config(String),
    /// A state that cannot be, named exactly for the log.
    Internal(String),
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// How loudly an error is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What clients do wrong every day.
    Info,
    /// What somebody should look at.
    Error,
}

impl Error {
    /// A refusal with its exact reason.
    pub fn refused(wire: Wire, reason: impl Into<String>) -> Self {
        Self::Refused { wire, reason: reason.into() }
    }

    /// The one match from error to wire. `Validation` and `UnsupportedMediaType` bring their own message.
    #[must_use]
    pub fn wire(&self) -> Wire {
        match self {
            Self::Refused { wire, .. } => *wire,
            Self::Validation(_) => Wire { status: 400, code: "VALIDATION_ERROR", message: "" },
            Self::UnsupportedMediaType(_) => Wire { status: 415, code: "UNSUPPORTED_MEDIA_TYPE", message: "" },
            Self::TooManyRequests { .. } => {
                Wire { status: 429, code: "TOO_MANY_REQUESTS", message: "Too many requests. Please try again later." }
            }
            Self::OAuth(problem) => {
                Wire { status: problem.status(), code: problem.code.as_str(), message: problem.description }
            }
            Self::NotFound => Wire { status: 404, code: "NOT_FOUND", message: "Not Found" },
            Self::Storage(_) => Wire::STORAGE_UNAVAILABLE,
            Self::Config(_) | Self::Internal(_) => Wire::INTERNAL,
        }
    }

    /// The message that goes out.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Validation(text) | Self::UnsupportedMediaType(text) => text,
            _ => self.wire().message,
        }
    }

    /// How loudly it is logged.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Storage(_) | Self::Config(_) | Self::Internal(_) => Level::Error,
            _ => Level::Info,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { wire, reason } => write!(f, "{}: {reason}", wire.code),
            Self::Validation(text) => write!(f, "VALIDATION_ERROR: {text}"),
            Self::UnsupportedMediaType(text) => write!(f, "UNSUPPORTED_MEDIA_TYPE: {text}"),
            Self::TooManyRequests { limit, .. } => write!(f, "TOO_MANY_REQUESTS: {limit}"),
            Self::OAuth(problem) => problem.fmt(f),
            Self::NotFound => f.write_str("NOT_FOUND"),
            Self::Storage(text) => write!(f, "storage: {text}"),
            Self::Config(text) => write!(f, "configuration: {text}"),
            Self::Internal(text) => write!(f, "internal: {text}"),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::OAuth(Box::new(problem))
    }
}

impl From<worker::Error> for Error {
    fn from(error: worker::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_exact_and_the_wire_is_vague() {
        let error = Error::refused(Wire::INVALID_EMAIL_OR_PASSWORD, "locked until 12");
        assert_eq!(error.to_string(), "INVALID_EMAIL_OR_PASSWORD: locked until 12");
        assert_eq!(error.message(), "Invalid email or password");
        let error = Error::Storage("no such table: user".to_owned());
        assert_eq!((error.wire().status, error.message()), (503, "Service unavailable"));
        assert_eq!(error.level(), Level::Error);
    }
}

//! What tokens open: a marker each, and the name by which `verification.kind` tells them apart.

/// What a token opens; a hash of one kind is never looked up as another.
pub trait TokenKind {
    /// Names the kind in `verification.kind`.
    const NAME: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {
        $($(#[$doc])* pub enum $kind {}
        impl TokenKind for $kind {
            const NAME: &'static str = $name;
        })*
    };
}

kinds! {
    /// The session cookie's value.
    SessionToken = "session";
    /// `state` of an authorization request that we sent (RFC 6749, section 4.1.1).
    UpstreamState = "upstream_state";
    /// A link that sets a new password.
    Reset = "password_reset";
    /// A link that proves an e-mail address.
    EmailProof = "email_proof";
    /// A link that signs in.
    MagicLink = "magic_link";
    /// A sign-in that waits for its second factor.
    SecondFactor = "second_factor";
    /// A browser that is asked for no second factor.
    TrustedDevice = "trusted_device";
    /// A token that carries a session to another page of its owner's.
    OneTime = "one_time_token";
    /// The challenge of a passkey's ceremony (`WebAuthn` Level 3, section 13.4.3).
    PasskeyChallenge = "passkey_challenge";
    /// A link by which the old address agrees to a new one.
    ChangeConfirm = "change_email_confirm";
    /// A link by which the new address is proven.
    ChangeProof = "change_email_proof";
    /// A link that deletes its user.
    Deletion = "delete_user";
    /// A link that confirms an upstream identity.
    AccountConfirmation = "account_confirmation";
    /// An ID token that a native app signed in with.
    SeenIdToken = "seen_id_token";
    /// What a service of the platform asks for a system account's access token with.
    ServiceToken = "service_token";
    /// Ties a flow to the browser that began it.
    BrowserBinding = "browser_binding";
    /// The one-time code that carries a sign-in from the auth host to a protected host.
    GateCode = "gate_code";
    /// An authorization code (RFC 6749, section 1.3.1).
    AuthorizationCode = "authorization_code";
    /// An authorization request that is kept (RFC 9126).
    KeptRequest = "kept_request";
    /// What a device polls with (RFC 8628).
    DeviceCode = "device_code";
    /// An access token.
    AccessToken = "access_token";
    /// A refresh token.
    RefreshToken = "refresh_token";
    /// A client's secret.
    ClientSecret = "client_secret";
    /// What a client changes its own registration with (RFC 7592, section 1.2).
    RegistrationToken = "registration_access_token";
    /// What is mailed to whoever is invited.
    Invited = "invitation";
    /// A key of a program's.
    ApiKeySecret = "api_key";
    /// What a client registers itself with (RFC 7591, section 1.2).
    InitialAccessToken = "initial_access_token";
}

//! Verifying an authentication assertion (section 7.2).
//!
//! PURE: no I/O, no clock, no randomness.

use serde::Deserialize;

use crate::credentials::webauthn::authenticator_data::AuthenticatorData;
use crate::credentials::webauthn::client_data::Expected;
use crate::credentials::webauthn::expectation::{
    Expectation, LONGEST_AUTHENTICATOR_DATA, LONGEST_SIGNATURE, LONGEST_USER_HANDLE, claimed_id, decoded,
};
use crate::credentials::webauthn::key::PublicKey;
use crate::credentials::webauthn::{WebauthnError, client_data};

/// `AuthenticationResponseJSON` (section 5.1) as the browser sent it. Members that we have no use for are ignored.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnverifiedAuthenticationResponse {
    id: String,
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: UnverifiedAssertionResponse,
}

/// `AuthenticatorAssertionResponseJSON`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnverifiedAssertionResponse {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    authenticator_data: String,
    signature: String,
    #[serde(default)]
    user_handle: Option<String>,
}

/// The credential that the response names, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredCredential<'a> {
    /// Its id.
    pub credential_id: &'a [u8],
    /// Its public key: the COSE key in CBOR.
    pub public_key: &'a [u8],
    /// `signCount`, as last seen.
    pub counter: u32,
    /// The `user.id` it was registered with.
    pub user_handle: &'a [u8],
    /// BE, as it was registered.
    pub backup_eligible: bool,
}

/// A verified assertion: what to store of it (7.2 step 24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// `signCount`.
    pub counter: u32,
    /// Whether the authenticator verified the user, by PIN or biometrics.
    pub user_verified: bool,
    /// Whether the credential is backed up now.
    pub backed_up: bool,
}

impl UnverifiedAuthenticationResponse {
    /// The challenge that the response claims to answer, in base64url, to look up ours by.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        client_data::claimed_challenge(&self.response.client_data_json)
    }

    /// The id of the credential that the response claims to be by, to look up ours by.
    #[must_use]
    pub fn credential_id(&self) -> Option<Vec<u8>> {
        claimed_id(&self.kind, &self.id, &self.raw_id).ok()
    }

    /// Whether the response names its user. It must if nobody else did: of a visitor who was not known before, and was
    /// given no list of credentials (7.2 step 6).
    #[must_use]
    pub const fn has_user_handle(&self) -> bool {
        self.response.user_handle.is_some()
    }
}

/// Verifies an authentication: section 7.2, whose steps are numbered here. Steps 1 and 2 are the page's. Left to the
/// caller are that the challenge is unspent, that the credential is of the user whom the challenge was for, if it was
/// for one (steps 5 and 6), and storing (step 24).
///
/// # Errors
/// The first check that failed.
pub fn verify_authentication(
    response: &UnverifiedAuthenticationResponse,
    stored: &StoredCredential<'_>,
    expected: &Expectation<'_>,
) -> Result<Assertion, WebauthnError> {
    // 3 and 6; 4 has nothing to read, since no extension was asked for
    if claimed_id(&response.kind, &response.id, &response.raw_id)? != stored.credential_id {
        return Err(WebauthnError::CredentialId);
    }
    let members = &response.response;
    if let Some(handle) = &members.user_handle
        && decoded("userHandle", handle, LONGEST_USER_HANDLE)? != stored.user_handle
    {
        return Err(WebauthnError::UserHandle);
    }
    // 7
    let client_data = client_data::bytes(&members.client_data_json)?;
    let signed = decoded("authenticatorData", &members.authenticator_data, LONGEST_AUTHENTICATOR_DATA)?;
    let signature = decoded("signature", &members.signature, LONGEST_SIGNATURE)?;
    // 8 to 14, and 20
    let expected_client_data =
        Expected { kind: "webauthn.get", challenge: expected.challenge, origins: expected.origins };
    let hash = client_data::verified_hash(&client_data, &expected_client_data)?;
    // 15 to 18
    let data = AuthenticatorData::read(&signed, false)?;
    data.check(expected.rp_id, expected.require_user_verification)?;
    // 19
    if data.backup_eligible() != stored.backup_eligible {
        return Err(WebauthnError::BackupEligibility {
            stored: stored.backup_eligible,
            presented: data.backup_eligible(),
        });
    }
    // 21
    let key = PublicKey::read(stored.public_key).map_err(|error| match error {
        WebauthnError::PublicKey(text) => WebauthnError::StoredPublicKey(text),
        other => other,
    })?;
    if !key.verifies(&[&signed[..], &hash].concat(), &signature) {
        return Err(WebauthnError::Signature);
    }
    // 22: after the signature, so that nobody without the key can have a credential suspected of being a copy. Many
    // authenticators count nothing, and always say zero (section 6.1.1).
    if (data.counter != 0 || stored.counter != 0) && data.counter <= stored.counter {
        return Err(WebauthnError::CounterWentBack { stored: stored.counter, presented: data.counter });
    }
    // 24
    Ok(Assertion { counter: data.counter, user_verified: data.user_verified(), backed_up: data.backed_up() })
}

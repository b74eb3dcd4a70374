//! Registering a new credential (section 7.1).
//!
//! PURE: no I/O, no clock, no randomness.

use serde::Deserialize;

use crate::credentials::webauthn::attestation::AttestationObject;
use crate::credentials::webauthn::authenticator_data::AuthenticatorData;
use crate::credentials::webauthn::client_data::Expected;
use crate::credentials::webauthn::expectation::{Expectation, LONGEST_ATTESTATION_OBJECT, claimed_id, decoded};
use crate::credentials::webauthn::key::{Algorithm, PublicKey};
use crate::credentials::webauthn::{WebauthnError, client_data};

/// The transports that we know (section 5.8.4), sorted.
const TRANSPORTS: [&str; 6] = ["ble", "hybrid", "internal", "nfc", "smart-card", "usb"];

/// `RegistrationResponseJSON` (section 5.1) as the browser sent it. Members that we have no use for are ignored.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnverifiedRegistrationResponse {
    id: String,
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: UnverifiedAttestationResponse,
}

/// `AuthenticatorAttestationResponseJSON`.
#[derive(Clone, Debug, Deserialize)]
struct UnverifiedAttestationResponse {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    #[serde(rename = "attestationObject")]
    attestation_object: String,
    #[serde(default)]
    transports: Option<Vec<String>>,
}

/// A credential to store: the credential record of section 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCredential {
    /// Its id, which must not be registered yet, for anybody (7.1 step 26).
    pub credential_id: Vec<u8>,
    /// Its public key: the COSE key in CBOR, as the authenticator wrote it.
    pub public_key: Vec<u8>,
    /// What the key is for.
    pub algorithm: Algorithm,
    /// `signCount`.
    pub counter: u32,
    /// The authenticator's make, as it says itself; sixteen zeros if it does not.
    pub aaguid: [u8; 16],
    /// Whether the authenticator verified the user, by PIN or biometrics.
    pub user_verified: bool,
    /// Whether the credential may be backed up: a passkey that is synchronised. It stays so for good.
    pub backup_eligible: bool,
    /// Whether it is.
    pub backed_up: bool,
    /// The transports that we know of those claimed, sorted. A hint for the browser, and not signed by anybody.
    pub transports: Vec<String>,
}

impl UnverifiedRegistrationResponse {
    /// The challenge that the response claims to answer, in base64url, to look up ours by.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        client_data::claimed_challenge(&self.response.client_data_json)
    }

    fn transports(&self) -> Vec<String> {
        let claimed = self.response.transports.as_deref().unwrap_or_default();
        let known = TRANSPORTS.into_iter().filter(|known| claimed.iter().any(|claimed| claimed == known));
        known.map(str::to_owned).collect()
    }
}

/// Verifies a registration: section 7.1, whose steps are numbered here. Steps 1 and 2 are the page's. Left to the
/// caller are that the challenge is of this user and unspent, that the id is not registered yet (step 26), and storing
/// (step 29).
///
/// # Errors
/// The first check that failed.
pub fn verify_registration(
    response: &UnverifiedRegistrationResponse,
    expected: &Expectation<'_>,
) -> Result<NewCredential, WebauthnError> {
    // 3; 4 has nothing to read, since no extension was asked for
    let claimed_id = claimed_id(&response.kind, &response.id, &response.raw_id)?;
    let members = &response.response;
    let client_data = client_data::bytes(&members.client_data_json)?;
    let object = decoded("attestationObject", &members.attestation_object, LONGEST_ATTESTATION_OBJECT)?;
    // 5 to 12
    let expected_client_data =
        Expected { kind: "webauthn.create", challenge: expected.challenge, origins: expected.origins };
    let hash = client_data::verified_hash(&client_data, &expected_client_data)?;
    // 13
    let object = AttestationObject::read(&object)?;
    let data = AuthenticatorData::read(object.authenticator_data, true)?;
    // 14 to 17; BE and BS (18, 19) decide nothing here
    data.check(expected.rp_id, expected.require_user_verification)?;
    // 20
    let attested = data.attested.as_ref().ok_or(WebauthnError::AuthenticatorData("no attested credential data"))?;
    let key = PublicKey::read(attested.public_key)?;
    // 21 to 24
    object.verify(&key, &hash)?;
    // 25 was seen to in reading. The id that the browser names must be the one attested, or this registration would
    // take another's id.
    if claimed_id != attested.credential_id {
        return Err(WebauthnError::CredentialId);
    }
    // 27
    Ok(NewCredential {
        credential_id: claimed_id,
        public_key: attested.public_key.to_vec(),
        algorithm: key.algorithm(),
        counter: data.counter,
        aaguid: attested.aaguid,
        user_verified: data.user_verified(),
        backup_eligible: data.backup_eligible(),
        backed_up: data.backed_up(),
        transports: response.transports(),
    })
}

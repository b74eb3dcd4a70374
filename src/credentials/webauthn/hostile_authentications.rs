//! What each check of an assertion is there for: one wrong thing at a time, and the error that it gets.

use serde_json::{Value, json};

use crate::credentials::webauthn::expectation::*;
use crate::credentials::webauthn::fixture::*;
use crate::credentials::webauthn::{WebauthnError as E, *};

type Spoil<T> = fn(&mut T);

#[test]
fn good_authentications() {
    for (_, key) in Key::all() {
        let public_key = encode::key(&key.parameters());
        let assertion = authenticate(Authentication::of(key).response(), &public_key);
        assert_eq!(assertion, Ok(Assertion { counter: 6, user_verified: true, backed_up: false }));
    }
    let table: [Spoil<Authentication>; 5] = [
        |a| a.user_handle = None,
        |a| a.counter = u32::MAX,
        |a| {
            (a.flags, a.extensions) =
                (a.flags | ED, encode::map(&[(encode::text("hmac-secret"), encode::bytes(&[1; 80]))]));
        },
        |a| a.client_data["crossOrigin"] = json!(false),
        // The other s for the same r: no less valid.
        |a| {
            a.spoil_signature = |der| {
                let signature = p256::ecdsa::Signature::from_der(&der).expect("DER");
                let other = p256::ecdsa::Signature::from_scalars(signature.r(), -signature.s()).expect("scalars");
                other.to_der().as_bytes().to_vec()
            };
        },
    ];
    for (row, spoil) in table.into_iter().enumerate() {
        let mut authentication = Authentication::of(Key::es256());
        spoil(&mut authentication);
        let public_key = encode::key(&authentication.key.parameters());
        assert!(authenticate(authentication.response(), &public_key).is_ok(), "row {row}");
    }
}

#[test]
fn authentications_that_say_wrong_things() {
    let table: [(Spoil<Authentication>, E); 19] = [
        (|a| a.rp_id = "evil.example", E::RpIdHash),
        (|a| a.flags &= !0x01, E::UserNotPresent),
        (|a| a.flags &= !0x04, E::UserNotVerified),
        (|a| a.flags |= BS, E::BackupState),
        (|a| a.flags |= BE, E::BackupEligibility { stored: false, presented: true }),
        (|a| a.flags |= 0x40, E::AuthenticatorData("attested credential data")),
        (|a| a.flags |= ED, E::AuthenticatorData("not a map")),
        (|a| a.extensions = vec![0xa0], E::AuthenticatorData("trailing bytes")),
        (|a| (a.flags, a.extensions) = (a.flags | ED, vec![0xa0, 0xa0]), E::AuthenticatorData("trailing bytes")),
        (|a| a.credential_id = vec![8; 32], E::CredentialId),
        (|a| a.credential_id = Vec::new(), E::CredentialId),
        (|a| a.user_handle = Some(b"another"), E::UserHandle),
        (|a| a.user_handle = Some(b""), E::UserHandle),
        (|a| a.spoil_signature = |s| [s, vec![0]].concat(), E::Signature),
        (|a| a.spoil_signature = |_| Vec::new(), E::Signature),
        (|a| a.key = Key::Es256(p256::ecdsa::SigningKey::from_bytes(&[8; 32].into()).expect("scalar")), E::Signature),
        (|a| a.counter = 5, E::CounterWentBack { stored: 5, presented: 5 }),
        (|a| a.counter = 0, E::CounterWentBack { stored: 5, presented: 0 }),
        // Without the key nobody can have the credential suspected.
        (|a| (a.counter, a.spoil_signature) = (4, |_| vec![0x30, 0]), E::Signature),
    ];
    let public_key = encode::key(&Key::es256().parameters());
    for (row, (spoil, expected)) in table.into_iter().enumerate() {
        let mut authentication = Authentication::of(Key::es256());
        spoil(&mut authentication);
        assert_eq!(authenticate(authentication.response(), &public_key).unwrap_err(), expected, "row {row}");
    }
    for (row, (_, key)) in Key::all().into_iter().enumerate() {
        let public_key = encode::key(&key.parameters());
        let mut authentication = Authentication::of(key);
        authentication.spoil_signature = |mut signature| {
            *signature.last_mut().expect("bytes") ^= 1;
            signature
        };
        assert_eq!(authenticate(authentication.response(), &public_key).unwrap_err(), E::Signature, "row {row}");
    }
}

#[test]
fn members_of_an_authentication() {
    let public_key = encode::key(&Key::es256().parameters());
    let long = |length: usize| Value::from("A".repeat(length));
    let table: [(&str, Value, E); 12] = [
        ("/type", json!("Public-Key"), E::CredentialType("Public-Key".to_owned())),
        ("/id", base64url(&[8; 32]), E::CredentialId),
        ("/rawId", base64url(&[8; 32]), E::CredentialId),
        ("/rawId", json!("CQk="), E::Base64("rawId")),
        ("/response/userHandle", json!("CQk="), E::Base64("userHandle")),
        ("/response/userHandle", base64url(&[1; LONGEST_USER_HANDLE]), E::UserHandle),
        ("/response/userHandle", long(87), E::TooLong("userHandle")),
        ("/response/signature", json!("CQk="), E::Base64("signature")),
        ("/response/signature", long(LONGEST_SIGNATURE * 2), E::TooLong("signature")),
        ("/response/authenticatorData", json!(""), E::AuthenticatorData("too short")),
        ("/response/authenticatorData", json!("CQk="), E::Base64("authenticatorData")),
        ("/response/authenticatorData", long(LONGEST_AUTHENTICATOR_DATA * 2), E::TooLong("authenticatorData")),
    ];
    for (pointer, value, expected) in table {
        let mut response = Authentication::of(Key::es256()).response();
        *response.pointer_mut(pointer).expect("member") = value;
        assert_eq!(authenticate(response, &public_key).unwrap_err(), expected, "{pointer}");
    }
    let mut response = Authentication::of(Key::es256()).response();
    response["response"]["userHandle"] = Value::Null;
    let unverified: UnverifiedAuthenticationResponse = serde_json::from_value(response.clone()).expect("members");
    assert!(!unverified.has_user_handle());
    assert!(authenticate(response, &public_key).is_ok());
    for (stored, expected) in [
        (&[][..], E::StoredPublicKey("not a map")),
        (&[&public_key[..], &[0]].concat(), E::StoredPublicKey("trailing bytes")),
    ] {
        assert_eq!(authenticate(Authentication::of(Key::es256()).response(), stored).unwrap_err(), expected);
    }
}

#[test]
fn what_is_stored_counts() {
    let key = Key::es256();
    let public_key = encode::key(&key.parameters());
    let stored = StoredCredential {
        credential_id: &[9; 32],
        public_key: &public_key,
        counter: 0,
        user_handle: USER_HANDLE,
        backup_eligible: true,
    };
    let mut authentication = Authentication::of(key);
    (authentication.counter, authentication.flags) = (0, USED | BE | BS);
    let parse = |a: &Authentication| serde_json::from_value(a.response()).expect("members");
    // An authenticator that counts nothing.
    let assertion = verify_authentication(&parse(&authentication), &stored, &EXPECTED);
    assert_eq!(assertion, Ok(Assertion { counter: 0, user_verified: true, backed_up: true }));
    authentication.flags = USED;
    let expected = E::BackupEligibility { stored: true, presented: false };
    assert_eq!(verify_authentication(&parse(&authentication), &stored, &EXPECTED), Err(expected));
    // Verification of the user is said, if it is not asked for.
    authentication.flags = 0x01 | BE;
    let lax = Expectation { require_user_verification: false, ..EXPECTED };
    let assertion = verify_authentication(&parse(&authentication), &stored, &lax);
    assert_eq!(assertion, Ok(Assertion { counter: 0, user_verified: false, backed_up: false }));
    let mut registration = Registration::of(Key::es256());
    registration.flags = 0x41;
    let lax = Expectation { require_user_verification: false, ..EXPECTED };
    let response = serde_json::from_value(registration.response()).expect("members");
    assert!(!verify_registration(&response, &lax).expect("registers").user_verified);
}

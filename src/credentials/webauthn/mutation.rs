//! Every byte of a good response, spoilt in several ways.

use crate::credentials::webauthn::cbor::Reader;
use crate::credentials::webauthn::expectation::*;
use crate::credentials::webauthn::fixture::*;
use crate::credentials::webauthn::key::PublicKey;
use crate::credentials::webauthn::*;

/// `good` with each byte changed, left out, and doubled, and with everything after it left out.
fn mutants(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..good.len()).flat_map(move |at| {
        let (before, byte, after) = (&good[..at], good[at], &good[at + 1..]);
        let changed = [0x01, 0x20, 0x80, 0xff].map(|bits| [before, &[byte ^ bits], after].concat());
        let [without, doubled] = [[before, after].concat(), [before, &[byte, byte], after].concat()];
        changed.into_iter().chain([without, doubled, before.to_vec()])
    })
}

#[test]
fn a_self_attested_registration_has_no_byte_to_spare() {
    for (algorithm, key) in [(Algorithm::Es256, Key::es256()), (Algorithm::EdDsa, Key::eddsa())] {
        let registration = Registration::attested(key);
        let mut response = registration.response();
        assert!(register(response.clone()).is_ok());
        let good = registration.attestation_object();
        for mutant in mutants(&good).filter(|mutant| *mutant != good) {
            response["response"]["attestationObject"] = base64url(&mutant);
            assert!(register(response.clone()).is_err(), "{algorithm:?} {mutant:x?}");
        }
    }
}

#[test]
fn a_registration_without_attestation_keeps_its_id_and_key() {
    let registration = Registration::of(Key::es256());
    let mut response = registration.response();
    let good = register(response.clone()).expect("registers");
    for mutant in mutants(&registration.attestation_object()) {
        response["response"]["attestationObject"] = base64url(&mutant);
        if let Ok(credential) = register(response.clone()) {
            // Nothing is signed: the flags, the counter and the AAGUID are as said.
            assert_eq!(
                (credential.credential_id, credential.public_key),
                (good.credential_id.clone(), good.public_key.clone())
            );
        }
    }
}

#[test]
fn an_assertion_has_no_byte_to_spare() {
    for (algorithm, key) in [(Algorithm::Es256, Key::es256()), (Algorithm::EdDsa, Key::eddsa())] {
        let public_key = encode::key(&key.parameters());
        let response = Authentication::of(key).response();
        assert!(authenticate(response.clone(), &public_key).is_ok());
        for name in ["authenticatorData", "signature", "clientDataJSON"] {
            let good = decoded("", response["response"][name].as_str().expect("text"), 1024).expect("base64url");
            for mutant in mutants(&good).filter(|mutant| *mutant != good) {
                let mut response = response.clone();
                response["response"][name] = base64url(&mutant);
                assert!(authenticate(response, &public_key).is_err(), "{algorithm:?} {name} {mutant:x?}");
            }
        }
    }
}

#[test]
fn no_bytes_make_the_readers_panic() {
    for (_, key) in Key::all() {
        for mutant in mutants(&encode::key(&key.parameters())) {
            let _ = PublicKey::read(&mutant);
        }
    }
    // Numerical Recipes' generator: the same bytes each time.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    for length in (0..64).cycle().take(50_000) {
        let bytes: Vec<u8> = (0..length).map(|_| next()).collect();
        if let Ok(item) = Reader::new(&bytes).item() {
            assert!(bytes.starts_with(item));
        }
        let _ = PublicKey::read(&bytes);
    }
}

//! What each check of a registration is there for: one wrong thing at a time, and the error that it gets.

use serde_json::{Value, json};

use crate::credentials::webauthn::expectation::*;
use crate::credentials::webauthn::fixture::*;
use crate::credentials::webauthn::{WebauthnError as E, *};

type Spoil<T> = fn(&mut T);

#[test]
fn good_registrations() {
    for (algorithm, key) in Key::all() {
        let public_key = encode::key(&key.parameters());
        let credential = register(Registration::attested(key).response()).expect("registers");
        let expected = NewCredential {
            credential_id: vec![9; 32],
            public_key,
            algorithm,
            counter: 5,
            aaguid: [0xaa; 16],
            user_verified: true,
            backup_eligible: false,
            backed_up: false,
            transports: ["hybrid", "internal", "usb"].map(str::to_owned).to_vec(),
        };
        assert_eq!(credential, expected);
    }
    let table: [Spoil<Registration>; 7] = [
        |_| (),
        |r| r.flags |= BE,
        |r| r.flags |= BE | BS,
        |r| (r.flags, r.extensions) = (r.flags | ED, encode::map(&[(encode::text("credProtect"), encode::integer(2))])),
        |r| r.client_data["crossOrigin"] = Value::Null,
        |r| r.client_data["origin"] = json!("https://example.org"),
        |r| r.credential_id = vec![1; LONGEST_CREDENTIAL_ID],
    ];
    for (row, spoil) in table.into_iter().enumerate() {
        for mut registration in [Registration::of(Key::es256()), Registration::attested(Key::eddsa())] {
            spoil(&mut registration);
            assert!(register(registration.response()).is_ok(), "row {row}");
        }
    }
}

#[test]
fn client_data() {
    // The same for both ceremonies, but for the type.
    let table: [(Spoil<Value>, E); 14] = [
        (|c| c["type"] = json!("payment.get"), E::CeremonyType("payment.get".to_owned())),
        (|c| c["challenge"] = json!("AAAA"), E::Challenge),
        (|c| c["challenge"] = json!(""), E::Challenge),
        (|c| c["challenge"] = json!(format!("{CHALLENGE}=")), E::Challenge),
        (|c| c["origin"] = json!("https://evil.example"), E::Origin("https://evil.example".to_owned())),
        (
            |c| c["origin"] = json!("https://example.org.evil.example"),
            E::Origin("https://example.org.evil.example".to_owned()),
        ),
        (|c| c["origin"] = json!("https://a.example.org"), E::Origin("https://a.example.org".to_owned())),
        (|c| c["origin"] = json!("https://example.org:8443"), E::Origin("https://example.org:8443".to_owned())),
        (|c| c["origin"] = json!("https://example.org/"), E::Origin("https://example.org/".to_owned())),
        (|c| c["origin"] = json!("http://example.org"), E::Origin("http://example.org".to_owned())),
        (|c| c["origin"] = json!("null"), E::Origin("null".to_owned())),
        (|c| c["crossOrigin"] = json!(true), E::CrossOrigin),
        (|c| c["topOrigin"] = json!("https://example.org"), E::CrossOrigin),
        (|c| c["topOrigin"] = Value::Null, E::CrossOrigin),
    ];
    for (row, (spoil, expected)) in table.into_iter().enumerate() {
        let mut registration = Registration::attested(Key::es256());
        spoil(&mut registration.client_data);
        assert_eq!(register(registration.response()).unwrap_err(), expected, "row {row}");
        let mut authentication = Authentication::of(Key::es256());
        spoil(&mut authentication.client_data);
        let public_key = encode::key(&authentication.key.parameters());
        assert_eq!(authenticate(authentication.response(), &public_key).unwrap_err(), expected, "row {row}");
    }
    let mut swapped = Registration::attested(Key::es256());
    swapped.client_data["type"] = json!("webauthn.get");
    assert_eq!(register(swapped.response()).unwrap_err(), E::CeremonyType("webauthn.get".to_owned()));
    let mut swapped = Authentication::of(Key::es256());
    swapped.client_data["type"] = json!("webauthn.create");
    let error = authenticate(swapped.response(), &encode::key(&swapped.key.parameters())).unwrap_err();
    assert_eq!(error, E::CeremonyType("webauthn.create".to_owned()));
}

#[test]
fn client_data_that_are_not_json() {
    let good = Registration::of(Key::es256()).client_data.to_string();
    let twice = good.replacen('{', &format!("{{\"origin\":\"{ORIGIN}\","), 1);
    let deep = format!("{{\"x\":{}", "[".repeat(6000));
    let text = good.replacen("false", "\"false\"", 1);
    for bytes in [
        b"".as_slice(),
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        &good.as_bytes()[1..],
        twice.as_bytes(),
        deep.as_bytes(),
        text.as_bytes(),
    ] {
        let mut response = Registration::of(Key::es256()).response();
        response["response"]["clientDataJSON"] = base64url(bytes);
        let unverified: UnverifiedRegistrationResponse = serde_json::from_value(response.clone()).expect("members");
        assert_eq!(unverified.challenge(), None);
        let error = register(response).unwrap_err();
        assert!(matches!(error, E::ClientData(_)), "{error}");
    }
    // A byte order mark is not a fault.
    let mut response = Registration::of(Key::es256()).response();
    response["response"]["clientDataJSON"] = base64url(format!("\u{feff}{good}").as_bytes());
    assert!(register(response).is_ok());
}

#[test]
fn registrations_that_say_wrong_things() {
    let table: [(Spoil<Registration>, E); 26] = [
        (|r| r.rp_id = "evil.example", E::RpIdHash),
        (|r| r.rp_id = "login.example.org", E::RpIdHash),
        (|r| r.flags &= !0x01, E::UserNotPresent),
        (|r| r.flags &= !0x04, E::UserNotVerified),
        (|r| r.flags |= BS, E::BackupState),
        (|r| r.flags &= !0x40, E::AuthenticatorData("no attested credential data")),
        (|r| r.flags |= ED, E::AuthenticatorData("not a map")),
        (|r| (r.flags, r.extensions) = (r.flags | ED, vec![0x80]), E::AuthenticatorData("not a map")),
        (|r| (r.flags, r.extensions) = (r.flags | ED, vec![0xa0, 0]), E::AuthenticatorData("trailing bytes")),
        (
            |r| (r.flags, r.extensions) = (r.flags | ED, vec![0xa1, 0x01, 0x01]),
            E::AuthenticatorData("not a text string"),
        ),
        (|r| r.extensions = vec![0xa0], E::AuthenticatorData("trailing bytes")),
        (|r| r.trailing = vec![0], E::AttestationObject("trailing bytes")),
        (|r| r.credential_id = Vec::new(), E::CredentialIdLength(0)),
        (|r| r.format = "None", E::UnsupportedAttestation("None".to_owned())),
        (|r| r.format = "", E::UnsupportedAttestation(String::new())),
        (|r| r.format = "tpm", E::UnsupportedAttestation("tpm".to_owned())),
        (|r| r.format = "none", E::AttestationStatement("not empty")),
        (|r| r.statement = |_, _| encode::integer(0), E::AttestationStatement("not a map")),
        (|r| r.statement = no_statement, E::AttestationStatement("not alg and sig")),
        (|r| r.statement = with_certificate, E::UnsupportedAttestation("packed".to_owned())),
        (|r| r.statement = |_, _| statement(-7, &[0; 70], &[]), E::AttestationSignature),
        (
            |r| r.statement = |key, signed| statement(-8, &key.sign(signed), &[]),
            E::AttestationStatement("another algorithm than the key's"),
        ),
        (|r| r.statement = |key, signed| statement(-7, &key.sign(&signed[1..]), &[]), E::AttestationSignature),
        (
            |r| r.statement = |key, signed| statement(-7, &key.sign(signed), &["ecdaaKeyId"]),
            E::AttestationStatement("not alg and sig"),
        ),
        (
            |r| r.statement = |key, signed| statement(-7, &key.sign(signed), &["alg"]),
            E::AttestationObject("a key comes twice"),
        ),
        (
            |r| r.key = Key::Es256(p256::ecdsa::SigningKey::from_bytes(&[8; 32].into()).expect("scalar")),
            E::AttestationSignature,
        ),
    ];
    for (row, (spoil, expected)) in table.into_iter().enumerate() {
        let mut registration = Registration::attested(Key::es256());
        spoil(&mut registration);
        assert_eq!(register(registration.response()).unwrap_err(), expected, "row {row}");
    }
}

fn statement(algorithm: i64, signature: &[u8], more: &[&str]) -> Vec<u8> {
    let mut entries =
        vec![(encode::text("alg"), encode::integer(algorithm)), (encode::text("sig"), encode::bytes(signature))];
    entries.extend(more.iter().map(|name| (encode::text(name), encode::array(&[encode::bytes(&[0x30, 0])]))));
    encode::map(&entries)
}

fn with_certificate(key: &Key, signed: &[u8]) -> Vec<u8> {
    statement(-7, &key.sign(signed), &["x5c"])
}

#[test]
fn attestation_objects_of_another_form() {
    let [fmt, statement, data] = ["fmt", "attStmt", "authData"].map(encode::text);
    let authenticator_data = encode::bytes(&Registration::of(Key::es256()).authenticator_data());
    let none = || (fmt.clone(), encode::text("none"));
    let empty = || (statement.clone(), encode::map(&[]));
    let good = || (data.clone(), authenticator_data.clone());
    for (object, expected) in [
        (vec![none(), empty()], "a member is missing"),
        (vec![none(), good()], "a member is missing"),
        (vec![none(), empty(), good(), (encode::text("x"), encode::integer(1))], "a member too many"),
        (vec![none(), empty(), good(), good()], "a key comes twice"),
        (vec![(fmt.clone(), encode::integer(1)), empty(), good()], "not a text string"),
        (vec![none(), empty(), (data.clone(), encode::text("x"))], "not a byte string"),
        (vec![(encode::integer(1), encode::text("none")), empty(), good()], "not a text string"),
    ] {
        let mut response = Registration::of(Key::es256()).response();
        response["response"]["attestationObject"] = base64url(&encode::map(&object));
        assert_eq!(register(response).unwrap_err(), E::AttestationObject(expected));
    }
    // The order of the members says nothing.
    let mut response = Registration::of(Key::es256()).response();
    response["response"]["attestationObject"] = base64url(&encode::map(&[good(), none(), empty()]));
    assert!(register(response).is_ok());
    // An id one byte too long, whatever the browser names.
    let mut registration = Registration::of(Key::es256());
    registration.credential_id = vec![1; LONGEST_CREDENTIAL_ID + 1];
    let mut response = registration.response();
    assert_eq!(register(response.clone()).unwrap_err(), E::TooLong("rawId"));
    (response["id"], response["rawId"]) = (base64url(&[1; 32]), base64url(&[1; 32]));
    assert_eq!(register(response).unwrap_err(), E::CredentialIdLength(LONGEST_CREDENTIAL_ID + 1));
}

#[test]
fn members_of_a_registration() {
    let long = |length: usize| Value::from("A".repeat(length));
    let table: [(&str, Value, E); 16] = [
        ("/type", json!("password"), E::CredentialType("password".to_owned())),
        ("/id", base64url(&[8; 32]), E::CredentialId),
        ("/rawId", base64url(&[8; 32]), E::CredentialId),
        ("/id", json!(""), E::CredentialId),
        ("/id", json!("CQk="), E::Base64("id")),
        ("/rawId", json!("CQk="), E::Base64("rawId")),
        ("/rawId", json!("+/8"), E::Base64("rawId")),
        // The last character has bits to spare, which would give the same bytes another spelling.
        ("/rawId", json!("CQl"), E::Base64("rawId")),
        ("/rawId", long(1365), E::TooLong("rawId")),
        ("/response/clientDataJSON", json!("e30="), E::Base64("clientDataJSON")),
        ("/response/clientDataJSON", json!("e 30"), E::Base64("clientDataJSON")),
        ("/response/clientDataJSON", long(LONGEST_CLIENT_DATA * 2), E::TooLong("clientDataJSON")),
        ("/response/attestationObject", json!(""), E::AttestationObject("not a map")),
        ("/response/attestationObject", json!("oA=="), E::Base64("attestationObject")),
        ("/response/attestationObject", json!("v_8"), E::AttestationObject("indefinite length")),
        ("/response/attestationObject", long(LONGEST_ATTESTATION_OBJECT * 2), E::TooLong("attestationObject")),
    ];
    for (pointer, value, expected) in table {
        let mut response = Registration::attested(Key::es256()).response();
        *response.pointer_mut(pointer).expect("member") = value;
        assert_eq!(register(response).unwrap_err(), expected, "{pointer}");
    }
    // Both at once name another credential than the one attested.
    let mut response = Registration::attested(Key::es256()).response();
    (response["id"], response["rawId"]) = (base64url(&[8; 32]), base64url(&[8; 32]));
    assert_eq!(register(response).unwrap_err(), E::CredentialId);
    for transports in [Value::Null, json!([]), json!(["USB", "cable"])] {
        let mut response = Registration::of(Key::es256()).response();
        response["response"]["transports"] = transports;
        assert!(register(response).expect("registers").transports.is_empty());
    }
}

#[test]
fn responses_without_their_members_are_none() {
    for member in ["id", "rawId", "type", "response"] {
        let mut response = Authentication::of(Key::es256()).response();
        response.as_object_mut().expect("object").remove(member);
        assert!(serde_json::from_value::<UnverifiedAuthenticationResponse>(response).is_err(), "{member}");
    }
    // One ceremony's response has not the form of the other's.
    let (created, used) = (Registration::of(Key::es256()).response(), Authentication::of(Key::es256()).response());
    assert!(serde_json::from_value::<UnverifiedAuthenticationResponse>(created).is_err());
    assert!(serde_json::from_value::<UnverifiedRegistrationResponse>(used).is_err());
    let text = Authentication::of(Key::es256()).response().to_string().replacen('{', "{\"id\":\"CQkJ\",", 1);
    assert!(serde_json::from_str::<UnverifiedAuthenticationResponse>(&text).is_err(), "id twice");
}

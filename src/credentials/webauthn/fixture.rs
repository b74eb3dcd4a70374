//! An authenticator and a browser of our own, to be told to do wrong.

use base64ct::{Base64UrlUnpadded, Encoding};
use p256::ecdsa::signature::Signer as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::credentials::webauthn::expectation::*;
use crate::credentials::webauthn::*;

pub(super) const RP_ID: &str = "example.org";

pub(super) const ORIGIN: &str = "https://login.example.org";

pub(super) const CHALLENGE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

pub(super) const USER_HANDLE: &[u8] = b"0192f0c0-user";

/// UP, UV, AT.
pub(super) const CREATED: u8 = 0x45;

/// UP, UV.
pub(super) const USED: u8 = 0x05;

pub(super) const BE: u8 = 0x08;

pub(super) const BS: u8 = 0x10;

pub(super) const ED: u8 = 0x80;

pub(super) fn base64url(bytes: &[u8]) -> Value {
    Base64UrlUnpadded::encode_string(bytes).into()
}

/// A credential's private key.
pub(super) enum Key {
    Es256(p256::ecdsa::SigningKey),
    EdDsa(ed25519_compact::KeyPair),
    Rs256(Box<RsaPrivateKey>),
}

impl Key {
    pub(super) fn es256() -> Self {
        Self::Es256(p256::ecdsa::SigningKey::from_bytes(&[7; 32].into()).expect("scalar"))
    }

    pub(super) fn eddsa() -> Self {
        Self::EdDsa(ed25519_compact::KeyPair::from_seed([7; 32].into()))
    }

    /// Of two Mersenne primes, the larger first: the library's Chinese remaindering counts on it.
    pub(super) fn rs256() -> Self {
        let mersenne = |exponent: usize| (BigUint::from(1_u32) << exponent) - 1_u32;
        let key = RsaPrivateKey::from_p_q(mersenne(2203), mersenne(1279), BigUint::from(65_537_u32));
        Self::Rs256(Box::new(key.expect("primes")))
    }

    pub(super) fn all() -> [(Algorithm, Self); 3] {
        [(Algorithm::Es256, Self::es256()), (Algorithm::EdDsa, Self::eddsa()), (Algorithm::Rs256, Self::rs256())]
    }

    /// The public key's COSE parameters.
    pub(super) fn parameters(&self) -> Vec<(i64, Vec<u8>)> {
        match self {
            Self::Es256(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                let (x, y) = (encode::bytes(&point.as_bytes()[1..33]), encode::bytes(&point.as_bytes()[33..]));
                vec![(1, encode::integer(2)), (3, encode::integer(-7)), (-1, encode::integer(1)), (-2, x), (-3, y)]
            }
            Self::EdDsa(pair) => {
                let x = encode::bytes(&pair.pk[..]);
                vec![(1, encode::integer(1)), (3, encode::integer(-8)), (-1, encode::integer(6)), (-2, x)]
            }
            Self::Rs256(key) => {
                let (n, e) = (encode::bytes(&key.n().to_bytes_be()), encode::bytes(&key.e().to_bytes_be()));
                vec![(1, encode::integer(3)), (3, encode::integer(-257)), (-1, n), (-2, e)]
            }
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::EdDsa(pair) => pair.sk.sign(message, None).to_vec(),
            Self::Rs256(key) => key.sign(rsa::Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message)).expect("signs"),
        }
    }
}

/// A registration to be.
pub(super) struct Registration {
    pub(super) client_data: Value,
    pub(super) rp_id: &'static str,
    pub(super) flags: u8,
    pub(super) credential_id: Vec<u8>,
    pub(super) key: Key,
    /// Of the public key, as the authenticator data say it.
    pub(super) parameters: Vec<(i64, Vec<u8>)>,
    /// Comes after the public key.
    pub(super) extensions: Vec<u8>,
    pub(super) format: &'static str,
    /// Given what self attestation signs.
    pub(super) statement: fn(&Key, &[u8]) -> Vec<u8>,
    /// Comes after the attestation object.
    pub(super) trailing: Vec<u8>,
}

pub(super) fn no_statement(_: &Key, _: &[u8]) -> Vec<u8> {
    encode::map(&[])
}

pub(super) fn self_statement(key: &Key, signed: &[u8]) -> Vec<u8> {
    let (_, algorithm) = key.parameters().swap_remove(1);
    encode::map(&[(encode::text("alg"), algorithm), (encode::text("sig"), encode::bytes(&key.sign(signed)))])
}

impl Registration {
    pub(super) fn of(key: Key) -> Self {
        Self {
            client_data: json!({"type": "webauthn.create", "challenge": CHALLENGE, "origin": ORIGIN,
                "crossOrigin": false, "another": {"some": ["day"]}}),
            rp_id: RP_ID,
            flags: CREATED,
            credential_id: vec![9; 32],
            parameters: key.parameters(),
            key,
            extensions: Vec::new(),
            format: "none",
            statement: no_statement,
            trailing: Vec::new(),
        }
    }

    /// With self attestation.
    pub(super) fn attested(key: Key) -> Self {
        Self { format: "packed", statement: self_statement, ..Self::of(key) }
    }

    fn client_data(&self) -> Vec<u8> {
        self.client_data.to_string().into_bytes()
    }

    pub(super) fn authenticator_data(&self) -> Vec<u8> {
        let id_length = u16::try_from(self.credential_id.len()).expect("length").to_be_bytes();
        let mut data = [&Sha256::digest(self.rp_id)[..], &[self.flags], &[0, 0, 0, 5]].concat();
        if self.flags & 0x40 != 0 {
            data.extend([&[0xaa; 16][..], &id_length, &self.credential_id, &encode::key(&self.parameters)].concat());
        }
        [data, self.extensions.clone()].concat()
    }

    pub(super) fn attestation_object(&self) -> Vec<u8> {
        let data = self.authenticator_data();
        let signed = [&data[..], &Sha256::digest(self.client_data())].concat();
        let object = encode::map(&[
            (encode::text("fmt"), encode::text(self.format)),
            (encode::text("attStmt"), (self.statement)(&self.key, &signed)),
            (encode::text("authData"), encode::bytes(&data)),
        ]);
        [object, self.trailing.clone()].concat()
    }

    /// As the browser sends it.
    pub(super) fn response(&self) -> Value {
        json!({
            "id": base64url(&self.credential_id),
            "rawId": base64url(&self.credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": base64url(&self.client_data()),
                "attestationObject": base64url(&self.attestation_object()),
                "transports": ["usb", "internal", "cable", "hybrid", "usb"],
                "publicKeyAlgorithm": -7,
            },
            "clientExtensionResults": {"credProps": {"rk": true}},
            "authenticatorAttachment": "platform",
        })
    }
}

/// An authentication to be.
pub(super) struct Authentication {
    pub(super) client_data: Value,
    pub(super) rp_id: &'static str,
    pub(super) flags: u8,
    pub(super) counter: u32,
    pub(super) credential_id: Vec<u8>,
    pub(super) user_handle: Option<&'static [u8]>,
    pub(super) key: Key,
    /// Comes after the counter.
    pub(super) extensions: Vec<u8>,
    /// What is done to the signature.
    pub(super) spoil_signature: fn(Vec<u8>) -> Vec<u8>,
}

impl Authentication {
    pub(super) fn of(key: Key) -> Self {
        Self {
            client_data: json!({"type": "webauthn.get", "challenge": CHALLENGE, "origin": ORIGIN}),
            rp_id: RP_ID,
            flags: USED,
            counter: 6,
            credential_id: vec![9; 32],
            user_handle: Some(USER_HANDLE),
            key,
            extensions: Vec::new(),
            spoil_signature: |signature| signature,
        }
    }

    /// As the browser sends it.
    pub(super) fn response(&self) -> Value {
        let client_data = self.client_data.to_string().into_bytes();
        let data =
            [&Sha256::digest(self.rp_id)[..], &[self.flags], &self.counter.to_be_bytes(), &self.extensions].concat();
        let signature = self.key.sign(&[&data[..], &Sha256::digest(&client_data)].concat());
        let mut response = json!({
            "clientDataJSON": base64url(&client_data),
            "authenticatorData": base64url(&data),
            "signature": base64url(&(self.spoil_signature)(signature)),
        });
        if let Some(handle) = self.user_handle {
            response["userHandle"] = base64url(handle);
        }
        json!({
            "id": base64url(&self.credential_id),
            "rawId": base64url(&self.credential_id),
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        })
    }
}

pub(super) const EXPECTED: Expectation<'static> = Expectation {
    challenge: CHALLENGE,
    origins: &["https://example.org", ORIGIN],
    rp_id: RP_ID,
    require_user_verification: true,
};

pub(super) fn register(response: Value) -> Result<NewCredential, WebauthnError> {
    verify_registration(&serde_json::from_value(response).expect("members"), &EXPECTED)
}

/// With the key stored as [`Registration::of`] has it, and a counter at 5.
pub(super) fn authenticate(response: Value, public_key: &[u8]) -> Result<Assertion, WebauthnError> {
    let stored = StoredCredential {
        credential_id: &[9; 32],
        public_key,
        counter: 5,
        user_handle: USER_HANDLE,
        backup_eligible: false,
    };
    verify_authentication(&serde_json::from_value(response).expect("members"), &stored, &EXPECTED)
}

pub(super) mod encode {
    fn head(major: u8, value: u64) -> Vec<u8> {
        let major = major << 5;
        match value {
            0..24 => vec![major | value.to_be_bytes()[7]],
            24..0x100 => vec![major | 0x18, value.to_be_bytes()[7]],
            _ => [&[major | 0x19], &value.to_be_bytes()[6..]].concat(),
        }
    }

    pub(in super::super) fn integer(value: i64) -> Vec<u8> {
        if value < 0 { head(1, value.unsigned_abs() - 1) } else { head(0, value.unsigned_abs()) }
    }

    pub(in super::super) fn bytes(value: &[u8]) -> Vec<u8> {
        [head(2, value.len() as u64), value.to_vec()].concat()
    }

    pub(in super::super) fn text(value: &str) -> Vec<u8> {
        [head(3, value.len() as u64), value.as_bytes().to_vec()].concat()
    }

    pub(in super::super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
        [head(4, items.len() as u64), items.concat()].concat()
    }

    pub(in super::super) fn map(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let entries_in_one: Vec<u8> = entries.iter().flat_map(|(key, value)| [&key[..], value].concat()).collect();
        [head(5, entries.len() as u64), entries_in_one].concat()
    }

    /// A COSE key.
    pub(in super::super) fn key(parameters: &[(i64, Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<_> = parameters.iter().map(|(label, value)| (integer(*label), value.clone())).collect();
        map(&entries)
    }
}

//! Attestation objects (section 6.5.4), and the two formats that say nothing of the authenticator's make.

use crate::credentials::webauthn::WebauthnError;
use crate::credentials::webauthn::cbor::{Entries, Reader};
use crate::credentials::webauthn::error::excerpt;
use crate::credentials::webauthn::key::PublicKey;

/// An attestation object.
pub(super) struct AttestationObject<'a> {
    format: &'a str,
    /// `attStmt` in CBOR.
    statement: &'a [u8],
    /// `authData`.
    pub(super) authenticator_data: &'a [u8],
}

fn entry<'b>(map: &Entries<'b, &str>, name: &str) -> Option<&'b [u8]> {
    map.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

impl<'a> AttestationObject<'a> {
    /// 7.1 step 13.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, WebauthnError> {
        let malformed = WebauthnError::AttestationObject;
        let map = Reader::whole(bytes, Reader::text_map).map_err(malformed)?;
        let (Some(format), Some(statement), Some(data)) =
            (entry(&map, "fmt"), entry(&map, "attStmt"), entry(&map, "authData"))
        else {
            return Err(malformed("a member is missing"));
        };
        if map.len() != 3 {
            return Err(malformed("a member too many"));
        }
        Ok(Self {
            format: Reader::whole(format, Reader::text).map_err(malformed)?,
            statement,
            authenticator_data: Reader::whole(data, Reader::bytes).map_err(malformed)?,
        })
    }

    /// 7.1 steps 21 and 22. Steps 23 and 24 have nothing to look up: of no attestation and self attestation, both of
    /// which are acceptable, neither has a trust path.
    pub(super) fn verify(&self, key: &PublicKey, client_data_hash: &[u8; 32]) -> Result<(), WebauthnError> {
        match self.format {
            "none" => self.verify_none(),
            "packed" => self.verify_packed(key, client_data_hash),
            other => Err(WebauthnError::UnsupportedAttestation(excerpt(other))),
        }
    }

    fn statement(&self) -> Result<Entries<'a, &'a str>, WebauthnError> {
        Reader::whole(self.statement, Reader::text_map).map_err(WebauthnError::AttestationStatement)
    }

    /// Section 8.7: the statement is an empty map.
    fn verify_none(&self) -> Result<(), WebauthnError> {
        if self.statement()?.is_empty() { Ok(()) } else { Err(WebauthnError::AttestationStatement("not empty")) }
    }

    /// Section 8.2, "Verification procedure", without `x5c`.
    fn verify_packed(&self, key: &PublicKey, client_data_hash: &[u8; 32]) -> Result<(), WebauthnError> {
        let malformed = WebauthnError::AttestationStatement;
        let statement = self.statement()?;
        // Taken for self attestation, a statement with a certificate would be believed unread.
        if entry(&statement, "x5c").is_some() {
            return Err(WebauthnError::UnsupportedAttestation(self.format.to_owned()));
        }
        let (Some(algorithm), Some(signature), 2) =
            (entry(&statement, "alg"), entry(&statement, "sig"), statement.len())
        else {
            return Err(malformed("not alg and sig"));
        };
        let algorithm = Reader::whole(algorithm, Reader::integer).map_err(malformed)?;
        if algorithm != key.algorithm().cose_identifier() {
            return Err(malformed("another algorithm than the key's"));
        }
        let signature = Reader::whole(signature, Reader::bytes).map_err(malformed)?;
        if key.verifies(&[self.authenticator_data, client_data_hash].concat(), signature) {
            Ok(())
        } else {
            Err(WebauthnError::AttestationSignature)
        }
    }
}

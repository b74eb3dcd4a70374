//! What a request shows that its sender holds: a key (RFC 9449), a certificate (RFC 8705).

use crate::http::client::Certificate;
use crate::platform::error::Result;
use crate::platform::id::Millis;
use crate::platform::problem::{Code, Problem};
use crate::platform::secret::Purpose;
use crate::provider::client::Client;
use crate::provider::dpop::{Confirmation, DpopProof, ExpectedProof, verify};
use crate::request::context::Context;

/// How long a nonce is new, in milliseconds. It is good for as long again.
const NEW: Millis = 300_000;

/// The nonces that are good now, the one that is handed out first. They say when they were made and nothing else, so that no
/// isolate has to remember any.
#[must_use]
pub fn dpop_nonces(context: &Context) -> [String; 2] {
    let slot = context.now / NEW;
    [slot, slot - 1].map(|slot| {
        let message = format!("{}\0{slot}", context.tenant().id);
        context.config.keyring.sign(Purpose::DpopNonce, message.as_bytes())
    })
}

/// What was shown.
pub struct Held {
    /// A key.
    pub proof: Option<DpopProof>,
    /// A certificate.
    pub certificate: Option<Certificate>,
}

impl Held {
    /// What a request to an endpoint of ours shows. With an access token, its proof must be of that one.
    ///
    /// # Errors
    /// `invalid_dpop_proof`, `use_dpop_nonce`.
    pub fn read(context: &Context, method: &str, url: &str, access_token: Option<&str>) -> Result<Self> {
        let proof = match context.header("DPoP") {
            None => None,
            Some(header) => {
                let nonces = dpop_nonces(context);
                let expected = ExpectedProof { method, url, nonces: &nonces, access_token, now: context.now };
                Some(verify(&header, &expected)?)
            }
        };
        // By any issuer: the connection shows that its sender holds the key (RFC 8705, section 3).
        Ok(Self { proof, certificate: context.certificate() })
    }

    /// Checks that the proof is signed as a client of FAPI 2.0 may sign it (Security Profile, section 5.4.1).
    ///
    /// # Errors
    /// `invalid_dpop_proof`.
    pub fn check_algorithm(&self, is_fapi: bool) -> std::result::Result<(), Problem> {
        if is_fapi && self.proof.as_ref().is_some_and(|proof| proof.algorithm == "RS256") {
            return Err(Problem::new(Code::InvalidDpopProof, "this client's proofs are not signed with RS256"));
        }
        Ok(())
    }

    /// What tokens of a client are bound to.
    ///
    /// # Errors
    /// `invalid_dpop_proof`, `invalid_request`: a client that wants its tokens bound gets no others.
    pub fn binding(&self, client: &Client) -> std::result::Result<Confirmation, Problem> {
        if client.details.dpop_bound_access_tokens && self.proof.is_none() {
            return Err(Problem::new(Code::InvalidDpopProof, "this client's tokens are bound to a key"));
        }
        self.check_algorithm(client.details.fapi)?;
        let mut confirmation =
            Confirmation { jkt: self.proof.as_ref().map(|proof| proof.jkt.clone()), certificate: None };
        if client.details.tls_client_certificate_bound_access_tokens {
            let certificate = self.certificate.as_ref().ok_or_else(|| {
                Problem::new(Code::InvalidRequest, "this client's tokens are bound to its certificate")
            })?;
            confirmation.certificate = Some(certificate.digest.clone());
        }
        Ok(confirmation)
    }

    /// Whether a token that is bound to a key is presented by the holder of that key.
    #[must_use]
    pub fn confirms(&self, bound: &Confirmation) -> bool {
        let key = bound.jkt.as_ref();
        let has_key = key.is_none() || key == self.proof.as_ref().map(|proof| &proof.jkt);
        let digest = bound.certificate.as_ref();
        has_key && (digest.is_none() || digest == self.certificate.as_ref().map(|certificate| &certificate.digest))
    }
}

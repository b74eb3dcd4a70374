//! The runtime's own cryptography, where it is native and ours would be wasm: keys and signatures.

use base64ct::{Base64UrlUnpadded, Encoding};
use js_sys::{Array, JSON, Object, Reflect, Uint8Array};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{CryptoKey, CryptoKeyPair, Pbkdf2Params, SubtleCrypto};

use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::error::{Error, Result};
use crate::platform::secret::Secret;

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
pub(crate) fn crypto_error(error: JsValue) -> Error {
    Error::Internal(format!("WebCrypto: {error:?}"))
}

pub(crate) fn subtle() -> Result<SubtleCrypto> {
    let scope: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    Ok(scope.crypto().map_err(crypto_error)?.subtle())
}

fn sign_only() -> Array {
    Array::of1(&"sign".into())
}

/// PBKDF2 with HMAC-SHA-256 (RFC 8018, section 5.2), 32 bytes. The runtime refuses more than 100,000 iterations.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the runtime refuses.
pub async fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> Result<[u8; 32]> {
    let subtle = subtle()?;
    let (password, salt) = (Uint8Array::from(password), Uint8Array::from(salt));
    let usages = Array::of1(&"deriveBits".into());
    let key = subtle.import_key_with_str("raw", &password, "PBKDF2", false, &usages).map_err(crypto_error)?;
    let key: CryptoKey = JsFuture::from(key).await.map_err(crypto_error)?.unchecked_into();
    let parameters = Pbkdf2Params::new_with_str("PBKDF2", "SHA-256", iterations, &salt);
    let bits = subtle.derive_bits_with_object(&parameters, &key, 256).map_err(crypto_error)?;
    let bytes = Uint8Array::new(&JsFuture::from(bits).await.map_err(crypto_error)?).to_vec();
    bytes.try_into().map_err(|_| Error::Internal("WebCrypto: PBKDF2 of another length".to_owned()))
}

/// SHA-1, in upper-case hexadecimal: for the range API of breached passwords, which knows no other.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the runtime refuses.
pub async fn sha1_hex(message: &[u8]) -> Result<String> {
    let digest =
        subtle()?.digest_with_str_and_js_u8_array("SHA-1", &Uint8Array::from(message)).map_err(crypto_error)?;
    let bytes = Uint8Array::new(&JsFuture::from(digest).await.map_err(crypto_error)?).to_vec();
    Ok(base16ct::upper::encode_string(&bytes))
}

/// A key that signs, and cannot be taken out of the runtime again.
#[derive(Clone)]
pub struct SigningHandle {
    key: CryptoKey,
    algorithm: SigningAlgorithm,
}

/// What WebCrypto calls an algorithm (Web Cryptography API, section 18.2): the parameters for making a key, importing one and
/// signing with it, each of which passes over what is for the others.
fn parameters(algorithm: SigningAlgorithm) -> Result<Object> {
    let members: &[(&str, JsValue)] = &match algorithm {
        SigningAlgorithm::Es256 => {
            vec![("name", "ECDSA".into()), ("namedCurve", "P-256".into()), ("hash", "SHA-256".into())]
        }
        SigningAlgorithm::EdDsa => vec![("name", "Ed25519".into())],
        SigningAlgorithm::Rs256 => vec![
            ("name", "RSASSA-PKCS1-v1_5".into()),
            ("hash", "SHA-256".into()),
            ("modulusLength", 2048.into()),
            ("publicExponent", Uint8Array::from(&[1, 0, 1][..]).into()),
        ],
    };
    let parameters = Object::new();
    for (name, value) in members {
        Reflect::set(&parameters, &(*name).into(), value).map_err(crypto_error)?;
    }
    Ok(parameters)
}

/// A new key, as a private JWK.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the runtime refuses.
pub async fn generate(algorithm: SigningAlgorithm) -> Result<Secret<Value>> {
    let subtle = subtle()?;
    let usages = Array::of2(&"sign".into(), &"verify".into());
    let parameters = parameters(algorithm)?;
    let pair = subtle.generate_key_with_object(&parameters, true, &usages).map_err(crypto_error)?;
    let pair: CryptoKeyPair = JsFuture::from(pair).await.map_err(crypto_error)?.unchecked_into();
    let jwk = subtle.export_key("jwk", &pair.get_private_key()).map_err(crypto_error)?;
    let jwk = JsFuture::from(jwk).await.map_err(crypto_error)?;
    let text: String = JSON::stringify(&jwk).map_err(crypto_error)?.into();
    let jwk = serde_json::from_str(&text).map_err(|error| Error::Internal(format!("exported JWK: {error}")))?;
    Ok(Secret::new(jwk))
}

/// A key from its private JWK.
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if it is none.
pub async fn import(algorithm: SigningAlgorithm, jwk: &Secret<Value>) -> Result<SigningHandle> {
    let jwk: Object = JSON::parse(&jwk.expose().to_string()).map_err(crypto_error)?.unchecked_into();
    let parameters = parameters(algorithm)?;
    let key = subtle()?.import_key_with_object("jwk", &jwk, &parameters, false, &sign_only()).map_err(crypto_error)?;
    Ok(SigningHandle { key: JsFuture::from(key).await.map_err(crypto_error)?.unchecked_into(), algorithm })
}

/// Whether the halves of a private JWK belong together: what one signs, the other verifies.
pub async fn is_pair(jwk: &Value) -> bool {
    let coordinate = |name: &str| Base64UrlUnpadded::decode_vec(jwk.get(name)?.as_str()?).ok();
    let (Some(x), Some(y)) = (coordinate("x"), coordinate("y")) else {
        return false;
    };
    // An uncompressed point (SEC 1, section 2.3.3).
    let Ok(public) = VerifyingKey::from_sec1_bytes(&[&[4], &x[..], &y[..]].concat()) else {
        return false;
    };
    let Ok(private) = import(SigningAlgorithm::Es256, &Secret::new(jwk.clone())).await else {
        return false;
    };
    let Ok(signature) = sign(&private, b"a pair").await else {
        return false;
    };
    Signature::from_slice(&signature).is_ok_and(|signature| public.verify(b"a pair", &signature).is_ok())
}

/// A signature (RFC 7518, sections 3.3 and 3.4; RFC 8037, section 3.1).
///
/// # Errors
/// [`Error::Internal`](crate::platform::error::Error::Internal) if the runtime refuses.
pub async fn sign(key: &SigningHandle, message: &[u8]) -> Result<Vec<u8>> {
    let parameters = parameters(key.algorithm)?;
    let message = Uint8Array::from(message);
    let signature =
        subtle()?.sign_with_object_and_js_u8_array(&parameters, &key.key, &message).map_err(crypto_error)?;
    Ok(Uint8Array::new(&JsFuture::from(signature).await.map_err(crypto_error)?).to_vec())
}

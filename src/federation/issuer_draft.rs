//! What an administrator writes of an issuer: read, checked and completed.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::federation::discovery::ENDPOINTS;
use crate::federation::mapping;
use crate::federation::mapping::{Field, Path};
use crate::federation::preset::Protocol;
use crate::federation::request::{is_scope, joined};
use crate::federation::service::ServiceType;
use crate::federation::store::issuer::settings::Settings;
use crate::federation::store::issuer::{IssuerDraft, IssuerRecord, SecretChange};
use crate::http::fields;
use crate::http::fields::Fields;
use crate::platform::algorithm::SigningAlgorithm;
use crate::platform::error::Result;
use crate::platform::outbound_url::check_url;
use crate::platform::secret::Secret;
use crate::platform::unicode::ascii_domain;
use crate::platform::webcrypto;
use crate::request::context::Context;

/// The members of the body.
const MEMBERS: [&str; 25] = [
    "name",
    "serviceType",
    "label",
    "baseUrl",
    "clientId",
    "clientSecret",
    "clientKey",
    "generateKey",
    "basicAuth",
    "loginScopes",
    "loginScopesOffline",
    "loginParams",
    "loginParamsOffline",
    "allowedDomains",
    "requireConfirmation",
    "trustEmail",
    "syncProfile",
    "showOnLoginPage",
    "sortOrder",
    "image",
    "enabled",
    "settings",
    "mapping",
    "endpoints",
    "global",
];

/// Microsoft's tenant of personal accounts, whose discovery document names it by id.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The endpoint that only one kind of service has.
const EMAILS_ENDPOINT: &str = "emails_endpoint";

fn name_is_good(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        && name != "credential"
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A new record, with all that is known of its kind of service.
fn blank(service: ServiceType) -> IssuerRecord {
    let (preset, mut record) = (service.preset(), IssuerRecord::default());
    record.service_type = service;
    record.label = preset.label.map(str::to_owned).unwrap_or_default();
    record.base_url = preset.base_url.map(str::to_owned).unwrap_or_default();
    record.basic_auth = preset.basic_auth;
    record.login_scopes = joined([preset.scopes]);
    record.login_scopes_offline = joined([preset.scopes_offline]);
    record.login_params = pairs(preset.params);
    record.login_params_offline = pairs(preset.params_offline);
    record.show_on_login_page = true;
    record.enabled = true;
    record
}

/// Reads a body, over what is saved already. Everything that is wrong with it is told at once.
///
/// # Errors
/// 400 `VALIDATION_ERROR`.
pub async fn read_issuer_draft(
    context: &Context,
    mut fields: Fields,
    saved: Option<IssuerRecord>,
) -> Result<IssuerDraft> {
    let unknown: Vec<String> = fields.names().filter(|name| !MEMBERS.contains(name)).map(str::to_owned).collect();
    for name in unknown {
        fields.refuse(&name.chars().take(50).collect::<String>(), "Unrecognized key");
    }
    let is_new = saved.is_none();
    if let Some(saved) = &saved
        && fields.boolean("global").is_some_and(|global| global != saved.is_global)
    {
        fields.refuse("global", "Invalid input: cannot be changed");
    }
    let service = service(&mut fields, saved.as_ref());
    let before = saved.clone();
    let mut record = saved.unwrap_or_else(|| blank(service));
    record.service_type = service;
    if is_new || fields.has("name") {
        record.name = fields.line("name", 64);
        if !name_is_good(&record.name) {
            fields.refuse("name", "Invalid string: lower-case letters, digits, '-', '_' and '.'");
        }
    }
    texts(&mut fields, &mut record, is_new);
    flags(&mut fields, &mut record);
    lists(&mut fields, &mut record);
    places(context, &mut fields, &mut record);
    let (secret, key) = secrets(context, &mut fields, service).await?;
    if is_new {
        record.is_global = fields.boolean("global").unwrap_or(false);
    }
    judge(context, &mut fields, &record, &key);
    fields.finish()?;
    let place = |record: &IssuerRecord| (record.base_url.clone(), record.service_type, record.settings.tenant.clone());
    let moves = before.as_ref().is_some_and(|before| place(before) != place(&record));
    let becomes_another = before.as_ref().is_some_and(|before| becomes_another(before, &record));
    let speaks_for_others = speaks_for_others(before.as_ref(), &record);
    Ok(IssuerDraft { record, secret, key, is_new, moves, becomes_another, speaks_for_others })
}

/// Whatever makes the people of an issuer who they are: who says it, and which of what is said counts. With which keys and at
/// which places, its endpoints say.
fn identity(record: &IssuerRecord) -> Value {
    let told = ["subject", "email", "email_verified"].map(|field| record.mapping.get(field));
    json!({
        "base_url": record.base_url, "service_type": record.service_type, "tenant": record.settings.tenant, "mapping": told,
    })
}

/// Whether an issuer becomes another. Endpoints by discovery are its own word, to which it may go back; one by hand takes that
/// word's place, or is sent its people's tokens.
fn becomes_another(before: &IssuerRecord, after: &IssuerRecord) -> bool {
    let is_open_id = after.service_type.preset().protocol == Protocol::OpenId;
    let is_set = after.endpoints.iter().any(|(name, url)| before.endpoints.get(name) != Some(url));
    let is_gone = before.endpoints.keys().any(|name| !after.endpoints.contains_key(name));
    identity(before) != identity(after) || is_set || (is_gone && !is_open_id)
}

/// Whose tokens are taken for its people's.
fn audience(record: &IssuerRecord) -> Value {
    json!([record.client_id, record.settings.audiences, record.settings.accept_assertions])
}

/// Whether a draft makes an issuer speak for people whom it did not speak for: where addresses are believed, for every user who has
/// them; where people are linked, for those of them who are another client's users as well.
fn speaks_for_others(before: Option<&IssuerRecord>, after: &IssuerRecord) -> bool {
    let believed = |record: &IssuerRecord| {
        let IssuerRecord { endpoints, trust_email, require_confirmation, allowed_domains, .. } = record;
        json!([identity(record), endpoints, audience(record), trust_email, require_confirmation, allowed_domains])
    };
    let differs = |of: &dyn Fn(&IssuerRecord) -> Value| before.is_none_or(|before| of(before) != of(after));
    (after.trust_email && differs(&believed)) || (after.is_in_use && differs(&audience))
}

fn service(fields: &mut Fields, saved: Option<&IssuerRecord>) -> ServiceType {
    let known = saved.map(|record| record.service_type).unwrap_or_default();
    let Some(name) = fields.optional("serviceType", 20) else {
        return known;
    };
    ServiceType::parse(&name).unwrap_or_else(|| {
        fields.refuse("serviceType", "Invalid option");
        known
    })
}

fn texts(fields: &mut Fields, record: &mut IssuerRecord, is_new: bool) {
    if (is_new && record.label.is_empty()) || fields.has("label") {
        record.label = fields.line("label", 100);
    }
    if is_new || fields.has("clientId") {
        record.client_id = fields.line("clientId", 500);
    }
    match fields.change("image", 2048) {
        fields::Change::Keep => (),
        fields::Change::Clear => record.image = None,
        fields::Change::Set(url) => {
            if check_url(&url, false).is_err() {
                fields.refuse("image", "Invalid URL: https alone");
            }
            record.image = Some(url);
        }
    }
    if let Some(order) = fields.number("sortOrder", (-1_000_000, 1_000_000)) {
        record.sort_order = order;
    }
}

fn flags(fields: &mut Fields, record: &mut IssuerRecord) {
    for (name, flag) in [
        ("basicAuth", &mut record.basic_auth),
        ("requireConfirmation", &mut record.require_confirmation),
        ("trustEmail", &mut record.trust_email),
        ("syncProfile", &mut record.sync_profile),
        ("showOnLoginPage", &mut record.show_on_login_page),
        ("enabled", &mut record.enabled),
    ] {
        if let Some(value) = fields.boolean(name) {
            *flag = value;
        }
    }
}

fn lists(fields: &mut Fields, record: &mut IssuerRecord) {
    for (name, scope) in
        [("loginScopes", &mut record.login_scopes), ("loginScopesOffline", &mut record.login_scopes_offline)]
    {
        if fields.has(name) {
            let list = fields.list(name, 50, is_scope);
            *scope = joined(list.iter().map(String::as_str));
        }
    }
    for (name, parameters) in
        [("loginParams", &mut record.login_params), ("loginParamsOffline", &mut record.login_params_offline)]
    {
        if fields.has(name) {
            *parameters = fields.texts(name, 30, 1024);
        }
    }
    if fields.has("allowedDomains") {
        let domains = fields.list("allowedDomains", 200, |text| text.len() <= 253 && ascii_pattern(text).is_some());
        record.allowed_domains = domains.iter().filter_map(|text| ascii_pattern(text)).collect();
    }
    if fields.has("mapping") {
        record.mapping = fields.texts("mapping", 30, mapping::LONGEST_PATH);
        for (internal, external) in &record.mapping {
            if Field::parse(internal).is_none() {
                fields.refuse(&format!("mapping.{internal}"), "No such field");
            }
            if Path::parse(external).is_none() {
                fields.refuse(&format!("mapping.{internal}"), "Invalid path");
            }
        }
    }
}

/// A domain, or `*.` and a domain, in ASCII.
fn ascii_pattern(text: &str) -> Option<String> {
    let (star, domain) = text.strip_prefix("*.").map_or(("", text), |domain| ("*.", domain));
    let ascii = ascii_domain(domain)?;
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_address = ascii.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_name = ascii.contains('.') && !is_address && ascii.split('.').all(is_label);
    is_name.then(|| format!("{star}{ascii}"))
}

fn places(context: &Context, fields: &mut Fields, record: &mut IssuerRecord) {
    let preset = record.service_type.preset();
    let of_tenant =
        |tenant: Option<&str>| preset.base_url.unwrap_or_default().replace("{tenant}", tenant.unwrap_or("{tenant}"));
    // A base URL that somebody typed stays; one that follows from the tenant follows it.
    let follows = record.base_url == of_tenant(record.settings.tenant.as_deref())
        || Some(record.base_url.as_str()) == preset.base_url;
    if let Some(settings) = fields.take("settings") {
        let read = if settings.is_object() { serde_json::from_value::<Settings>(settings).ok() } else { None };
        match read {
            Some(settings) => record.settings = settings,
            None => {
                fields.refuse("settings", "Invalid input: tenant, teamId, audiences, acceptAssertions and pkce alone");
            }
        }
    }
    if record.settings.tenant.as_deref() == Some("consumers") {
        record.settings.tenant = Some(CONSUMERS.to_owned());
    }
    if let Some(url) = fields.optional("baseUrl", 500) {
        record.base_url = url;
    } else if follows && record.service_type == ServiceType::Microsoft {
        record.base_url = of_tenant(record.settings.tenant.as_deref());
    }
    if fields.has("endpoints") {
        let set = fields.texts("endpoints", ENDPOINTS.len() + 1, 2048);
        for (name, url) in &set {
            if !ENDPOINTS.contains(&name.as_str()) && name != EMAILS_ENDPOINT {
                fields.refuse(&format!("endpoints.{name}"), "No such endpoint");
            } else if let Err(problem) = check_url(url, context.config.development) {
                fields.refuse(&format!("endpoints.{name}"), &problem);
            }
        }
        record.endpoints = set;
    }
}

async fn secrets(
    context: &Context,
    fields: &mut Fields,
    service: ServiceType,
) -> Result<(SecretChange<Secret<String>>, SecretChange<Secret<String>>)> {
    let secret = match fields.change("clientSecret", 4000) {
        fields::Change::Keep => SecretChange::Keep,
        fields::Change::Clear => SecretChange::Clear,
        fields::Change::Set(text) => SecretChange::Set(Secret::new(text)),
    };
    let is_cleared = fields.has("clientKey");
    let given = fields.take("clientKey");
    let generate = fields.boolean("generateKey").unwrap_or(false);
    let key = match given {
        Some(jwk) if !generate => {
            let jwk = match private_jwk(&jwk) {
                Some(jwk) if webcrypto::is_pair(&jwk).await => Some(jwk),
                _ => None,
            };
            let key = jwk.map(|jwk| SecretChange::Set(Secret::new(jwk.to_string())));
            key.unwrap_or_else(|| {
                fields.refuse("clientKey", "Invalid input: a private P-256 key as a JWK, with kid");
                SecretChange::Keep
            })
        }
        Some(_) => {
            fields.refuse("generateKey", "Invalid input: not together with clientKey");
            SecretChange::Keep
        }
        None if generate && service.signs_client_secret() => {
            fields.refuse("generateKey", "Invalid input: this service makes the key");
            SecretChange::Keep
        }
        None if generate => SecretChange::Set(new_key(context).await?),
        None if is_cleared => SecretChange::Clear,
        None => SecretChange::Keep,
    };
    Ok((secret, key))
}

/// A private P-256 key, with a name, and nothing in it that is not of one.
fn private_jwk(jwk: &Value) -> Option<Value> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| {
        let text = text(name)?;
        (Base64UrlUnpadded::decode_vec(&text).ok()?.len() == 32).then_some(text)
    };
    let kid = text("kid").filter(|kid| !kid.is_empty() && kid.len() <= 200)?;
    if text("kty")? != "EC" || text("crv")? != "P-256" {
        return None;
    }
    Some(json!({ "kty": "EC", "crv": "P-256", "x": number("x")?, "y": number("y")?, "d": number("d")?, "kid": kid }))
}

async fn new_key(context: &Context) -> Result<Secret<String>> {
    let jwk = webcrypto::generate(SigningAlgorithm::Es256).await?;
    let jwk = jwk.expose();
    let kept = json!({
        "kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"], "d": jwk["d"], "kid": context.row_id()?,
    });
    Ok(Secret::new(kept.to_string()))
}

/// What holds between the members.
fn judge(context: &Context, fields: &mut Fields, record: &IssuerRecord, key: &SecretChange<Secret<String>>) {
    let development = context.config.development;
    let protocol = record.service_type.preset().protocol;
    let has_preset_endpoints = !record.service_type.preset().endpoints.is_empty();
    let needs_base = protocol == Protocol::OpenId || has_preset_endpoints;
    if needs_base || !record.base_url.is_empty() {
        match check_url(&record.base_url, development) {
            Err(problem) => fields.refuse("baseUrl", &problem),
            // OpenID Connect Discovery 1.0, section 3: an issuer identifier has neither.
            Ok(url) if url.query().is_some() => fields.refuse("baseUrl", "Invalid URL: with a query"),
            Ok(_) => (),
        }
    }
    let maps_subject = record.mapping.contains_key("subject");
    match protocol {
        Protocol::OpenId if maps_subject => fields.refuse("mapping.subject", "The ID token says who it is"),
        Protocol::OAuth if !has_preset_endpoints => {
            for name in ["authorization_endpoint", "token_endpoint", "userinfo_endpoint"] {
                if !record.endpoints.contains_key(name) {
                    fields.refuse(&format!("endpoints.{name}"), "Invalid input: expected string, received undefined");
                }
            }
            if !maps_subject {
                fields.refuse("mapping.subject", "Invalid input: expected string, received undefined");
            }
        }
        _ => (),
    }
    if record.service_type == ServiceType::Microsoft {
        let tenant = record.settings.tenant.as_deref().unwrap_or_default();
        let is_id = uuid::Uuid::try_parse(tenant).is_ok_and(|id| id.hyphenated().to_string() == tenant);
        if !matches!(tenant, "common" | "organizations") && !is_id {
            fields.refuse("settings.tenant", "Invalid option: common, organizations, consumers, or a tenant's id");
        }
    }
    if record.settings.tenant.is_some() && record.service_type != ServiceType::Microsoft {
        fields.refuse("settings.tenant", "Invalid input: of microsoft alone");
    }
    if record.settings.team_id.is_some() && !record.service_type.signs_client_secret() {
        fields.refuse("settings.teamId", "Invalid input: of apple alone");
    }
    if record.trust_email && !record.is_global && context.tenant().pool().is_none() {
        fields.refuse(
            "trustEmail",
            "Invalid input: users are shared with other tenants, for whom this issuer does not speak",
        );
    }
    if record.service_type.signs_client_secret() {
        if record.settings.team_id.as_deref().is_none_or(str::is_empty) {
            fields.refuse("settings.teamId", "Invalid input: expected string, received undefined");
        }
        let has_key = match key {
            SecretChange::Set(_) => true,
            SecretChange::Clear => false,
            SecretChange::Keep => record.public_key.is_some(),
        };
        if !has_key {
            fields.refuse("clientKey", "Invalid input: expected object, received undefined");
        }
    }
}

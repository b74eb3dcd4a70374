//! Policies as they are written: what is read, and what is refused by its path.

mod decisions;
mod generated;

use crate::access::policy::*;

const DATE: Millis = 1_767_225_600_000; // 2026-01-01

const NOON: Millis = DATE + DAY / 2;

#[expect(clippy::needless_pass_by_value, reason = "reads better in a table")]
fn parse(policy: Value) -> SecurityPolicy {
    SecurityPolicy::parse(&policy).expect("a policy")
}

fn problems(policy: &Value) -> Vec<String> {
    SecurityPolicy::parse(policy).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// `{section: {key: value}}`.
fn one(section: &str, key: &str, value: &Value) -> Value {
    json!({ section: { key: value } })
}

const NO_DATE: &str = "not a date, date and time (2026-01-31T00:00:00Z), or Unix time in milliseconds";

fn nobody() -> Facts<'static> {
    let first_required_at = None;
    Facts { has_second_factor: false, satisfied: false, roles: &[], logins_since_enforcement: 1, first_required_at }
}

/// A policy that requires a second factor, from a date on, after a grace.
fn requiring(date: Option<Millis>, logins: i64, days: i64) -> SecurityPolicy {
    parse(json!({
        "twoFactor": {"required": true, "enforcementDate": date, "graceLogins": logins, "gracePeriodDays": days},
    }))
}

#[test]
fn nothing_said_restricts_nothing() {
    for policy in [json!({}), json!({"session": {}, "twoFactor": {}, "ipRestrictions": {}})] {
        let policy = parse(policy);
        assert!(policy.is_trivial() && policy.extends());
        assert!(policy.allows_backup_codes() && policy.allows_trusted_devices());
        assert_eq!((policy.max_sessions(), policy.session_seconds(77)), (None, 77));
        assert_eq!((policy.admits(None), policy.admits(Some("nonsense"))), (Ok(()), Ok(())));
        assert_eq!(policy.second_factor(&Facts { satisfied: true, ..nobody() }, NOON), Requirement::NotRequired);
        assert_eq!(policy.second_factor(&nobody(), NOON), Requirement::NotRequired);
    }
}

#[test]
fn every_key_has_its_effect_and_its_default_none() {
    let table = [
        ("session", "maxConcurrentSessions", json!(3), json!(null), false),
        ("session", "sessionTimeout", json!(600), json!(null), false),
        ("session", "extendOnActivity", json!(false), json!(true), false),
        ("session", "requireMFA", json!(true), json!(false), false),
        ("twoFactor", "required", json!(true), json!(false), false),
        ("twoFactor", "allowBackupCodes", json!(false), json!(true), false),
        ("twoFactor", "allowRememberDevice", json!(false), json!(true), false),
        ("ipRestrictions", "enabled", json!(true), json!(false), false),
        // Of no effect as long as nothing is required, or enabled.
        ("twoFactor", "enforcementDate", json!(DATE), json!(null), true),
        ("twoFactor", "graceLogins", json!(3), json!(0), true),
        ("twoFactor", "gracePeriodDays", json!(3), json!(0), true),
        ("twoFactor", "exemptRoles", json!(["admin"]), json!([]), true),
        ("ipRestrictions", "allowedIPs", json!(["10.0.0.1"]), json!([]), true),
        ("ipRestrictions", "allowedRanges", json!(["10.0.0.0/8"]), json!([]), true),
        ("ipRestrictions", "blockList", json!(["10.0.0.1"]), json!([]), true),
    ];
    let nothing = parse(json!({}));
    for (section, key, value, default, is_trivial) in table {
        let policy = parse(one(section, key, &value));
        assert_ne!(policy, nothing, "{key}");
        assert_eq!(policy.is_trivial(), is_trivial, "{key}");
        assert_eq!(policy.to_json()[section][key], if key == "enforcementDate" { json!(iso(DATE)) } else { value });
        assert_eq!(parse(one(section, key, &default)), nothing, "{key}");
        assert_eq!(nothing.to_json()[section][key], default, "{key}");
    }
    let keys = |section: &str| nothing.to_json()[section].as_object().map_or(0, Map::len);
    assert_eq!(keys("session") + keys("twoFactor") + keys("ipRestrictions"), 15, "a key without a row above");

    let policy = parse(json!({
        "session": {"maxConcurrentSessions": 3, "sessionTimeout": 600, "extendOnActivity": false},
        "twoFactor": {"allowBackupCodes": false},
    }));
    assert_eq!((policy.max_sessions(), policy.session_seconds(77), policy.extends()), (Some(3), 600, false));
    assert!(!policy.allows_backup_codes() && policy.allows_trusted_devices());
    assert!(!parse(one("twoFactor", "allowRememberDevice", &json!(false))).allows_trusted_devices());
}

#[test]
fn numbers_are_whole_and_within_their_bounds() {
    for (section, key, least, most, takes_null) in [
        ("session", "maxConcurrentSessions", 1, 1000, true),
        ("session", "sessionTimeout", 60, 31_536_000, true),
        ("twoFactor", "graceLogins", 0, 1000, false),
        ("twoFactor", "gracePeriodDays", 0, 365, false),
    ] {
        for good in [least, least + 1, most - 1, most] {
            assert_eq!(parse(one(section, key, &json!(good))).to_json()[section][key], good, "{key} {good}");
        }
        let text = format!("{section}.{key}: not a whole number from {least} to {most}");
        let bad = [json!(least - 1), json!(most + 1), json!(-1), json!(i64::MIN), json!(i64::MAX), json!(u64::MAX)];
        let more = [json!(1.5), json!(100.0), json!(1e300), json!("100"), json!(""), json!(true), json!([100])];
        for bad in bad.into_iter().chain(more).chain([json!({}), json!({"value": 100})]) {
            assert_eq!(problems(&one(section, key, &bad)), [text.as_str()], "{bad}");
        }
        assert_eq!(problems(&one(section, key, &Value::Null)).is_empty(), takes_null, "{key}");
    }
}

#[test]
fn flags_are_true_or_false() {
    for (section, key) in [
        ("session", "extendOnActivity"),
        ("session", "requireMFA"),
        ("twoFactor", "required"),
        ("twoFactor", "allowBackupCodes"),
        ("twoFactor", "allowRememberDevice"),
        ("ipRestrictions", "enabled"),
    ] {
        for good in [true, false] {
            assert_eq!(parse(one(section, key, &json!(good))).to_json()[section][key], good);
        }
        for bad in [json!(null), json!(0), json!(1), json!("true"), json!("on"), json!([true]), json!({})] {
            assert_eq!(problems(&one(section, key, &bad)), [format!("{section}.{key}: neither true nor false")]);
        }
    }
}

#[test]
fn dates_in_all_their_forms() {
    let read = |value: &Value| parse(one("twoFactor", "enforcementDate", value)).two_factor.enforced_at;
    for (value, expected) in [
        (json!(null), None),
        (json!(0), Some(0)),
        (json!(1), Some(1)),
        (json!(DATE), Some(DATE)),
        (json!(LAST), Some(LAST)),
        (json!("1970-01-01"), Some(0)),
        (json!("1970-01-01T00:00:00.001Z"), Some(1)),
        (json!("2026-01-01"), Some(DATE)),
        (json!("2026-01-01T00:00:00"), Some(DATE)),
        (json!("2026-01-01T00:00:00Z"), Some(DATE)),
        (json!("2026-01-01T12:00:00.000Z"), Some(NOON)),
        (json!("2026-01-01T12:00:00.5"), Some(NOON + 500)),
        (json!("2026-01-01T12:00:00.123999999Z"), Some(NOON + 123)),
        (json!("2026-01-01T02:00:00+02:00"), Some(DATE)),
        (json!("2025-12-31T18:30:00-05:30"), Some(DATE)),
        (json!("2024-02-29"), Some(1_709_164_800_000)),
        (json!("2000-02-29"), Some(951_782_400_000)),
        (json!("9999-12-31T23:59:59.999Z"), Some(LAST)),
    ] {
        assert_eq!(read(&value), expected, "{value}");
    }
    let texts = "|2026|2026-01|2026-1-1|26-01-01|2026-00-01|2026-13-01|2026-01-00|2026-01-32|2025-02-29|2100-02-29|\
        20260101|2026/01/01|01-01-2026|2026-W01-1|2026-001|+2026-01-01|-2026-01-01|02026-01-01|12026-01-01|2026-01-01T|\
        2026-01-01Z|2026-01-01T00|2026-01-01T00:00|2026-01-01T00:00Z|2026-01-01T24:00:00Z|2026-01-01T23:60:00Z|\
        2026-01-01T00:00:61Z|2026-01-01 00:00:00|2026-01-01t00:00:00z|2026-01-01T00:00:00z|2026-01-01t00:00:00Z|\
        2026-01-01+00:00:00Z|2026-01-01T00:00:00ZZ|2026-01-01T00:00:00Z+00:00|\
        2026-01-01T00:00:00+2|2026-01-01T00:00:00+99:00|2026-01-01T00:00:00.|2026-01-01T00:00:00,5| 2026-01-01|\
        2026-01-01 |2026-01-01\n|2026-01-01T00:00:00 Z|2026-01-01T00:00:00 UTC|2026-01-01T00:00:00\u{2212}01:00|\
        1969-12-31|1969-12-31T23:59:59.999Z|1970-01-01T00:00:00+00:01|0000-01-01|9999-12-31T23:59:59-00:01|\
        ２026-01-01|2026-01-0１|2026-01\u{2010}01|ääää-ää-ää|1767225600000|now|today|never|null";
    let bad = texts.split('|').map(|text| json!(text));
    let more =
        [json!(-1), json!(LAST + 1), json!(u64::MAX), json!(1.5), json!(0.0), json!(true), json!([DATE]), json!({})];
    for bad in bad.chain(more) {
        let problem = format!("twoFactor.enforcementDate: {NO_DATE}");
        assert_eq!(problems(&one("twoFactor", "enforcementDate", &bad)), [problem], "{bad}");
    }
}

#[test]
fn exempt_roles_are_names() {
    let key = "exemptRoles";
    let roles = |value: &Value| parse(one("twoFactor", key, value)).to_json()["twoFactor"][key].clone();
    for good in [json!([]), json!(["a"]), json!(["x".repeat(64)]), json!(["ä".repeat(64)]), json!(["a b", "a-b"])] {
        assert_eq!(roles(&good), good);
    }
    assert_eq!(roles(&json!(["b", "a", "b", "a", "A"])), json!(["A", "a", "b"]));
    let many = |count: usize| json!((100..100 + count).map(|number| format!("r{number}")).collect::<Vec<_>>());
    assert_eq!(roles(&many(100)), many(100));
    for (bad, expected) in [
        (many(101), "twoFactor.exemptRoles: more than 100 entries"),
        (json!(vec!["a"; 101]), "twoFactor.exemptRoles: more than 100 entries"),
        (json!("admin"), "twoFactor.exemptRoles: not a list"),
        (json!(null), "twoFactor.exemptRoles: not a list"),
        (json!({"0": "admin"}), "twoFactor.exemptRoles: not a list"),
        (json!([""]), "twoFactor.exemptRoles[0]: not a role's name of 1 to 64 characters"),
        (json!(["a", "x".repeat(65)]), "twoFactor.exemptRoles[1]: not a role's name of 1 to 64 characters"),
        (json!(["ä".repeat(65)]), "twoFactor.exemptRoles[0]: not a role's name of 1 to 64 characters"),
        (json!(["a\nb"]), "twoFactor.exemptRoles[0]: not a role's name of 1 to 64 characters"),
        (json!(["a", "b", 7]), "twoFactor.exemptRoles[2]: not a text"),
        (json!([["admin"]]), "twoFactor.exemptRoles[0]: not a text"),
        (json!([null]), "twoFactor.exemptRoles[0]: not a text"),
    ] {
        assert_eq!(problems(&one("twoFactor", key, &bad)), [expected], "{bad}");
    }
}

#[test]
fn lists_of_addresses() {
    let list =
        |key: &str, value: &Value| parse(one("ipRestrictions", key, value)).to_json()["ipRestrictions"][key].clone();
    let mixed = json!(["::FFFF:10.0.0.1", "10.0.0.1", "2001:DB8::1", "2001:db8:0::1", "9.9.9.9", "10.0.0.1"]);
    let sorted = json!(["9.9.9.9", "10.0.0.1", "2001:db8::1"]);
    assert_eq!(list("allowedIPs", &mixed), sorted);
    assert_eq!(list("blockList", &mixed), sorted);
    let ranges = json!(["::ffff:10.0.0.0/104", "10.0.0.0/8", "10.0.0.1/32", "::/0", "0.0.0.0/0", "2001:DB8::1/128"]);
    let sorted = json!(["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/32", "::/0", "2001:db8::1/128"]);
    assert_eq!(list("allowedRanges", &ranges), sorted);
    let sorted = json!(["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1", "::/0", "2001:db8::1"]);
    assert_eq!(list("blockList", &ranges), sorted);

    for (key, suffix) in [("allowedIPs", ""), ("allowedRanges", "/32"), ("blockList", "")] {
        let many = |count: u32| {
            let text = |number: u32| format!("10.0.{}.{}{suffix}", number / 256, number % 256);
            json!((0..count).map(text).collect::<Vec<_>>())
        };
        assert_eq!(list(key, &many(1000)), many(1000));
        // Counted as written, so that the work is bounded: a thousand times the same and one more is too many.
        for bad in [many(1001), json!(vec![format!("10.0.0.1{suffix}"); 1001]), json!(vec![Value::Null; 5000])] {
            let problem = format!("ipRestrictions.{key}: more than 1000 entries");
            assert_eq!(problems(&one("ipRestrictions", key, &bad)), [problem]);
        }
        for bad in [json!(null), json!("10.0.0.1"), json!({}), json!(7)] {
            assert_eq!(problems(&one("ipRestrictions", key, &bad)), [format!("ipRestrictions.{key}: not a list")]);
        }
        for bad in [json!([null]), json!([167_772_161]), json!([["10.0.0.1"]]), json!([{"ip": "10.0.0.1"}])] {
            assert_eq!(problems(&one("ipRestrictions", key, &bad)), [format!("ipRestrictions.{key}[0]: not a text")]);
        }
    }
}

#[test]
fn all_problems_are_said_at_once_each_with_its_path() {
    let policy = json!({
        "session": {"sessionTimeout": 59, "requireMfa": true},
        "twoFactor": {"graceLogin": 3, "required": "yes", "enforcementDate": "soon", "exemptRoles": ["a", ""]},
        "ipRestrictions": {
            "allowedIPs": ["10.0.0.1", "10.0.0.0/8", "1.2.3.04"],
            "allowedRanges": ["10.0.0.0/8", "::/0", "10.0.0.1/33", "10.0.0.1", "10.0.0.1/8", "::ffff:0:0/90"],
            "blockList": ["x", "x/8"],
            "blocklist": [],
        },
        "ip": {},
    });
    let date = format!("twoFactor.enforcementDate: {NO_DATE}");
    let expected = [
        "ip: unknown key",
        "session.sessionTimeout: not a whole number from 60 to 31536000",
        "session.requireMfa: unknown key",
        "twoFactor.required: neither true nor false",
        &date,
        "twoFactor.exemptRoles[1]: not a role's name of 1 to 64 characters",
        "twoFactor.graceLogin: unknown key",
        "ipRestrictions.allowedIPs[1]: not an address: 10.0.0.0/8",
        "ipRestrictions.allowedIPs[2]: not an address: 1.2.3.04",
        "ipRestrictions.allowedRanges[2]: not a network: 10.0.0.1/33",
        "ipRestrictions.allowedRanges[3]: not a network: 10.0.0.1",
        "ipRestrictions.allowedRanges[4]: bits are set beyond the prefix length: 10.0.0.1/8",
        "ipRestrictions.allowedRanges[5]: a range of IPv4-mapped addresses has a prefix length of 96 or more: ::ffff:0:0/90",
        "ipRestrictions.blockList[0]: not an address: x",
        "ipRestrictions.blockList[1]: not a network: x/8",
        "ipRestrictions.blocklist: unknown key",
    ];
    assert_eq!(problems(&policy), expected);
}

#[test]
fn what_is_no_object_is_no_policy() {
    for bad in [json!(null), json!([]), json!([{}]), json!(""), json!("{}"), json!(0), json!(false)] {
        assert_eq!(problems(&bad), ["not an object"], "{bad}");
        for section in ["session", "twoFactor", "ipRestrictions"] {
            assert_eq!(problems(&json!({ section: bad })), [format!("{section}: not an object")], "{bad}");
        }
    }
    let root = SecurityPolicy::parse(&json!(7)).expect_err("no policy");
    assert_eq!(root, [PolicyProblem { path: String::new(), text: "not an object".to_owned() }]);
}

#[test]
fn keys_are_exact_and_what_is_strange_about_them_is_not_repeated() {
    for key in ["Session", "sessions", "session ", "twofactor", "two_factor", "security_policy", "", "__proto__"] {
        assert_eq!(problems(&json!({ key: {} })).len(), 1, "{key}");
    }
    for (key, shown) in [
        ("twoFactor.required", r#""twoFactor.required""#),
        ("", r#""""#),
        ("a\nb", r#""a\nb""#),
        ("\u{1b}[2J\u{202e}", r#""\u{1b}[2J\u{202e}""#),
    ] {
        assert_eq!(problems(&json!({ key: true })), [format!("{shown}: unknown key")]);
        assert_eq!(problems(&json!({"session": { key: 1 }})), [format!("session.{shown}: unknown key")]);
    }
    let long = "k".repeat(100_000);
    assert_eq!(problems(&json!({ long.as_str(): 1 })), [format!("{}…: unknown key", "k".repeat(64))]);
    let long = problems(&one("ipRestrictions", "allowedIPs", &json!(["1\n".repeat(100_000)])));
    assert!(long[0].len() < 250 && !long[0].contains('\n'), "{}", long[0]);
}

#[test]
fn nesting_is_not_followed() {
    let deep = |depth| {
        (0..depth)
            .fold(json!({}), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"session": inner}) })
    };
    for depth in [1, 2, 3, 100, 1000] {
        let deep = deep(depth);
        let keys = ["session", "twoFactor", "ipRestrictions"].map(|section| json!({ section: deep }));
        let entries =
            ["allowedIPs", "allowedRanges", "blockList"].map(|key| one("ipRestrictions", key, &json!([deep])));
        let value = one("twoFactor", "enforcementDate", &deep);
        for policy in keys.iter().chain(&entries).chain([&value, &deep]) {
            assert_eq!(problems(policy).len(), 1, "{depth}");
        }
    }
}

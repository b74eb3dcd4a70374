//! Policies and addresses made at random, from a seed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::access::policy::tests::*;

/// Marsaglia's xorshift: enough to make policies of.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn from(&mut self, least: i64, most: i64) -> i64 {
        let span = u64::try_from(most - least).expect("a range") + 1;
        // The bounds themselves often.
        match self.below(4) {
            0 => least,
            1 => most,
            _ => least + i64::try_from(self.below(span)).expect("within"),
        }
    }

    fn pick<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        let index = self.below(choice.len().try_into().expect("few"));
        &choice[usize::try_from(index).expect("few")]
    }

    fn ip(&mut self) -> IpAddr {
        // Few bits, so that some come twice, and are near the mapped ones.
        let bits = self.roll() & self.roll();
        let low = u32::try_from(bits >> 32).expect("32 bits");
        match self.below(4) {
            0 => Ipv4Addr::from(low).into(),
            1 => Ipv4Addr::from(low).to_ipv6_mapped().into(),
            2 => Ipv6Addr::from(u128::from(bits)).into(),
            _ => Ipv6Addr::from(u128::from(bits) << 64 | u128::from(self.roll())).into(),
        }
    }

    fn address(&mut self) -> String {
        let text = self.ip().to_string();
        if self.below(2) == 0 { text.to_uppercase() } else { text }
    }

    fn range(&mut self) -> String {
        let (ip, shortest) = match self.ip() {
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => (ip.into(), 96),
            ip => (ip, 0),
        };
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let length = u8::try_from(self.from(shortest, longest)).expect("a length");
        // Those around the mapped addresses are refused.
        let length = if ip.is_ipv6() && (81..=95).contains(&length) { 96 } else { length };
        let network = ipnet::IpNet::new(ip, length).expect("a network").trunc();
        format!("{}/{length}", network.addr())
    }

    fn list(&mut self, entry: fn(&mut Self) -> String) -> Value {
        let count = self.below(12);
        (0..count).map(|_| entry(self)).collect()
    }

    fn object(&mut self, entries: Vec<(&str, Value)>) -> Value {
        let kept = entries.into_iter().filter(|_| self.below(4) > 0);
        Value::Object(kept.map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn flag(&mut self) -> Value {
        json!(self.below(2) == 0)
    }

    fn integer(&mut self, least: i64, most: i64) -> Value {
        json!(self.from(least, most))
    }

    fn or_null(&mut self, value: Value) -> Value {
        if self.below(4) == 0 { Value::Null } else { value }
    }

    fn policy(&mut self) -> Value {
        let number = self.integer(1, 1000);
        let seconds = self.integer(60, 31_536_000);
        let session = vec![
            ("maxConcurrentSessions", self.or_null(number)),
            ("sessionTimeout", self.or_null(seconds)),
            ("extendOnActivity", self.flag()),
            ("requireMFA", self.flag()),
        ];
        let time = self.from(0, LAST);
        let date = match self.below(3) {
            0 => json!(time),
            1 => json!(iso(time)),
            _ => json!(iso(time)[..10]),
        };
        let two_factor = vec![
            ("required", self.flag()),
            ("enforcementDate", self.or_null(date)),
            ("graceLogins", self.integer(0, 1000)),
            ("gracePeriodDays", self.integer(0, 365)),
            ("allowBackupCodes", self.flag()),
            ("allowRememberDevice", self.flag()),
            ("exemptRoles", self.list(|dice| (*dice.pick(&["admin", "Admin", "ä", "a b", "\u{1f916}"])).to_owned())),
        ];
        let ip = vec![
            ("enabled", self.flag()),
            ("allowedIPs", self.list(Self::address)),
            ("allowedRanges", self.list(Self::range)),
            ("blockList", self.list(|dice| if dice.below(2) == 0 { dice.address() } else { dice.range() })),
        ];
        let sections = vec![
            ("session", self.object(session)),
            ("twoFactor", self.object(two_factor)),
            ("ipRestrictions", self.object(ip)),
        ];
        self.object(sections)
    }
}

#[test]
fn what_is_written_is_read_as_the_same_policy() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut trivial = 0;
    for _ in 0..5000 {
        let written = dice.policy();
        let policy = match SecurityPolicy::parse(&written) {
            Ok(policy) => policy,
            Err(problems) => panic!("{written}: {problems:?}"),
        };
        let canonical = policy.to_json();
        assert_eq!(SecurityPolicy::parse(&canonical).as_ref(), Ok(&policy), "{written}");
        let stored: Value = serde_json::from_str(&canonical.to_string()).expect("JSON");
        let again = parse(stored);
        assert_eq!((again.to_json(), &again), (canonical, &policy), "{written}");
        trivial += usize::from(policy.is_trivial());
        // And it decides as the lists that were written would have it.
        let client = dice.address();
        let has = |key: &str| {
            written["ipRestrictions"][key].as_array().is_some_and(|list| {
                let client = client.parse().expect("an address");
                list.iter()
                    .any(|entry| Network::parse(entry.as_str().expect("text")).expect("network").contains(client))
            })
        };
        let is_empty = |key: &str| written["ipRestrictions"][key].as_array().is_none_or(Vec::is_empty);
        let is_open = is_empty("allowedIPs") && is_empty("allowedRanges");
        let expected = if written["ipRestrictions"]["enabled"] != true {
            Ok(())
        } else if has("blockList") {
            Err(IpRefusal::Blocked)
        } else if is_open || has("allowedIPs") || has("allowedRanges") {
            Ok(())
        } else {
            Err(IpRefusal::NotAllowed)
        };
        assert_eq!(policy.admits(Some(&client)), expected, "{client} {written}");
    }
    assert!((1..5000).contains(&trivial), "{trivial}");
}

#[test]
fn a_policy_with_one_thing_spoilt_is_none() {
    let mut dice = Dice(0x0dd0_1234_5678_9abc);
    let bad = [json!("?"), json!(-1), json!(0.5), json!([{}]), json!({"a": {}})];
    for _ in 0..2000 {
        let mut spoilt = parse(dice.policy()).to_json();
        let section = *dice.pick(&["session", "twoFactor", "ipRestrictions"]);
        let object = spoilt[section].as_object_mut().expect("a section");
        let keys: Vec<String> = object.keys().cloned().collect();
        let mut key = dice.pick(&keys).clone();
        if dice.below(3) == 0 {
            let value = object.remove(&key).expect("its value");
            key.push('s');
            object.insert(key.clone(), value);
        } else {
            object.insert(key.clone(), dice.pick(&bad).clone());
        }
        let path = format!("{section}.{key}");
        let problems = SecurityPolicy::parse(&spoilt).expect_err("spoilt");
        assert!(problems.len() == 1 && problems[0].path.starts_with(&path), "{path} {problems:?}");
    }
}

#[test]
fn once_it_is_over_grace_does_not_come_back() {
    let mut dice = Dice(0xfeed_5eed_0bad_cafe);
    for _ in 0..5000 {
        let date = (dice.below(3) > 0).then_some(DATE);
        let policy = requiring(date, dice.from(0, 4), dice.from(0, 4));
        let first = (dice.below(2) == 0).then(|| dice.from(DATE - DAY, DATE + DAY));
        let (mut now, mut logins, mut is_over) = (DATE + DAY, 1, false);
        for _ in 0..12 {
            let facts = Facts { first_required_at: first, logins_since_enforcement: logins, ..nobody() };
            match policy.second_factor(&facts, now) {
                Requirement::Enrol => is_over = true,
                Requirement::Grace { logins_left, until } => {
                    assert!(
                        !is_over && logins_left.is_none_or(|left| left >= 0) && until.is_none_or(|until| until > now)
                    );
                }
                other => panic!("{other:?}"),
            }
            now += dice.from(0, DAY);
            logins += dice.from(0, 1);
        }
    }
}

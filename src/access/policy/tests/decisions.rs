//! What a policy decides, in a table.

use crate::access::policy::tests::*;

#[test]
fn the_table_of_who_is_asked() {
    use Requirement::{AskFactor, Enrol, NotRequired, Satisfied};
    let exempt = ["guest".to_owned(), "robot".to_owned()];
    let other = ["member".to_owned(), "Robot".to_owned(), "robot ".to_owned()];
    let by_role = json!({"required": true, "exemptRoles": ["robot", "x"]});
    let off = json!({"required": false, "graceLogins": 9, "enforcementDate": 0});
    for (row, (mfa, two_factor, roles, expected)) in [
        // Without a factor, with one, with one that was given.
        (false, &json!({}), &other[..], [NotRequired; 3]),
        (false, &off, &other, [NotRequired; 3]),
        (true, &off, &other, [Enrol, AskFactor, Satisfied]),
        (false, &by_role, &other, [Enrol, AskFactor, Satisfied]),
        (false, &by_role, &[], [Enrol, AskFactor, Satisfied]),
        (false, &by_role, &exempt, [NotRequired; 3]),
        // No role is exempt from session.requireMFA.
        (true, &by_role, &exempt, [Enrol, AskFactor, Satisfied]),
        (true, &json!({}), &exempt, [Enrol, AskFactor, Satisfied]),
        // Nor is anybody given a date or a grace by it.
        (true, &json!({"required": true, "enforcementDate": NOON + 1}), &other, [Enrol, AskFactor, Satisfied]),
        (true, &json!({"required": true, "graceLogins": 9}), &other, [Enrol, AskFactor, Satisfied]),
    ]
    .into_iter()
    .enumerate()
    {
        let policy = parse(json!({"session": {"requireMFA": mfa}, "twoFactor": two_factor}));
        let decide = |has_second_factor, satisfied| {
            policy.second_factor(&Facts { has_second_factor, satisfied, roles, ..nobody() }, NOON)
        };
        assert_eq!([decide(false, false), decide(true, false), decide(true, true)], expected, "row {row}");
        // By a factor that was removed since.
        assert_eq!(decide(false, true), expected[2], "row {row}");
    }
}

#[test]
fn grace_is_for_those_alone_who_have_no_factor() {
    let policy = requiring(Some(DATE), 9, 9);
    let grace = Requirement::Grace { logins_left: Some(8), until: Some(DATE + 9 * DAY) };
    assert_eq!(policy.second_factor(&nobody(), NOON), grace);
    let with = Facts { has_second_factor: true, ..nobody() };
    assert_eq!(policy.second_factor(&with, NOON), Requirement::AskFactor);
    assert_eq!(policy.second_factor(&Facts { satisfied: true, ..with }, NOON), Requirement::Satisfied);
}

#[test]
fn the_date_is_the_first_moment() {
    let policy = requiring(Some(DATE), 0, 0);
    let decide = |now| policy.second_factor(&nobody(), now);
    assert_eq!(decide(i64::MIN), Requirement::NotRequired);
    assert_eq!(decide(DATE - 1), Requirement::NotRequired);
    assert_eq!(decide(DATE), Requirement::Enrol);
    assert_eq!(decide(i64::MAX), Requirement::Enrol);
    let since_ever = requiring(None, 0, 0);
    assert_eq!(since_ever.second_factor(&nobody(), i64::MIN), Requirement::Enrol);
}

#[test]
fn the_table_of_graces() {
    let week = 7 * DAY;
    let table = [
        // Date, grace logins and days; logins so far, first asked, now; what is left.
        (Some(DATE), 0, 0, 1, None, DATE, None),
        (Some(DATE), 0, 0, 1, Some(NOON), NOON, None),
        // Logins alone, however long ago the date is.
        (Some(DATE), 3, 0, 1, None, DATE, Some((Some(2), None))),
        (Some(DATE), 3, 0, 2, None, i64::MAX, Some((Some(1), None))),
        (Some(DATE), 3, 0, 3, None, DATE, Some((Some(0), None))),
        (Some(DATE), 3, 0, 4, None, DATE, None),
        (Some(DATE), 3, 0, i64::MAX, None, DATE, None),
        (Some(DATE), 1, 0, 1, None, DATE, Some((Some(0), None))),
        (Some(DATE), 1, 0, 2, None, DATE, None),
        (None, 3, 0, 3, None, NOON, Some((Some(0), None))),
        (None, 3, 0, 4, Some(NOON), NOON, None),
        // Whatever was counted, this is one.
        (Some(DATE), 3, 0, 0, None, DATE, Some((Some(2), None))),
        (Some(DATE), 3, 0, i64::MIN, None, DATE, Some((Some(2), None))),
        // Days alone, however often.
        (Some(DATE), 0, 7, i64::MAX, None, DATE, Some((None, Some(DATE + week)))),
        (Some(DATE), 0, 7, 1, None, DATE + week - 1, Some((None, Some(DATE + week)))),
        (Some(DATE), 0, 7, 1, None, DATE + week, None),
        (Some(DATE), 0, 7, 1, None, i64::MAX, None),
        // From when it was first asked of them, if that is later.
        (Some(DATE), 0, 7, 1, Some(NOON), NOON, Some((None, Some(NOON + week)))),
        (Some(DATE), 0, 7, 1, Some(NOON), NOON + week - 1, Some((None, Some(NOON + week)))),
        (Some(DATE), 0, 7, 1, Some(NOON), NOON + week, None),
        (Some(DATE), 0, 7, 1, Some(DATE - week), DATE, Some((None, Some(DATE + week)))),
        (Some(DATE), 0, 7, 1, Some(i64::MIN), DATE + week, None),
        // What is yet to come was not before.
        (Some(DATE), 0, 7, 1, Some(NOON + 1), NOON, Some((None, Some(DATE + week)))),
        (Some(DATE), 0, 7, 1, Some(i64::MAX), DATE + week, None),
        // Without a date.
        (None, 0, 7, 1, None, NOON, None),
        (None, 0, 7, 1, Some(NOON), NOON, Some((None, Some(NOON + week)))),
        (None, 0, 7, 1, Some(NOON), NOON + week - 1, Some((None, Some(NOON + week)))),
        (None, 0, 7, 1, Some(NOON), NOON + week, None),
        (None, 0, 7, 1, Some(NOON + 1), NOON, None),
        (None, 3, 7, 1, None, NOON, None),
        (None, 3, 7, 1, Some(NOON), NOON, Some((Some(2), Some(NOON + week)))),
        // Both: whichever ends first.
        (Some(DATE), 3, 7, 1, None, DATE, Some((Some(2), Some(DATE + week)))),
        (Some(DATE), 3, 7, 3, None, DATE + week - 1, Some((Some(0), Some(DATE + week)))),
        (Some(DATE), 3, 7, 4, None, DATE, None),
        (Some(DATE), 3, 7, 1, None, DATE + week, None),
        (Some(DATE), 1000, 365, 1000, None, DATE + 365 * DAY - 1, Some((Some(0), Some(DATE + 365 * DAY)))),
        (Some(DATE), 1000, 365, 1001, None, DATE + 365 * DAY - 1, None),
        (Some(DATE), 1000, 365, 1000, None, DATE + 365 * DAY, None),
        // Nothing overflows.
        (Some(LAST), 0, 365, 1, Some(i64::MAX), i64::MAX, None),
        (None, 0, 365, 1, Some(i64::MAX - 1), i64::MAX - 1, Some((None, Some(i64::MAX)))),
        (None, 0, 365, 1, Some(i64::MIN), i64::MIN, Some((None, Some(i64::MIN + 365 * DAY)))),
    ];
    for (row, (date, logins, days, count, first_required_at, now, left)) in table.into_iter().enumerate() {
        let facts = Facts { logins_since_enforcement: count, first_required_at, ..nobody() };
        let expected = left.map(|(logins_left, until)| Requirement::Grace { logins_left, until });
        let decision = requiring(date, logins, days).second_factor(&facts, now);
        assert_eq!(decision, expected.unwrap_or(Requirement::Enrol), "row {row}");
    }
}

#[test]
fn restrictions_are_those_of_the_policy() {
    use IpRefusal::{Blocked, NotAllowed, UnknownAddress};
    let lists = |enabled: bool| {
        parse(json!({"ipRestrictions": {
            "enabled": enabled,
            "allowedIPs": ["192.0.2.1", "2001:DB8::1"],
            "allowedRanges": ["10.0.0.0/8", "::ffff:172.16.0.0/108", "2001:db8:1::/48"],
            "blockList": ["10.6.6.6", "10.7.0.0/16", "2001:db8:1:bad::/64", "192.0.2.1/32"],
        }}))
    };
    for (ip, expected) in [
        (Some("10.1.2.3"), Ok(())),
        (Some("::ffff:10.1.2.3"), Ok(())),
        (Some("172.31.255.255"), Ok(())),
        (Some("172.32.0.0"), Err(NotAllowed)),
        (Some("2001:db8:0::1"), Ok(())),
        (Some("2001:db8::2"), Err(NotAllowed)),
        (Some("2001:DB8:1:2::"), Ok(())),
        (Some("2001:db8:1:BAD::5"), Err(Blocked)),
        (Some("192.0.2.1"), Err(Blocked)),
        (Some("10.6.6.6"), Err(Blocked)),
        (Some("::ffff:a06:606"), Err(Blocked)),
        (Some("10.7.255.255"), Err(Blocked)),
        (Some("10.8.0.0"), Ok(())),
        (Some("64:ff9b::10.1.2.3"), Err(NotAllowed)),
        (Some(""), Err(UnknownAddress)),
        (Some("10.1.2.3 "), Err(UnknownAddress)),
        (None, Err(UnknownAddress)),
    ] {
        assert_eq!(lists(true).admits(ip), expected, "{ip:?}");
        assert_eq!(lists(false).admits(ip), Ok(()), "{ip:?}");
    }
    let blocking = |list: &[&str]| parse(json!({"ipRestrictions": {"enabled": true, "blockList": list}}));
    assert_eq!(blocking(&[]).admits(Some("10.0.0.1")), Ok(()));
    assert_eq!(blocking(&[]).admits(None), Err(UnknownAddress));
    assert_eq!(blocking(&["10.0.0.1"]).admits(Some("10.0.0.1")), Err(Blocked));
    assert_eq!(blocking(&["10.0.0.1"]).admits(Some("10.0.0.2")), Ok(()));
}

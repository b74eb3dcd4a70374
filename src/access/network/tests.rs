//! Addresses in every notation, against every list.

use crate::access::network::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn addresses_are_read_exactly() {
    for (text, canonical) in [
        ("10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("::", "::"),
        ("::1", "::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("2001:0db8:0000:0000:0000:0000:0000:000a", "2001:db8::a"),
        ("2001:db8:0:0:0::a", "2001:db8::a"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:1", "10.0.0.1"),
        ("0:0:0:0:0:ffff:0a00:0001", "10.0.0.1"),
        ("::ffff:0.0.0.0", "0.0.0.0"),
        // Near the mapped ones, and none of them.
        ("::10.0.0.1", "::a00:1"),
        ("::ffff:0:10.0.0.1", "::ffff:0:a00:1"),
        ("::fffe:10.0.0.1", "::fffe:a00:1"),
        ("1::ffff:10.0.0.1", "1::ffff:a00:1"),
        ("64:ff9b::10.0.0.1", "64:ff9b::a00:1"),
        ("2002:a00:1::", "2002:a00:1::"),
    ] {
        assert_eq!(address(text).map(|ip| ip.to_string()), Ok(canonical.to_owned()), "{text}");
        assert_eq!(Network::parse(text).map(|network| network.shortest()), Ok(canonical.to_owned()), "{text}");
    }
}

/// What no part of a list may be, as address or before a slash.
const NO_ADDRESSES: &[&str] = &[
    "",
    " ",
    "localhost",
    "10",
    "10.0.0",
    "10.0.0.",
    ".10.0.0.1",
    "10.0.0.0.1",
    "10.0.0.256",
    "10.0.0.-1",
    "10.0.0.+1",
    "10.0.0.0x1",
    "10.0.0.01",
    "010.0.0.1",
    "10.0.00.1",
    "10.0.0.1 ",
    " 10.0.0.1",
    "10.0.0.1\n",
    "10.0.0.1\0",
    "10.0.0.1:80",
    "10.0.0.1%eth0",
    "10.0.0.1,10.0.0.2",
    "10.0.0.1-10.0.0.9",
    "10.0.0.*",
    "167772161",
    "0x0a000001",
    "１0.0.0.1",
    "[::1]",
    "[::1]:80",
    "::1%eth0",
    "fe80::1%25eth0",
    "::1 ",
    ":::",
    ":",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "12345::",
    "g::",
    "::ffff:10.0.0.01",
    "::ffff:010.0.0.1",
    "::ffff:10.0.0.256",
    "::ffff:10.0.0",
    "::ffff:10.0.0.1:80",
];

#[test]
fn what_is_no_address_is_none_in_a_range_either() {
    for text in NO_ADDRESSES {
        assert_eq!(address(text), Err(Malformed::Address), "{text:?}");
        assert_eq!(Network::parse(text), Err(Malformed::Address), "{text:?}");
        for length in ["0", "8", "32", "128"] {
            assert_eq!(Network::parse(&format!("{text}/{length}")), Err(Malformed::Network), "{text:?}");
        }
    }
    for text in ["10.0.0.0/8", "::/0"] {
        assert_eq!(address(text), Err(Malformed::Address), "{text}");
    }
}

#[test]
fn a_prefix_length_is_a_decimal_number_in_range() {
    let lengths = ["", " ", "33", "129", "255", "256", "99999999999", "-1", "+8", "08", "00", "000", "8 ", " 8"];
    let more = ["8/8", "/8", "0x8", "8.0", "255.0.0.0", "1e1", "８", "8\n", "24:80"];
    for length in lengths.into_iter().chain(more) {
        assert_eq!(Network::parse(&format!("0.0.0.0/{length}")), Err(Malformed::Network), "{length:?}");
        let is_v6 = length == "33";
        assert_eq!(Network::parse(&format!("::/{length}")).is_ok(), is_v6, "{length:?}");
    }
    for length in 0..=255_u8 {
        assert_eq!(Network::parse(&format!("0.0.0.0/{length}")).is_ok(), length <= 32, "{length}");
        assert_eq!(Network::parse(&format!("::/{length}")).is_ok(), length <= 128, "{length}");
    }
}

#[test]
fn ranges_are_kept_as_written_or_refused() {
    use Malformed::{HostBits, Mapped, Network as NoNetwork};
    for (text, expected) in [
        ("10.0.0.0/8", Ok("10.0.0.0/8")),
        ("10.0.0.1/32", Ok("10.0.0.1/32")),
        ("0.0.0.0/0", Ok("0.0.0.0/0")),
        ("::/0", Ok("::/0")),
        ("128.0.0.0/1", Ok("128.0.0.0/1")),
        ("2001:DB8::/32", Ok("2001:db8::/32")),
        ("2001:db8::1/128", Ok("2001:db8::1/128")),
        ("10.0.0.0", Err(NoNetwork)),
        ("::1", Err(NoNetwork)),
        ("/", Err(NoNetwork)),
        ("10.0.0.1/33", Err(NoNetwork)),
        ("10.0.0.1/8", Err(HostBits)),
        ("10.0.0.1/31", Err(HostBits)),
        ("1.0.0.0/0", Err(HostBits)),
        ("0.0.0.1/0", Err(HostBits)),
        ("2001:db8::1/32", Err(HostBits)),
        ("2001:db8::1/127", Err(HostBits)),
        ("::1/0", Err(HostBits)),
        // Mapped.
        ("::ffff:10.0.0.0/104", Ok("10.0.0.0/8")),
        ("::FFFF:a00:0/104", Ok("10.0.0.0/8")),
        ("::ffff:10.0.0.1/128", Ok("10.0.0.1/32")),
        ("::ffff:0:0/96", Ok("0.0.0.0/0")),
        ("::ffff:0.0.0.0/96", Ok("0.0.0.0/0")),
        ("::ffff:10.0.0.1/104", Err(HostBits)),
        ("::ffff:10.0.0.0/96", Err(HostBits)),
        ("::ffff:10.0.0.0/129", Err(NoNetwork)),
        ("::ffff:10.0.0.0/95", Err(Mapped)),
        ("::ffff:0:0/95", Err(Mapped)),
        ("::ffff:10.0.0.0/8", Err(Mapped)),
        ("::ffff:0:0/0", Err(Mapped)),
        // Around them.
        ("::fffe:0:0/95", Err(Mapped)),
        ("::8000:0:0/81", Err(Mapped)),
        ("::fffc:0:0/94", Err(Mapped)),
        ("::fffe:0:0/96", Ok("::fffe:0:0/96")),
        ("::/80", Ok("::/80")),
        ("64:ff9b::/96", Ok("64:ff9b::/96")),
    ] {
        assert_eq!(Network::range(text).map(|network| network.to_string()), expected.map(str::to_owned), "{text}");
    }
}

#[test]
fn what_is_in_a_range() {
    for (range, inside, outside) in [
        ("10.0.0.0/8", "10.0.0.0 10.255.255.255 ::ffff:10.0.0.1 ::FFFF:A00:1", "9.255.255.255 11.0.0.0"),
        ("10.0.0.0/8", "10.1.2.3", "::10.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a00:1 2002:a00:1:: ::ffff:11.0.0.0"),
        ("10.0.0.1/32", "10.0.0.1 ::ffff:10.0.0.1", "10.0.0.0 10.0.0.2 ::1"),
        ("10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1", "10.0.0.0 10.0.0.2 ::10.0.0.1"),
        ("10.0.0.2/31", "10.0.0.2 10.0.0.3", "10.0.0.1 10.0.0.4"),
        ("0.0.0.0/0", "0.0.0.0 255.255.255.255 ::ffff:1.2.3.4", ":: ::1 2001:db8::1 ::1.2.3.4"),
        ("::/0", ":: ::1 2001:db8::1 ffff::ffff ::1.2.3.4", "0.0.0.0 1.2.3.4 ::ffff:1.2.3.4"),
        ("::ffff:0:0/96", "1.2.3.4 ::ffff:1.2.3.4", "::1.2.3.4"),
        ("::ffff:10.0.0.0/104", "10.9.9.9 ::ffff:10.9.9.9", "11.0.0.0"),
        ("2001:db8::/32", "2001:DB8:FFFF::1 2001:0db8::", "2001:db9:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8::1/128", "2001:db8::1 2001:db8:0:0:0:0:0:1", "2001:db8:: 2001:db8::2"),
        ("2001:db8::8/125", "2001:db8::8 2001:db8::f", "2001:db8::7 2001:db8::10"),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1"),
    ] {
        let network = Network::parse(range).expect(range);
        for text in inside.split(' ') {
            assert!(network.contains(ip(text)), "{text} in {range}");
        }
        for text in outside.split(' ') {
            assert!(!network.contains(ip(text)), "{text} not in {range}");
        }
    }
}

fn restrictions(enabled: bool, ips: &[&str], ranges: &[&str], blocked: &[&str]) -> IpRestrictions {
    IpRestrictions {
        enabled,
        allowed_ips: ips.iter().map(|text| address(text).expect(text)).collect(),
        allowed_ranges: ranges.iter().map(|text| Network::range(text).expect(text)).collect(),
        block_list: blocked.iter().map(|text| Network::parse(text).expect(text)).collect(),
    }
}

#[test]
fn the_table_of_restrictions() {
    use IpRefusal::{Blocked, NotAllowed, UnknownAddress};
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a str, Result<(), IpRefusal>);
    let table: &[Case<'_>] = &[
        (&[], &[], &[], "1.2.3.4", Ok(())),
        (&[], &[], &[], "2001:db8::1", Ok(())),
        (&[], &[], &["1.2.3.4"], "1.2.3.4", Err(Blocked)),
        (&[], &[], &["1.2.3.4"], "1.2.3.5", Ok(())),
        (&[], &[], &["1.2.3.4"], "::ffff:1.2.3.4", Err(Blocked)),
        (&[], &[], &["::ffff:1.2.3.4"], "1.2.3.4", Err(Blocked)),
        (&[], &[], &["0.0.0.0/0", "::/0"], "1.2.3.4", Err(Blocked)),
        (&[], &[], &["0.0.0.0/0", "::/0"], "::1", Err(Blocked)),
        (&[], &[], &["::/0"], "::ffff:1.2.3.4", Ok(())),
        (&["1.2.3.4"], &[], &[], "1.2.3.4", Ok(())),
        (&["1.2.3.4"], &[], &[], "::ffff:1.2.3.4", Ok(())),
        (&["::ffff:1.2.3.4"], &[], &[], "1.2.3.4", Ok(())),
        (&["1.2.3.4"], &[], &[], "1.2.3.5", Err(NotAllowed)),
        (&["2001:db8::A"], &[], &[], "2001:DB8:0::a", Ok(())),
        (&["1.2.3.4"], &["10.0.0.0/8"], &[], "10.9.9.9", Ok(())),
        (&["1.2.3.4"], &["10.0.0.0/8"], &[], "1.2.3.4", Ok(())),
        (&["1.2.3.4"], &["10.0.0.0/8"], &[], "11.0.0.0", Err(NotAllowed)),
        (&[], &["10.0.0.0/8"], &[], "1.2.3.4", Err(NotAllowed)),
        (&[], &["0.0.0.0/0"], &[], "::1", Err(NotAllowed)),
        (&[], &["::/0"], &[], "1.2.3.4", Err(NotAllowed)),
        // The block list wins over both, and is said even to whom no list allows.
        (&["1.2.3.4"], &[], &["1.2.3.4"], "1.2.3.4", Err(Blocked)),
        (&["1.2.3.4"], &["1.2.3.4/32"], &["1.0.0.0/8"], "1.2.3.4", Err(Blocked)),
        (&[], &["10.0.0.0/8"], &["10.0.0.0/24"], "10.0.0.1", Err(Blocked)),
        (&[], &["10.0.0.0/8"], &["10.0.0.0/24"], "10.0.1.0", Ok(())),
        (&[], &["10.0.0.0/8"], &["1.2.3.4"], "1.2.3.4", Err(Blocked)),
        // Nothing of what cannot be read is let in, least of all where everybody is.
        (&[], &[], &[], "", Err(UnknownAddress)),
        (&[], &[], &[], "unknown", Err(UnknownAddress)),
        (&[], &[], &[], "1.2.3.4, 5.6.7.8", Err(UnknownAddress)),
        (&[], &[], &[], " 1.2.3.4", Err(UnknownAddress)),
        (&["1.2.3.4"], &[], &[], "1.2.3.4:443", Err(UnknownAddress)),
        (&[], &["fe80::/10"], &[], "fe80::1%eth0", Err(UnknownAddress)),
        (&[], &["0.0.0.0/0"], &[], "1.2.3.04", Err(UnknownAddress)),
        (&[], &["0.0.0.0/0"], &[], "1.2.3.4/32", Err(UnknownAddress)),
    ];
    for (row, (ips, ranges, blocked, client, expected)) in table.iter().enumerate() {
        let on = restrictions(true, ips, ranges, blocked);
        assert_eq!(on.admits(Some(client)), *expected, "row {row}");
        assert_eq!(on.admits(None), Err(UnknownAddress), "row {row}");
        let off = restrictions(false, ips, ranges, blocked);
        assert_eq!((off.admits(Some(client)), off.admits(None)), (Ok(()), Ok(())), "row {row}");
    }
}

#[test]
fn refusals_have_names_of_their_own() {
    let names = [IpRefusal::Blocked, IpRefusal::NotAllowed, IpRefusal::UnknownAddress].map(IpRefusal::as_str);
    assert_eq!(names, ["ip_blocked", "ip_not_allowed", "ip_unknown"]);
}

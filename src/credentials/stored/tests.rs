use crate::credentials::stored::StoredHashError::{Malformed, Refused, Unknown};
use crate::credentials::stored::*;

const HORSE: &str = "correct horse";

const UNICODE: &str = "Gr\u{fc}\u{df}e, \u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c} \u{5bc6}\u{7801}";

/// Made by other software, and what it hashed.
const FOREIGN: &[(&str, &str)] = &[
    // The README of the reference implementation of Argon2, and its test.c for version 0x10.
    ("$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG", "password"),
    ("$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ", "password"),
    ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"),
    // argon2-cffi 25.1.
    ("$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$0AuQxA+RjPiJeA19Op7DwrFxnfh9xeTU2T6mFj2wThc", HORSE),
    ("$argon2id$v=19$m=65536,t=3,p=4$AAECAwQFBgcICQoLDA0ODw$4FGmSpphoWuoB6l4wkJZ8Zry6leXASbQK3AmmJbj+xI", UNICODE),
    ("$argon2id$v=16$m=1024,t=1,p=16$AAECAwQFBgcICQoLDA0ODw$TeEHMUacE8Ja1UYyY1+VUg", HORSE),
    (
        "$argon2i$v=19$m=4096,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$\
         a3iPjwhym7l0ScDDbRaA8b5gETmniJwFyClvpeUb5zq8s+BR1cpR9KcSOkTe+ljJweLE8MxdUNIvePKnNgOlfg",
        HORSE,
    ),
    ("$argon2i$v=16$m=4096,t=3,p=2$AAECAwQFBgcICQoLDA0ODw$2VSY09mZWK19sWERHnlCP1eORdJ8p6XeWMHGCRrMRog", HORSE),
    ("$argon2id$v=19$m=64,t=16,p=1$AAECAwQFBgcICQoLDA0ODw$ULzWkcOFPhPYk4IUPI0/qN3/yOBuW65fN3P0d641Np4", ""),
    // The tests of jBCrypt.
    ("$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", ""),
    ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
    ("$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.", "abcdefghijklmnopqrstuvwxyz"),
    // PHP's manual.
    ("$2y$07$BCryptRequires22Chrcte/VlQH0piJtjXl.0t1XkA8pw9dMXTpOq", "rasmuslerdorf"),
    // bcrypt 5.0 for Python; the 2y is libxcrypt's.
    ("$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", HORSE),
    ("$2b$10$KssILxWNR6k62B7yiX0GA.DaoUoBHrx1Gv//KaF06vrB.aDLpOIPq", UNICODE),
    ("$2y$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu", HORSE),
    // better-auth 1's hashPassword, and crypto.scryptSync of Node.
    (
        "8deb2394605befa28a9b6db497c1c991:68280871f20a47e4cd28e48961864d00aa7421f12ddb20b5134d7bdc35137cb\
         ff831f1bae655f101d300f7bd0c7caf138bb04a09fed946fd16e09ad98e0f9515",
        HORSE,
    ),
    (
        "f40a22aa35b5fd9dcc388ec9e9a10d2a:22674a4efb6b32e127a06c1e32d74705a1b1207e23ef8138960ad4bfa8f61ffc\
         74261e23a715228cdad104c0e26240077e32bc14674ba60f98f23f8d5cc13622",
        UNICODE,
    ),
    // Of "A\u{30a}ngstrom \u{fb01}", which it brought into NFKC.
    (
        "033c2c7c5e074dcda9addfcd25f308be:505584933a162a3504799679cd4411f8eea8e2faece41f303a5f593d1affa959\
         7027949af8957b75a38544e8984ff0810204df42bf381262289f10e657b2f25c",
        "\u{c5}ngstrom fi",
    ),
    (
        "0123456789abcdef:7a5e3267ca465316a42a96367d9d4e662540286da25b64071eb257a9d0c6f1d7014806178fe17db8\
         363cb9d0e471b70b2395def155de3f2dc16de00ce4002859",
        HORSE,
    ),
    // Django 5.2's make_password, and hashlib of Python.
    ("pbkdf2_sha256$1000000$nacl0123456789ABCDEFGH$919sTq6QwP7FpvbVOMnH6OI5bkNTnwfls5cSy+jIVD0=", HORSE),
    ("pbkdf2_sha256$36000$saltsalt$3GHTfJibQPBQatcSEYIVDOLM97QV/Nh9zpvxLfokBbc=", UNICODE),
    ("pbkdf2_sha256$1$seasalt$PlTOJ9FOrJT8jStMtfSdF0DuEKRYssXx5nkDdoxkYVw=", HORSE),
];

const PEPPERED: &str =
    "$doorward-pbkdf2$i=100000,k=aB-_0189$AAECAwQFBgcICQoLDA0ODw$__________________________________________8";

fn verify(stored: &str, password: &str) -> bool {
    StoredHash::parse(stored).expect(stored).verify(password.as_bytes()).expect("verify")
}

#[test]
fn what_others_hashed_verifies_with_its_password_only() {
    for (stored, password) in FOREIGN {
        assert!(verify(stored, password), "{stored}");
        assert!(!verify(stored, "correct horsf"), "{stored}");
    }
}

#[test]
fn another_hash_or_salt_is_another_password() {
    for (stored, password) in
        FOREIGN.iter().filter(|(stored, _)| !stored.contains("65536") && !stored.contains("00000"))
    {
        // The first digit of the hash, of which the last bits are always used, and one of the salt.
        let hash = stored.rfind(['$', ':']).map_or(0, |at| if stored.starts_with("$2") { at + 23 } else { at + 1 });
        let salt = if stored.starts_with("$2") { hash - 20 } else { hash - 4 };
        for at in [hash, salt] {
            let other = if &stored[at..=at] == "1" { "2" } else { "1" };
            let changed = format!("{}{other}{}", &stored[..at], &stored[at + 1..]);
            assert!(!verify(&changed, password), "{changed}");
        }
    }
}

#[test]
fn bcrypt_uses_72_bytes_and_no_nul() {
    let used = "0123456789".repeat(7) + "ab";
    // bcrypt 5.0 for Python, of 72 and of 71 bytes.
    let stored = "$2b$04$KssILxWNR6k62B7yiX0GA.9uSlblgbkrN8c7ZO6YJneX67jU0MOMa";
    let shorter = "$2b$04$KssILxWNR6k62B7yiX0GA.Be/GeCTdOY21LRqYrhTm5bBCQlsUmxm";
    assert!(verify(stored, &used) && verify(stored, &(used.clone() + " and more")));
    assert!(!verify(stored, &used[..71]));
    assert!(verify(shorter, &used[..71]) && !verify(shorter, &used));
    // The tests of crypt_blowfish.
    let password = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored";
    assert!(verify("$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui", password));

    let empty = "$2b$04$KssILxWNR6k62B7yiX0GA.MctINMeSIztT8gjL68eSJUDK8PcLpnC";
    assert!(verify(empty, ""));
    assert!(!verify(empty, "\0") && !verify(empty, "\0anything"));
    assert!(!verify(stored, &(used + "\0")));
}

const SALT: &str = "AAECAwQFBgcICQoLDA0ODw";

const HASH: &str = "0AuQxA+RjPiJeA19Op7DwrFxnfh9xeTU2T6mFj2wThc";

const HEX: &str = "8deb2394605befa28a9b6db497c1c991";

/// Each text is refused with its error, and the error quotes nothing. Nothing is hashed in finding out: these
/// tests would run for hours.
fn refused<T: Into<String>>(table: impl IntoIterator<Item = (T, StoredHashError)>) {
    for (text, error) in table {
        let text = text.into();
        assert_eq!(StoredHash::parse(&text).expect_err(&text), error, "{text}");
        let said = error.to_string();
        assert!(!said.is_empty() && [SALT, HASH, HEX].iter().all(|quoted| !said.contains(quoted)), "{said}");
    }
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        "correct horse",
        "$",
        "$$$$",
        "$1$abcdefgh$0123456789",
        "$2z$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$scrypt$ln=14,r=16,p=1$AAAA$AAAA",
        "$ARGON2ID$v=19$m=8,t=1,p=1$AAAA$AAAA",
        " $argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA",
        "argon2$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA",
        "pbkdf2_sha1$1$salt$hash",
        "$pbkdf2_sha256$1$salt$hash",
        "5f4dcc3b5aa765d61d8327deb882cf99",
    ] {
        refused([(text, Unknown)]);
    }
    refused([("9".repeat(100_000), Unknown), (format!("pbkdf2_sha256$1${}$", "x".repeat(LONGEST)), Unknown)]);
}

#[test]
fn argon2_that_is_malformed_or_asks_too_much_is_refused() {
    const D: StoredHashError = Refused("argon2d, whose memory accesses tell of the password");
    const VERSION: StoredHashError = Refused("argon2 of a version other than 16 and 19");
    let end = format!("{SALT}${HASH}");
    let start = "$argon2id$v=19$m=19456,t=2,p=1";
    refused([
        (format!("$argon2d$v=19$m=19456,t=2,p=1${end}"), D),
        (format!("$argon2id$v=20$m=19456,t=2,p=1${end}"), VERSION),
        (format!("$argon2id$v=$m=19456,t=2,p=1${end}"), VERSION),
        ("$argon2id$v=19".to_owned(), Malformed("argon2")),
        (start.to_owned(), Malformed("argon2")),
        (format!("{start}${SALT}"), Malformed("argon2")),
        (format!("{start}${end}$"), Malformed("argon2")),
        (format!("{start}$!${HASH}"), Malformed("argon2: salt")),
        (format!("{start}${SALT}==${HASH}"), Malformed("argon2: salt")),
        (format!("{start}$AAAAAAAAAA${HASH}"), ARGON2_SALT.error()),
        (format!("{start}${}${HASH}", "A".repeat(87)), ARGON2_SALT.error()),
        (format!("{start}${SALT}${HASH}="), Malformed("argon2: hash")),
        (format!("{start}${SALT}${}", &HASH[..20]), ARGON2_OUTPUT.error()),
        (format!("{start}${SALT}$"), ARGON2_OUTPUT.error()),
        (format!("{start}${SALT}${}", "A".repeat(87)), ARGON2_OUTPUT.error()),
    ]);
    for (params, error) in [
        ("", Malformed("argon2: parameters")),
        ("m=19456,t=2", Malformed("argon2: parameters")),
        ("m=19456,t=2,p=1,keyid=AAAA", Malformed("argon2: parameters")),
        ("t=2,m=19456,p=1", Malformed("argon2: m")),
        ("m=-1,t=2,p=1", Malformed("argon2: m")),
        ("m=019456,t=2,p=1", Malformed("argon2: m")),
        ("m=,t=2,p=1", Malformed("argon2: m")),
        ("m=19456,t=2 ,p=1", Malformed("argon2: t")),
        ("m=19456,t=2,p=+1", Malformed("argon2: p")),
        ("m=65537,t=1,p=1", ARGON2_MEMORY.error()),
        ("m=4294967295,t=1,p=1", ARGON2_MEMORY.error()),
        ("m=99999999999999999999999,t=1,p=1", ARGON2_MEMORY.error()),
        ("m=7,t=1,p=1", ARGON2_MEMORY.error()),
        ("m=127,t=1,p=16", Bounds { least: 128, ..ARGON2_MEMORY }.error()),
        ("m=19456,t=17,p=1", ARGON2_PASSES.error()),
        ("m=8,t=4294967295,p=1", ARGON2_PASSES.error()),
        ("m=19456,t=0,p=1", ARGON2_PASSES.error()),
        ("m=19456,t=2,p=17", ARGON2_LANES.error()),
        ("m=19456,t=2,p=0", ARGON2_LANES.error()),
        ("m=19456,t=2,p=4294967296", ARGON2_LANES.error()),
    ] {
        refused([(format!("$argon2id$v=19${params}${end}"), error.clone())]);
        refused([(format!("$argon2i${params}${end}"), error)]);
    }
}

#[test]
fn bcrypt_that_is_malformed_or_asks_too_much_is_refused() {
    const OLD: StoredHashError = Refused("bcrypt 2 and 2x, which hash otherwise");
    let end = "abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
    refused([(format!("$2$04${end}"), OLD), (format!("$2x$04${end}"), OLD)]);
    for cost in ["00", "03", "15", "31", "99"] {
        refused([(format!("$2b${cost}${end}"), BCRYPT_COST.error())]);
    }
    for cost in ["", "4", "004", "4 ", "+4", "0x", "1e"] {
        refused([(format!("$2a${cost}${end}"), Malformed("bcrypt: cost"))]);
    }
    for (rest, what) in [
        ("", "bcrypt"),
        ("abcdefghijklmnopqrstu", "bcrypt"),
        ("abcdefghijklmnopqrstu\u{e9}", "bcrypt"),
        ("abcdefghijklmnopqrst\u{e9}jydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "bcrypt: salt"),
        // Two bits of a salt's last digit are used, and four of a hash's: no implementation sets the others.
        ("abcdefghijklmnopqrstuvjydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "bcrypt: salt"),
        ("abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6f", "bcrypt: hash"),
        ("abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6", "bcrypt: hash"),
        ("abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e$", "bcrypt: hash"),
        ("abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6eA", "bcrypt: hash"),
        ("abcdefghijklmnopqrstuujydOTSfIH+d5oUHpsygqV5X9xJLQc6e", "bcrypt: hash"),
    ] {
        refused([(format!("$2b$04${rest}"), Malformed(what))]);
    }
    refused([("$2b$04", Malformed("bcrypt")), ("$2b$", Malformed("bcrypt"))]);
}

#[test]
fn scrypt_that_is_malformed_is_refused() {
    let hash = HEX.repeat(4);
    refused([
        (":".to_owned(), SCRYPT_SALT.error()),
        (format!(":{hash}"), SCRYPT_SALT.error()),
        (format!("{}:{hash}", &HEX[..15]), SCRYPT_SALT.error()),
        (format!("{hash}0:{hash}"), SCRYPT_SALT.error()),
        (format!("{}:{hash}", HEX.to_uppercase()), Malformed("scrypt: salt")),
        (format!("{HEX}g:{hash}"), Malformed("scrypt: salt")),
        (format!("{HEX}:{}", hash.to_uppercase()), Malformed("scrypt: hash")),
        (format!("{HEX}:{}", &hash[2..]), Malformed("scrypt: hash")),
        (format!("{HEX}:{}", &hash[1..]), Malformed("scrypt: hash")),
        (format!("{HEX}:{}\u{e9}", &hash[2..]), Malformed("scrypt: hash")),
        (format!("{HEX}:{hash}00"), Malformed("scrypt: hash")),
        (format!("{HEX}:{hash}:"), Malformed("scrypt: hash")),
        (format!("{HEX}:"), Malformed("scrypt: hash")),
    ]);
}

#[test]
fn pbkdf2_that_is_malformed_or_asks_too_much_is_refused() {
    for (rest, error) in [
        (format!("2000001$salt${HASH}="), DJANGO_ITERATIONS.error()),
        (format!("99999999999$salt${HASH}="), DJANGO_ITERATIONS.error()),
        (format!("0$salt${HASH}="), DJANGO_ITERATIONS.error()),
        (format!("$salt${HASH}="), Malformed("pbkdf2_sha256: iterations")),
        (format!("1e5$salt${HASH}="), Malformed("pbkdf2_sha256: iterations")),
        (format!("1$${HASH}="), DJANGO_SALT.error()),
        (format!("1${}${HASH}=", "x".repeat(129)), DJANGO_SALT.error()),
        (format!("1$salt${HASH}"), Malformed("pbkdf2_sha256: hash")),
        (format!("1$salt${}==", &HASH[..42]), Malformed("pbkdf2_sha256: hash")),
        ("1$salt$".to_owned(), Malformed("pbkdf2_sha256: hash")),
        ("1$salt".to_owned(), Malformed("pbkdf2_sha256")),
        (format!("1$sa$lt${HASH}="), Malformed("pbkdf2_sha256")),
    ] {
        refused([(format!("pbkdf2_sha256${rest}"), error)]);
    }
    let hash = "__________________________________________8";
    for (rest, error) in [
        (format!("i=100001,k=x${SALT}${hash}"), PEPPERED_ITERATIONS.error()),
        (format!("i=0,k=x${SALT}${hash}"), PEPPERED_ITERATIONS.error()),
        (format!("i=100000,k=${SALT}${hash}"), PEPPERED_KEY_ID.error()),
        (format!("i=100000,k={}${SALT}${hash}", "x".repeat(33)), PEPPERED_KEY_ID.error()),
        (format!("i=100000,k=x.y${SALT}${hash}"), Malformed("doorward-pbkdf2: k")),
        (format!("k=x,i=100000${SALT}${hash}"), Malformed("doorward-pbkdf2: i")),
        (format!("i=100000${SALT}${hash}"), Malformed("doorward-pbkdf2: parameters")),
        (format!("i=100000,k=x${SALT}AA${hash}"), Malformed("doorward-pbkdf2: salt")),
        (format!("i=100000,k=x${SALT}${hash}="), Malformed("doorward-pbkdf2: hash")),
        (format!("i=100000,k=x${SALT}${HASH}"), Malformed("doorward-pbkdf2: hash")),
        (format!("i=100000,k=x${SALT}"), Malformed("doorward-pbkdf2")),
    ] {
        refused([(format!("$doorward-pbkdf2${rest}"), error)]);
    }
}

#[test]
fn the_most_that_is_accepted_is_read() {
    for text in [
        format!("$argon2id$v=19$m=65536,t=16,p=16${}${}", "A".repeat(86), "A".repeat(86)),
        format!("$argon2i$v=16$m=8,t=1,p=1${}${}", "A".repeat(11), "A".repeat(22)),
        "$2b$14$KssILxWNR6k62B7yiX0GA.CqRJuOKRTKIwAx4nct70OPIwlYjcdNa".to_owned(),
        format!("{}:{}", "ab".repeat(64), "cd".repeat(64)),
        format!("pbkdf2_sha256$2000000${}${HASH}=", "x".repeat(128)),
        format!("$doorward-pbkdf2$i=100000,k={}${}${}", "k".repeat(32), "A".repeat(22), "A".repeat(43)),
    ] {
        assert!(StoredHash::parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn a_peppered_hash_is_read_written_and_compared_but_not_computed() {
    let stored = StoredHash::parse(PEPPERED).expect("reads");
    assert_eq!(stored.verify(b"x"), Err(StoredHashError::Elsewhere));
    let StoredHash::Peppered(hash) = stored else { panic!("{stored:?}") };
    assert_eq!((hash.iterations, hash.key_id.as_str()), (100_000, "aB-_0189"));
    assert_eq!(hash.format().expose(), PEPPERED);
    assert!(hash.matches(&[255; 32]));
    let mut other = [255; 32];
    other[31] = 254;
    assert!(!hash.matches(&other));
}

#[test]
fn all_but_the_preferred_form_is_replaced() {
    let needs = |text: &str, preferred| StoredHash::parse(text).expect(text).needs_upgrade(preferred);
    let argon2 = |algorithm: &str, version: &str, params: &str| {
        format!("${algorithm}$v={version}${params}$AAECAwQFBgcICQoLDA0ODw$0AuQxA+RjPiJeA19Op7DwrFxnfh9xeTU2T6mFj2wThc")
    };
    let preferred = Preferred::Argon2id { m: 19_456, t: 2, p: 1 };
    for good in ["m=19456,t=2,p=1", "m=65536,t=3,p=4"] {
        assert!(!needs(&argon2("argon2id", "19", good), preferred), "{good}");
    }
    for weak in ["m=19455,t=2,p=1", "m=65536,t=1,p=1"] {
        assert!(needs(&argon2("argon2id", "19", weak), preferred), "{weak}");
    }
    assert!(needs(&argon2("argon2id", "19", "m=19456,t=2,p=1"), Preferred::Argon2id { m: 19_456, t: 2, p: 2 }));
    assert!(needs(&argon2("argon2i", "19", "m=19456,t=2,p=1"), preferred));
    assert!(needs(&argon2("argon2id", "16", "m=19456,t=2,p=1"), preferred));
    assert!(needs(PEPPERED, preferred));

    assert!(!needs(PEPPERED, Preferred::Peppered { iterations: 100_000 }));
    assert!(!needs(PEPPERED, Preferred::Peppered { iterations: 50_000 }));
    assert!(needs(PEPPERED, Preferred::Peppered { iterations: 100_001 }));
    for (foreign, _) in FOREIGN {
        assert!(needs(foreign, Preferred::Peppered { iterations: 1 }), "{foreign}");
        assert!(foreign.starts_with("$argon2id$v=19") || needs(foreign, Preferred::Argon2id { m: 8, t: 1, p: 1 }));
    }
}

#[test]
fn a_hash_does_not_print() {
    for (stored, name) in [(FOREIGN[3].0, "Argon2"), (PEPPERED, "Peppered")] {
        assert_eq!(format!("{:?}", StoredHash::parse(stored).expect("reads")), name);
    }
    let StoredHash::Peppered(hash) = StoredHash::parse(PEPPERED).expect("reads") else { panic!() };
    assert_eq!(format!("{hash:?}"), r#"Peppered { iterations: 100000, key_id: "aB-_0189", .. }"#);
}

//! COSE keys that are none, and the error that each gets.

use crate::credentials::webauthn::fixture::*;
use crate::credentials::webauthn::{WebauthnError as E, *};

fn set(parameters: &mut [(i64, Vec<u8>)], label: i64, value: Vec<u8>) {
    parameters.iter_mut().find(|(other, _)| *other == label).expect("label").1 = value;
}

#[test]
fn public_keys() {
    type Parameters = Vec<(i64, Vec<u8>)>;
    let number = |length: usize| [&[0xff][..], &vec![0x55; length - 1]].concat();
    assert!(number(256)[255] % 2 == 1);
    let rsa = |n: &[u8], e: &[u8]| -> Parameters {
        vec![(1, encode::integer(3)), (3, encode::integer(-257)), (-1, encode::bytes(n)), (-2, encode::bytes(e))]
    };
    let change = |key: Key, label, value| {
        let mut parameters = key.parameters();
        set(&mut parameters, label, value);
        parameters
    };
    let add = |key: Key, label, value| [key.parameters(), vec![(label, value)]].concat();
    let e = [1, 0, 1];
    for (good, text) in [(rsa(&number(256), &e), "2048"), (rsa(&number(1024), &[1, 0, 0, 0, 1]), "8192")] {
        assert!(key::PublicKey::read(&encode::key(&good)).is_ok(), "{text}");
    }
    let (int, bytes) = (encode::integer, |bytes: &[u8]| encode::bytes(bytes));
    let table: [(Parameters, E); 33] = [
        (change(Key::es256(), 3, int(0)), E::Algorithm(0)),
        (change(Key::es256(), 3, int(-9)), E::Algorithm(-9)),
        (change(Key::es256(), 3, int(-35)), E::Algorithm(-35)),
        (change(Key::es256(), 3, int(5)), E::Algorithm(5)),
        (change(Key::rs256(), 3, int(-37)), E::Algorithm(-37)),
        (change(Key::rs256(), 3, int(-65_535)), E::Algorithm(-65_535)),
        (change(Key::es256(), 3, encode::text("none")), E::PublicKey("not an integer of 64 bits")),
        (change(Key::es256(), 3, int(-8)), E::PublicKey("not OKP")),
        (change(Key::eddsa(), 3, int(-7)), E::PublicKey("not EC2")),
        (change(Key::eddsa(), 3, int(-257)), E::PublicKey("not RSA")),
        (change(Key::es256(), 1, int(4)), E::PublicKey("not EC2")),
        (change(Key::es256(), -1, int(8)), E::PublicKey("not P-256")),
        (change(Key::eddsa(), -1, int(7)), E::PublicKey("not Ed25519")),
        (change(Key::es256(), -2, bytes(&[1; 31])), E::PublicKey("a coordinate that is not of 32 bytes")),
        (change(Key::es256(), -2, bytes(&[1; 32])), E::PublicKey("not on the curve")),
        (change(Key::es256(), -2, bytes(&[0xff; 32])), E::PublicKey("not on the curve")),
        (change(Key::es256(), -3, vec![0xf5]), E::PublicKey("not a byte string")),
        (change(Key::eddsa(), -2, bytes(&[1; 33])), E::PublicKey("a coordinate that is not of 32 bytes")),
        (change(Key::eddsa(), -2, bytes(&[0; 32])), E::PublicKey("not on the curve, or of small order")),
        (change(Key::eddsa(), -2, bytes(&[2; 32])), E::PublicKey("not on the curve, or of small order")),
        (add(Key::es256(), -4, bytes(&[7; 32])), E::PublicKey("a parameter too many")),
        (add(Key::eddsa(), 2, bytes(b"kid")), E::PublicKey("a parameter too many")),
        (add(Key::es256(), 3, int(-7)), E::PublicKey("a key comes twice")),
        (Key::es256().parameters()[..4].to_vec(), E::PublicKey("a parameter is missing")),
        (vec![(1, int(2))], E::PublicKey("a parameter is missing")),
        (rsa(&number(255), &e), E::PublicKey("a modulus that is too small")),
        (rsa(&number(1025), &e), E::PublicKey("a number that is too long")),
        (rsa(&[&[0], &number(256)[..]].concat(), &e), E::PublicKey("a number that is too long")),
        (rsa(&number(256), &[0, 1, 0, 1]), E::PublicKey("a number that is too long")),
        (rsa(&number(256), &[1, 0, 0, 0, 0, 1]), E::PublicKey("a number that is too long")),
        (rsa(&number(256), &[3]), E::PublicKey("an exponent that is too small")),
        (rsa(&number(256), &[1, 0, 0]), E::PublicKey("not an RSA key")),
        (rsa(&[&number(255)[..], &[0]].concat(), &e), E::PublicKey("not an RSA key")),
    ];
    for (row, (parameters, expected)) in table.into_iter().enumerate() {
        let mut registration = Registration::of(Key::es256());
        registration.parameters = parameters;
        let error = register(registration.response()).unwrap_err();
        assert_eq!(error, expected, "row {row}");
    }
}

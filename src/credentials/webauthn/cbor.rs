//! CBOR (RFC 8949) as far as CTAP2's canonical form goes (CTAP 2.1, section 8, "Message Encoding"): definite lengths,
//! no tags, no key twice, little depth.
//!
//! The order of keys and the shortest form of numbers are not insisted on (section 2.4 says SHOULD): nothing depends on
//! them once no key can come twice, and password managers write their attestation objects themselves.
//!
//! PURE: no I/O, no clock, no randomness.

use minicbor::Decoder;
use minicbor::data::Type;

/// CTAP2 allows four levels; a compound attestation (section 8.9) has one more. What matters is that there is a limit:
/// each level is a frame on the stack.
const DEEPEST: u8 = 8;

/// No map of ours has more than five entries. Entries are compared with one another, which must not become work.
const MOST_ENTRIES: u64 = 32;

/// What is wrong with an item.
pub(super) type Result<T> = core::result::Result<T, &'static str>;

/// The entries of a map: keys, and values in CBOR.
pub(super) type Entries<'b, K> = Vec<(K, &'b [u8])>;

/// Reads items one after another.
pub(super) struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// Reads exactly one item of `bytes` and nothing after it.
    pub(super) fn whole<T>(bytes: &'b [u8], read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut reader = Self::new(bytes);
        let value = read(&mut reader)?;
        if reader.is_at_end() { Ok(value) } else { Err("trailing bytes") }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.position() == self.0.input().len()
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        self.0.i64().map_err(|_| "not an integer of 64 bits")
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8]> {
        self.0.bytes().map_err(|_| "not a byte string")
    }

    pub(super) fn text(&mut self) -> Result<&'b str> {
        self.0.str().map_err(|_| "not a text string")
    }

    /// A map with text for keys.
    pub(super) fn text_map(&mut self) -> Result<Entries<'b, &'b str>> {
        self.map(Self::text, DEEPEST)
    }

    /// A map with integers for keys.
    pub(super) fn integer_map(&mut self) -> Result<Entries<'b, i64>> {
        self.map(Self::integer, DEEPEST)
    }

    /// Any item, as its bytes.
    pub(super) fn item(&mut self) -> Result<&'b [u8]> {
        self.item_within(DEEPEST)
    }

    fn map<K: PartialEq>(&mut self, key: impl Fn(&mut Self) -> Result<K>, depth: u8) -> Result<Entries<'b, K>> {
        let length = self.0.map().map_err(|_| "not a map")?.ok_or("indefinite length")?;
        if length > MOST_ENTRIES {
            return Err("too many entries");
        }
        let mut entries = Vec::new();
        for _ in 0..length {
            let key = key(self)?;
            // Of two values for one key, one reader takes the first and another the last.
            if entries.iter().any(|(other, _)| *other == key) {
                return Err("a key comes twice");
            }
            entries.push((key, self.item_within(depth - 1)?));
        }
        Ok(entries)
    }

    fn item_within(&mut self, depth: u8) -> Result<&'b [u8]> {
        if depth == 0 {
            return Err("too deep");
        }
        let start = self.0.position();
        match self.0.datatype().map_err(|_| "too short")? {
            Type::Bytes => _ = self.bytes()?,
            Type::String => _ = self.text()?,
            Type::Array => {
                for _ in 0..self.0.array().map_err(|_| "not an array")?.ok_or("indefinite length")? {
                    self.item_within(depth - 1)?;
                }
            }
            Type::Map => _ = self.map(|reader| reader.item_within(depth - 1), depth)?,
            Type::BytesIndef | Type::StringIndef | Type::ArrayIndef | Type::MapIndef => {
                return Err("indefinite length");
            }
            Type::Tag => return Err("tag"),
            Type::Break | Type::Unknown(_) => return Err("not an item"),
            // Numbers and simple values: a head, and nothing inside.
            _ => self.0.skip().map_err(|_| "too short")?,
        }
        self.0.input().get(start..self.0.position()).ok_or("too short")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: &[u8]) -> Result<&[u8]> {
        Reader::whole(bytes, Reader::item)
    }

    #[test]
    fn well_formed_items_are_read_whole() {
        let items: [&[u8]; 12] = [
            &[0x00],
            &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x3b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x42, 1, 2],
            &[0x61, b'a'],
            &[0x80],
            &[0x82, 0x01, 0xa0],
            &[0xa2, 0x01, 0x02, 0x61, b'a', 0x80],
            &[0xf5],
            &[0xf6],
            &[0xf9, 0x3c, 0x00],
            &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for bytes in items {
            assert_eq!(item(bytes), Ok(bytes), "{bytes:x?}");
            for length in 0..bytes.len() {
                assert!(item(&bytes[..length]).is_err(), "{length} of {bytes:x?}");
            }
            assert_eq!(item(&[bytes, &[0]].concat()), Err("trailing bytes"));
        }
    }

    #[test]
    fn what_canonical_cbor_does_not_have_is_refused() {
        let table: [(&[u8], &str); 12] = [
            (&[], "too short"),
            (&[0x5f, 0x41, 1, 0xff], "indefinite length"),
            (&[0x7f, 0x61, b'a', 0xff], "indefinite length"),
            (&[0x9f, 0xff], "indefinite length"),
            (&[0xbf, 0xff], "indefinite length"),
            (&[0xc1, 0x00], "tag"),
            (&[0xff], "not an item"),
            (&[0x1c], "not an item"),
            (&[0x62, 0xc3, 0x28], "not a text string"),
            (&[0xa2, 0x01, 0x00, 0x01, 0x00], "a key comes twice"),
            (&[0xb8, 33], "too many entries"),
            // Lengths of 2^64 - 1: neither memory nor time is spent on them.
            (&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255], "too short"),
        ];
        for (bytes, expected) in table {
            assert_eq!(item(bytes), Err(expected), "{bytes:x?}");
        }
        for head in [0x5b, 0x7b, 0xbb] {
            assert!(item(&[head, 255, 255, 255, 255, 255, 255, 255, 255]).is_err(), "{head:x}");
        }
    }

    #[test]
    fn depth_has_a_limit() {
        for head in [vec![0x81], vec![0xa1, 0x00], vec![0xa1]] {
            let nested = [head.repeat(100_000), vec![0x00]].concat();
            assert_eq!(item(&nested), Err("too deep"), "{head:x?}");
        }
        assert!(item(&[0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x00]).is_ok());
        assert_eq!(item(&[0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x00]), Err("too deep"));
    }
}

//! Statements with named parameters: `sql!("select … where id = :id", id = user)`.
//!
//! SQLite and D1 bind by position. The names are turned into positions by the compiler, so that they cost nothing when the
//! statement runs, and a name without a value, or a value without a name, does not compile.

/// Makes a [`Statement`](crate::platform::d1::Statement) of a text and the values of its parameters.
///
/// A parameter is a colon and a name in lower case. Its value is what can be bound ([`Parameter`](crate::platform::d1::Parameter));
/// a name alone stands for the variable of that name. The text is a literal, or a macro that makes one.
///
/// ```text
/// sql!("update user set name = :name where tenant_id = :tenant and id = :user", tenant = &user.tenant, user = &user.id, name)
/// ```
///
/// Where the text depends on something, each arm has one. Not every arm has to use every name, but for the last: D1 counts the
/// parameters by the highest position.
///
/// ```text
/// sql!(match (pool.is_some()) { true => "… tenant_id = :pool and id = :id", false => "… tenant_id is null and id = :id" }, pool, id)
/// ```
macro_rules! sql {
    (match $on:tt { $($pattern:pat => $text:expr),+ $(,)? } $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        const _: () = $crate::platform::sql::check_names(&[$($text),+], NAMES);
        #[allow(unused_parens, reason = "what is matched is one token tree: an expression stands in parentheses")]
        let text: &'static str = match $on { $($pattern => $crate::platform::sql::numbered!($text, NAMES)),+ };
        $crate::platform::d1::begin(text)$(.bind($crate::platform::sql::value!($name $(= $value)?)))*
    }};
    ($text:expr $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        const _: () = $crate::platform::sql::check_names(&[$text], NAMES);
        let text: &'static str = $crate::platform::sql::numbered!($text, NAMES);
        $crate::platform::d1::begin(text)$(.bind($crate::platform::sql::value!($name $(= $value)?)))*
    }};
}
pub(crate) use sql;

/// A text with positions in the place of its names, made by the compiler.
macro_rules! numbered {
    ($text:expr, $names:expr) => {{
        const TEXT: &str = $text;
        const BYTES: [u8; $crate::platform::sql::numbered_length(TEXT, $names)] =
            $crate::platform::sql::number(TEXT, $names);
        const NUMBERED: &str = match str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("a statement is no UTF-8"),
        };
        NUMBERED
    }};
}
pub(crate) use numbered;

/// The value of a name: the variable that is called so, or what follows.
macro_rules! value {
    ($name:ident) => {
        $name
    };
    ($name:ident = $value:expr) => {
        $value
    };
}
pub(crate) use value;

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// Where the name ends that begins at `start`.
const fn end_of_name(text: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < text.len() && is_name(text[end]) {
        end += 1;
    }
    end
}

/// Where the next parameter's colon is, from `at` on, outside of texts in quotes; the length of the text if there is none.
const fn next_parameter(text: &[u8], mut at: usize) -> usize {
    let mut is_quoted = false;
    while at < text.len() {
        if text[at] == b'\'' {
            is_quoted = !is_quoted;
        } else if text[at] == b':' && !is_quoted && at + 1 < text.len() && is_name(text[at + 1]) {
            return at;
        }
        at += 1;
    }
    at
}

const fn is_equal(text: &[u8], start: usize, end: usize, name: &[u8]) -> bool {
    if end - start != name.len() {
        return false;
    }
    let mut at = 0;
    while at < name.len() {
        if text[start + at] != name[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether a text has a parameter of this name.
#[must_use]
pub const fn uses(text: &str, name: &str) -> bool {
    let text = text.as_bytes();
    let mut at = next_parameter(text, 0);
    while at < text.len() {
        let end = end_of_name(text, at + 1);
        if is_equal(text, at + 1, end, name.as_bytes()) {
            return true;
        }
        at = next_parameter(text, end);
    }
    false
}

/// Whether a text has a parameter with a position, such as `?1`, outside of texts in quotes.
const fn has_position(text: &[u8]) -> bool {
    let mut is_quoted = false;
    let mut at = 0;
    while at + 1 < text.len() {
        if text[at] == b'\'' {
            is_quoted = !is_quoted;
        } else if text[at] == b'?' && !is_quoted && text[at + 1].is_ascii_digit() {
            return true;
        }
        at += 1;
    }
    false
}

/// Stops the compiler where a parameter has a position, a name stands twice, or is in none of the texts, or the last one is not in all of them.
///
/// # Panics
/// Where that is so.
pub const fn check_names(texts: &[&str], names: &[&str]) {
    let mut at = 0;
    while at < texts.len() {
        assert!(!has_position(texts[at].as_bytes()), "a parameter has a position instead of a name");
        at += 1;
    }
    at = 0;
    while at < names.len() {
        let mut text = 0;
        let mut is_used = false;
        while text < texts.len() {
            is_used = is_used || uses(texts[text], names[at]);
            text += 1;
        }
        assert!(is_used, "a value has no parameter in the statement");
        let mut text = 0;
        while at + 1 == names.len() && text < texts.len() {
            assert!(uses(texts[text], names[at]), "the last parameter is not in every arm");
            text += 1;
        }
        let mut other = at + 1;
        while other < names.len() {
            let name = names[other].as_bytes();
            assert!(!is_equal(names[at].as_bytes(), 0, names[at].len(), name), "a parameter has two values");
            other += 1;
        }
        at += 1;
    }
}

/// The position of the parameter whose name is at `start..end`.
#[expect(clippy::panic, reason = "the compiler runs this, and stops")]
const fn position(text: &str, start: usize, end: usize, names: &[&str]) -> usize {
    let mut at = 0;
    while at < names.len() {
        if is_equal(text.as_bytes(), start, end, names[at].as_bytes()) {
            return at + 1;
        }
        at += 1;
    }
    panic!("a parameter of the statement has no value")
}

/// The length of a text once its names are positions, in bytes.
#[must_use]
pub const fn numbered_length(text: &str, names: &[&str]) -> usize {
    let bytes = text.as_bytes();
    let mut length = bytes.len();
    let mut at = next_parameter(bytes, 0);
    while at < bytes.len() {
        let end = end_of_name(bytes, at + 1);
        let digits = if position(text, at + 1, end, names) < 10 { 1 } else { 2 };
        length = length + digits - (end - at - 1);
        at = next_parameter(bytes, end);
    }
    length
}

/// A text with positions (`?1`) in the place of its names.
///
/// # Panics
/// Where a parameter has no value, or `N` is not [`numbered_length`].
#[must_use]
pub const fn number<const N: usize>(text: &str, names: &[&str]) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut numbered = [0; N];
    let (mut from, mut to) = (0, 0);
    let mut at = next_parameter(bytes, 0);
    while from < bytes.len() {
        if from < at {
            numbered[to] = bytes[from];
            from += 1;
            to += 1;
            continue;
        }
        let end = end_of_name(bytes, at + 1);
        let position = position(text, at + 1, end, names);
        numbered[to] = b'?';
        to += 1;
        if position >= 10 {
            numbered[to] = digit(position / 10);
            to += 1;
        }
        numbered[to] = digit(position % 10);
        to += 1;
        from = end;
        at = next_parameter(bytes, end);
    }
    assert!(to == N, "the length of a statement was counted wrongly");
    numbered
}

#[expect(clippy::cast_possible_truncation, reason = "a digit")]
const fn digit(digit: usize) -> u8 {
    b'0' + digit as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered_text<const N: usize>(text: &str, names: &[&str]) -> String {
        String::from_utf8(number::<N>(text, names).to_vec()).expect("UTF-8")
    }

    macro_rules! text {
        ($text:literal, $names:expr) => {
            numbered_text::<{ numbered_length($text, &$names) }>($text, &$names)
        };
    }

    #[test]
    fn names_become_positions_in_the_order_of_the_values() {
        assert_eq!(text!("select 1", []), "select 1");
        assert_eq!(text!("a = :one and b = :two or c = :one", ["two", "one"]), "a = ?2 and b = ?1 or c = ?2");
        assert_eq!(text!("a = :id, b = :id2, c = :i", ["i", "id", "id2"]), "a = ?2, b = ?3, c = ?1");
        let many = text!(":a:b:c:d:e:f:g:h:i:j:k", ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]);
        assert_eq!(many, "?1?2?3?4?5?6?7?8?9?10?11");
    }

    #[test]
    fn texts_in_quotes_stay_as_they_are() {
        assert_eq!(text!("':a' || :a || 'it''s :a'", ["a"]), "':a' || ?1 || 'it''s :a'");
        assert_eq!(text!("a -> '$.x:y' = :x :", ["x"]), "a -> '$.x:y' = ?1 :");
    }

    #[test]
    fn each_arm_has_the_same_positions() {
        assert_eq!(text!("b = :b", ["a", "b"]), "b = ?2");
        assert!(uses("b = :b", "b") && !uses("b = :b", "a") && !uses("b = ':a'", "a"));
        check_names(&["a = :a and b = :b", "b = :b"], &["a", "b"]);
    }

    #[test]
    #[should_panic(expected = "the last parameter is not in every arm")]
    fn the_last_parameter_is_in_every_arm() {
        check_names(&["a = :a and b = :b", "a = :a"], &["a", "b"]);
    }

    #[test]
    #[should_panic(expected = "a parameter of the statement has no value")]
    fn a_parameter_needs_a_value() {
        let _ = numbered_length("a = :b", &["a"]);
    }

    #[test]
    #[should_panic(expected = "a value has no parameter in the statement")]
    fn a_value_needs_a_parameter() {
        check_names(&["a = :a"], &["a", "b"]);
    }

    #[test]
    #[should_panic(expected = "a parameter has a position instead of a name")]
    fn a_parameter_has_a_name() {
        check_names(&["a = ?1"], &[]);
    }

    #[test]
    #[should_panic(expected = "a parameter has two values")]
    fn a_parameter_has_one_value() {
        check_names(&["a = :a"], &["a", "a"]);
    }
}

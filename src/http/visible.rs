//! What people see of a text (Unicode Technical Report 36, sections 2.5 and 3.5): a name that is shown or mailed must be one that
//! everybody reads alike, and must not be none.

/// What joins letters in scripts that need it, and emoji to one.
const JOINERS: [char; 2] = ['\u{200C}', '\u{200D}'];

/// Chooses how the character before it is drawn.
const fn is_selector(c: char) -> bool {
    matches!(c, '\u{FE00}'..='\u{FE0F}')
}

/// Whether a character is never seen, or changes the direction of what is.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether something of a text is seen.
#[must_use]
pub fn is_seen(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !is_hidden(c) && !is_selector(c) && !JOINERS.contains(&c))
}

/// What is wrong with a line that is to be shown.
#[must_use]
pub fn problem(text: &str) -> Option<&'static str> {
    if text.chars().any(char::is_control) {
        return Some("Invalid string: must not contain control characters");
    }
    let hidden = Some("Invalid string: must not contain characters that cannot be seen");
    if text.chars().any(is_hidden) {
        return hidden;
    }
    // Between letters of Persian or Malayalam, or in an emoji, a joiner is seen by what it does; between those of English by
    // nothing.
    let joins = |c: Option<char>| c.is_some_and(|c| !c.is_ascii() && !c.is_whitespace() && !JOINERS.contains(&c));
    let mut before = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let stands_alone = JOINERS.contains(&c) && !(joins(before) && joins(characters.peek().copied()));
        let selects_nothing = is_selector(c) && before.is_none_or(|c| c.is_whitespace() || is_selector(c));
        if stands_alone || selects_nothing {
            return hidden;
        }
        before = Some(c);
    }
    None
}

/// Whether a mail program would make a link of something in it.
#[must_use]
pub fn has_link(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("://") || text.contains("www.")
}

/// A name as a mail to a stranger quotes it: no longer than names are, and nothing that becomes a link.
#[must_use]
pub fn quoted(name: &str) -> String {
    const LONGEST: usize = 64;
    let name: String = name.chars().filter(|&c| !is_hidden(c)).collect();
    let short: String = name.chars().take(LONGEST).collect();
    let cut = if short.len() < name.len() { "…" } else { "" };
    let mut words = short.replace("://", " ");
    for www in ["www.", "WWW.", "Www."] {
        words = words.replace(www, "www ");
    }
    format!("“{words}{cut}”")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen() {
        for name in ["Ada", "Zoë Ångström", "محمد", "می‌خواهم", "ക്‍ഷ", "👩‍💻", "❤️ Ada", "山田 太郎", "D'Arcy-O’Neil", "𝒜"]
        {
            assert_eq!((problem(name), is_seen(name)), (None, true), "{name:?}");
        }
        for name in [
            "A\u{202E}b",
            "a\u{200B}",
            "\u{FEFF}a",
            "a\u{3164}",
            "a\u{115F}",
            "a\u{2066}b",
            "a\u{E0041}",
            "a\u{2028}b",
            "a\nb",
            "a\u{AD}b",
        ] {
            assert!(problem(name).is_some(), "{name:?}");
        }
        for name in ["pay\u{200D}pal", "\u{200D}", "م\u{200C}", "\u{FE0F}", " \u{FE0F}", "م\u{200C}\u{200C}م"] {
            assert!(problem(name).is_some(), "{name:?}");
        }
        for name in ["", " ", "\u{A0}\u{3000}", "\u{3164}", "\u{200B}"] {
            assert!(!is_seen(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_quoted_leads_nowhere() {
        assert_eq!(quoted("Acme"), "“Acme”");
        assert_eq!(
            quoted("See https://evil.example and www.evil.example"),
            "“See https evil.example and www evil.example”"
        );
        assert_eq!(quoted(&"x".repeat(65)), format!("“{}…”", "x".repeat(64)));
        assert!(has_link("HTTPS://x") && has_link("WWW.x") && !has_link("Acme. Inc"));
    }
}

//! Backup codes: ten of them, each good once, for whoever lost the second factor.

/// Codes in a set.
pub const COUNT: usize = 10;

/// Letters without those that are mistaken for others.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// A code of ten letters, 50 bits, from ten random bytes: `XXXXX-XXXXX`.
#[must_use]
pub fn code(random: [u8; 10]) -> String {
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    let (head, tail) = random.split_at(5);
    let text = |half: &[u8]| half.iter().map(letter).collect::<String>();
    format!("{}-{}", text(head), text(tail))
}

/// A code as it was typed, in the form that is kept: case, dashes and blanks do not matter.
#[must_use]
pub fn normalise(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_being_typed() {
        let made = code([0, 1, 2, 31, 32, 63, 200, 255, 8, 9]);
        assert_eq!(made.len(), 11);
        assert_eq!(normalise(&made), normalise(&format!(" {} ", made.to_lowercase().replace('-', " "))));
        assert_eq!(normalise("").len(), 0);
    }
}

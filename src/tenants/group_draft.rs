//! What somebody writes of a group: read and checked.
//!
//! PURE: no I/O, no clock, no randomness.

use serde_json::Value;

use crate::http::fields::Fields;
use crate::http::visible;
use crate::tenants::caller::LONGEST_NAME;
use crate::tenants::store::group::GroupDraft;

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 1000;

/// The most tags, and the longest of them in characters.
const TAGS: (usize, usize) = (50, 64);

/// The longest `settings`, in bytes of JSON.
const LONGEST_SETTINGS: usize = 16 * 1024;

/// The most members that a group may be bounded to.
const MOST_MEMBERS: i64 = 1_000_000;

/// Reads a draft, and the names of the roles that the group is to carry, if they are named.
pub fn read_group_draft(fields: &mut Fields) -> (GroupDraft, Option<Vec<String>>) {
    let name = fields.optional_name("name", LONGEST_NAME);
    let given = fields.optional_line("slug", 63);
    if given.as_deref().is_some_and(|slug| slug.to_lowercase() != slug) {
        fields.refuse("slug", "Invalid string: must be in lower case");
    }
    let max_members = if !fields.has("maxMembers") {
        None
    } else if fields.is_null("maxMembers") {
        Some(None)
    } else {
        Some(fields.number("maxMembers", (1, MOST_MEMBERS)))
    };
    let tags = fields.has("tags").then(|| {
        let fits =
            |tag: &str| !tag.trim().is_empty() && tag.chars().count() <= TAGS.1 && visible::problem(tag).is_none();
        let mut tags = fields.list("tags", TAGS.0, fits);
        tags.dedup();
        tags
    });
    let settings = fields.take("settings").map(|value: Value| {
        let text = value.to_string();
        if !value.is_object() {
            fields.refuse("settings", "Invalid input: expected object");
        } else if text.len() > LONGEST_SETTINGS {
            fields.refuse("settings", "Too big");
        }
        text
    });
    let roles = fields.has("roles").then(|| fields.list("roles", 50, |name| !name.is_empty()));
    let draft = GroupDraft {
        name,
        slug: given,
        description: fields.optional("description", LONGEST_DESCRIPTION),
        group_type: fields.optional_line("groupType", 50),
        is_public: fields.boolean("isPublic"),
        is_open: fields.boolean("isOpen"),
        is_system: fields.boolean("isSystem"),
        is_active: fields.boolean("isActive"),
        max_members,
        tags,
        settings,
    };
    (draft, roles)
}

/// A slug of a name: its letters and digits in lower case, dashes between.
#[must_use]
pub fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::slug_of;

    #[test]
    fn a_slug_follows_from_a_name() {
        for (name, slug) in
            [("T1", "t1"), ("Zoë's  Team!", "zoë-s-team"), ("  a  ", "a"), ("---", ""), ("研究 部", "研究-部")]
        {
            assert_eq!(slug_of(name), slug, "{name}");
        }
    }
}

//! What caches may keep of an origin's answer (RFC 9111). An origin behind the gate may know nothing of its visitors, and
//! says of a page for one of them what it would say of a page for everybody. Kept by a cache it would be shown to the
//! next one, and a cookie of ours in it would be theirs.
//!
//! PURE: no I/O, no clock, no randomness.

/// Who an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: a public path, and a visitor who is not known.
    Everybody,
    /// A visitor who is known, on a public path: only what the origin calls everybody's is.
    Known,
    /// The visitor alone.
    One,
}

/// What the origin says of its answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// `Cache-Control`; several lines are joined by commas.
    pub cache_control: &'a str,
    /// `Expires`.
    pub expires: &'a str,
    /// Whether there is a header for shared caches alone; see [`is_for_shared_caches`].
    pub has_targeted: bool,
}

/// What is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As the origin says. No cookie of ours may go along.
    Unchanged,
    /// `Cache-Control` is this, what speaks to shared caches is left out, and the answer varies by `Cookie`.
    Private {
        /// The value.
        cache_control: String,
        /// Whether the visitor's own browser may show it again without asking: then no cookie of ours goes along.
        is_fresh: bool,
    },
}

/// Whether a header speaks to shared caches alone: targeted ones (RFC 9213) and their forerunners, which caches believe
/// before `Cache-Control`.
#[must_use]
pub fn is_for_shared_caches(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("-cache-control")
        || matches!(name.as_str(), "surrogate-control" | "edge-control" | "x-accel-expires")
}

/// What of `Cache-Control` matters here.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "directives of their own, which are there or not")]
struct Directives {
    no_store: bool,
    no_cache: bool,
    must_revalidate: bool,
    no_transform: bool,
    is_private: bool,
    is_shared: bool,
    max_age: Option<u64>,
}

impl Directives {
    /// Reads a value. A directive about single headers (`private="…"`) counts as one about all: the stricter reading. What
    /// lets a cache go on longer (`immutable`, `stale-while-revalidate`, extensions) is not taken over.
    fn read(text: &str) -> Self {
        let mut found = Self::default();
        for piece in text.split(',') {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => found.no_store = true,
                "no-cache" => found.no_cache = true,
                "must-revalidate" => found.must_revalidate = true,
                "no-transform" => found.no_transform = true,
                "private" => found.is_private = true,
                "public" | "s-maxage" | "immutable" => found.is_shared = true,
                "max-age" => {
                    let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                    found.max_age = Some(found.max_age.map_or(seconds, |other| other.min(seconds)));
                }
                _ => (),
            }
        }
        found
    }
}

/// What becomes of an answer.
#[must_use]
pub fn storage(audience: Audience, said: Said<'_>) -> Storage {
    let found = Directives::read(said.cache_control);
    let is_everybodys =
        (found.is_shared || said.has_targeted) && !found.is_private && !found.no_store && !found.no_cache;
    if audience == Audience::Everybody || (audience == Audience::Known && is_everybodys) {
        return Storage::Unchanged;
    }
    if found.no_store {
        return Storage::Private { cache_control: "private, no-store".to_owned(), is_fresh: false };
    }
    let expires = said.expires.trim();
    let lives = found.max_age.map_or(!matches!(expires, "" | "0" | "-1"), |seconds| seconds > 0);
    let is_fresh = lives && !found.no_cache;
    let mut kept = "private".to_owned();
    if let Some(seconds) = found.max_age {
        kept.push_str(", max-age=");
        kept.push_str(&seconds.to_string());
    }
    // Where the origin names no end, browsers guess one from `Last-Modified`.
    for (name, holds) in [
        (", no-cache", !is_fresh),
        (", must-revalidate", found.must_revalidate),
        (", no-transform", found.no_transform),
    ] {
        if holds {
            kept.push_str(name);
        }
    }
    Storage::Private { cache_control: kept, is_fresh }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(cache_control: &str) -> (String, bool) {
        match storage(Audience::One, Said { cache_control, ..Said::default() }) {
            Storage::Private { cache_control, is_fresh } => (cache_control, is_fresh),
            Storage::Unchanged => panic!("unchanged: {cache_control}"),
        }
    }

    #[test]
    fn what_one_visitor_is_shown_is_private() {
        for (said, kept, is_fresh) in [
            ("", "private, no-cache", false),
            ("public", "private, no-cache", false),
            ("public, max-age=31536000, immutable", "private, max-age=31536000", true),
            ("max-age=600", "private, max-age=600", true),
            ("Max-Age=\"600\" , S-MaxAge=9", "private, max-age=600", true),
            ("s-maxage=600", "private, no-cache", false),
            ("max-age=0, must-revalidate", "private, max-age=0, no-cache, must-revalidate", false),
            ("max-age=600, max-age=0", "private, max-age=0, no-cache", false),
            ("max-age=x", "private, max-age=0, no-cache", false),
            ("no-cache", "private, no-cache", false),
            ("no-cache=\"set-cookie, x\", max-age=60", "private, max-age=60, no-cache", false),
            ("private=\"set-cookie\", max-age=60", "private, max-age=60", true),
            ("no-store, max-age=60", "private, no-store", false),
            ("must-understand, no-store", "private, no-store", false),
            ("max-age=60, stale-while-revalidate=86400, no-transform", "private, max-age=60, no-transform", true),
        ] {
            assert_eq!(one(said), (kept.to_owned(), is_fresh), "{said}");
        }
        let expires = |expires| storage(Audience::One, Said { expires, ..Said::default() });
        let private =
            |cache_control: &str, is_fresh| Storage::Private { cache_control: cache_control.to_owned(), is_fresh };
        assert_eq!(expires("Wed, 21 Oct 2099 07:28:00 GMT"), private("private", true));
        assert_eq!(expires("0"), private("private, no-cache", false));
    }

    #[test]
    fn on_a_public_path_the_known_visitor_shares_what_is_everybodys_alone() {
        let known = |cache_control, has_targeted| {
            storage(Audience::Known, Said { cache_control, has_targeted, ..Said::default() }) == Storage::Unchanged
        };
        for said in ["public, max-age=60", "s-maxage=60", "max-age=31536000, immutable"] {
            assert!(known(said, false), "{said}");
        }
        for said in ["", "max-age=60", "private, max-age=60", "public, no-cache", "public, no-store"] {
            assert!(!known(said, false), "{said}");
        }
        assert!(known("", true) && !known("private", true));
        for said in ["", "no-store", "public, max-age=60"] {
            let said = Said { cache_control: said, ..Said::default() };
            assert_eq!(storage(Audience::Everybody, said), Storage::Unchanged);
        }
    }

    #[test]
    fn headers_for_shared_caches_are_known() {
        for name in ["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires"] {
            assert!(is_for_shared_caches(name), "{name}");
        }
        for name in ["Cache-Control", "Expires", "ETag", "Surrogate-Key"] {
            assert!(!is_for_shared_caches(name), "{name}");
        }
    }
}

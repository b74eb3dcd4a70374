//! The layout of the source, held by reading it: which room may use which, where endpoints, statements and decisions stand.
//!
//! `docs/architecture.md` says what the rooms are, and why.

#![allow(clippy::expect_used, clippy::panic, reason = "a test stops where the source cannot be read")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, ImplItem, Item, UseTree, Visibility};

/// The rooms, from the top to the ground: each uses only those that stand after it.
const ROOMS: [&str; 17] = [
    "server",
    "login",
    "account",
    "gate",
    "provider",
    "federation",
    "admin",
    "tenants",
    "session",
    "users",
    "records",
    "jose",
    "request",
    "access",
    "credentials",
    "http",
    "platform",
];

/// The largest part of the source that one room may be, in hundredths.
const LARGEST_ROOM: usize = 20;

/// The longest endpoint, in lines from its signature to its end.
const LONGEST_ENDPOINT: usize = 40;

/// Endpoints that are longer still, in the order of their names. None may be added.
const LONGER_ENDPOINTS: &[&str] = &[
    "account::endpoints::change_email::go_on",
    "account::endpoints::deletion::request",
    "admin::endpoints::impersonation::stop",
    "admin::endpoints::tenants::create",
    "gate::endpoints::forward_auth::check",
    "gate::endpoints::sign_in::callback",
    "provider::endpoints::consent::decide",
    "tenants::endpoints::api_keys::create",
    "tenants::endpoints::roles::create",
    "tenants::endpoints::roles::update",
];

/// How many endpoints name a store. The number may only fall.
const ENDPOINTS_WITH_STORE: usize = 86;

type Module = Vec<String>;

/// A file of the source, without its tests.
struct Source {
    path: PathBuf,
    module: Module,
    text: String,
    items: Vec<Item>,
    lines: usize,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("test"))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        _ => &[],
    }
}

fn module_of(path: &Path) -> Module {
    let mut module: Module = path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

fn read(folder: &Path, root: &Path, sources: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            read(&entry, root, sources);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&entry).expect("a file");
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", entry.display()));
            let path = entry.strip_prefix(root).expect("below the root").to_owned();
            let items = file.items.into_iter().filter(|item| !is_test(attributes(item))).collect();
            let lines = text.lines().count();
            sources.push(Source { module: module_of(&path), path, text, items, lines });
        }
    }
}

/// Every file below `src`. Files that only tests include are left out.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read(&root, &root, &mut sources);
    let mut tests: BTreeSet<Module> = BTreeSet::new();
    for source in &sources {
        let file = syn::parse_file(&source.text).expect("parsed before");
        for item in &file.items {
            if let Item::Mod(inner) = item
                && inner.content.is_none()
                && is_test(&inner.attrs)
            {
                tests.insert(source.module.iter().cloned().chain([inner.ident.to_string()]).collect());
            }
        }
    }
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// A path as it is written, and the name that it goes by afterwards.
struct Import {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

fn flatten(tree: &UseTree, before: &[String], is_public: bool, imports: &mut Vec<Import>) {
    let with = |name: &dyn ToString| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), is_public, imports),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, is_public, imports)),
        UseTree::Name(name) if name.ident == "self" => {
            let name = before.last().cloned().unwrap_or_default();
            imports.push(Import { path: before.to_vec(), name, is_public });
        }
        UseTree::Name(name) => {
            imports.push(Import { path: with(&name.ident), name: name.ident.to_string(), is_public });
        }
        UseTree::Rename(rename) => {
            imports.push(Import { path: with(&rename.ident), name: rename.rename.to_string(), is_public });
        }
        UseTree::Glob(_) => imports.push(Import { path: before.to_vec(), name: "*".to_owned(), is_public }),
    }
}

fn imports(source: &Source) -> Vec<Import> {
    let mut imports = Vec::new();
    for item in &source.items {
        if let Item::Use(item) = item {
            flatten(&item.tree, &[], !matches!(item.vis, Visibility::Inherited), &mut imports);
        }
    }
    imports
}

/// Paths of names joined by `::` in tokens, macros' included.
fn paths(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    found.push(std::mem::take(&mut path));
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                // `use crate::{a, b}` inside a macro would be cut here; there is none.
                found.push(std::mem::take(&mut path));
                colons = 0;
                paths(group.stream(), found);
            }
            _ => {
                found.push(std::mem::take(&mut path));
                colons = 0;
            }
        }
    }
    found.push(path);
    found.retain(|path| path.len() > 1);
}

/// A path from the crate's root; `None` for one into another crate.
fn absolute(module: &[String], children: &BTreeSet<String>, path: &[String]) -> Option<Vec<String>> {
    let mut here = module.to_vec();
    match path.first().map(String::as_str)? {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(here.into_iter().chain(path[1..].iter().cloned()).collect()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            here.truncate(here.len().saturating_sub(ups));
            Some(here.into_iter().chain(path[ups..].iter().cloned()).collect())
        }
        first if children.contains(first) => Some(here.into_iter().chain(path.iter().cloned()).collect()),
        _ => None,
    }
}

/// Every path into the crate that a file names, from the crate's root.
fn named(source: &Source) -> Vec<Vec<String>> {
    let children = source.items.iter().filter_map(|item| match item {
        Item::Mod(item) => Some(item.ident.to_string()),
        _ => None,
    });
    let children: BTreeSet<String> = children.collect();
    let imports = imports(source);
    let mut named: Vec<Vec<String>> =
        imports.iter().filter_map(|import| absolute(&source.module, &children, &import.path)).collect();
    let mut written = Vec::new();
    for item in source.items.iter().filter(|item| !matches!(item, Item::Use(_))) {
        paths(item.to_token_stream(), &mut written);
    }
    for path in written {
        let imported = imports.iter().find(|import| import.name == path[0]);
        let whole = match imported {
            Some(import) => import.path.iter().cloned().chain(path[1..].iter().cloned()).collect(),
            None => path,
        };
        named.extend(absolute(&source.module, &children, &whole));
    }
    named
}

fn complain(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}\n  {}", faults.join("\n  "));
}

#[test]
fn the_source_has_these_rooms_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = std::fs::read_dir(root).expect("src").map(|entry| entry.expect("an entry").file_name());
    let found: BTreeSet<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    let wanted: BTreeSet<String> = ROOMS.iter().copied().chain(["lib.rs"]).map(str::to_owned).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut faults = Vec::new();
    for source in sources() {
        let Some(own) = source.module.first().and_then(|room| place(room)) else {
            continue;
        };
        for path in named(&source) {
            if path.first().and_then(|room| place(room)).is_some_and(|other| other < own) {
                faults.push(format!("{} uses {}", source.path.display(), path.join("::")));
            }
        }
    }
    complain("a room uses one above it:", &faults);
}

#[test]
fn endpoints_are_named_by_the_table_of_routes_alone() {
    let mut faults = Vec::new();
    for source in sources() {
        let is_table = source.path == Path::new("server/routes.rs");
        for path in named(&source) {
            if path.get(1).is_some_and(|part| part == "endpoints") && !is_table {
                faults.push(format!("{} uses {}", source.path.display(), path.join("::")));
            }
        }
    }
    complain("something else than the table of routes names an endpoint:", &faults);
}

fn is_store(source: &Source) -> bool {
    source.module.iter().skip(1).any(|part| part == "store")
}

#[test]
fn statements_stand_in_stores() {
    let mut faults = Vec::new();
    for source in sources() {
        let is_ground = source.module == ["platform", "d1"] || source.module == ["platform", "sql"];
        let names: Vec<String> = named(&source).into_iter().map(|path| path.join("::")).collect();
        let makes = |name: &String| name == "platform::sql::sql" || name == "platform::d1::begin";
        if !is_store(&source) && !is_ground && names.iter().any(makes) {
            faults.push(source.path.display().to_string());
        }
    }
    complain("a statement stands outside of a store:", &faults);
}

#[test]
fn pure_files_do_nothing_but_decide() {
    let mut faults = Vec::new();
    let mut count = 0;
    for source in sources() {
        let head: String = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        if !head.contains("PURE") {
            continue;
        }
        count += 1;
        let code: String = source.items.iter().map(|item| item.to_token_stream().to_string()).collect();
        for (what, is_there) in [
            ("it awaits", code.contains(". await")),
            ("it is async", code.contains("async fn") || code.contains("async move")),
            ("it uses the runtime", code.contains("worker ::") || code.contains("js_sys ::")),
        ] {
            if is_there {
                faults.push(format!("{}: {what}", source.path.display()));
            }
        }
        let uses = [["request", "context"], ["platform", "d1"], ["platform", "clock"], ["platform", "random"]];
        for path in named(&source) {
            if uses.iter().any(|module| path.iter().map(String::as_str).take(2).eq(module.iter().copied())) {
                faults.push(format!("{} uses {}", source.path.display(), path.join("::")));
            }
        }
    }
    assert!(count > 30, "{count} files say that they are PURE");
    complain("a file that says it is PURE is not:", &faults);
}

#[test]
fn no_files_stand_in_a_circle() {
    let sources = sources();
    let modules: BTreeMap<Module, &Source> = sources.iter().map(|source| (source.module.clone(), source)).collect();
    // What a module gives on from another one is the other one's.
    let mut given: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for source in &sources {
        let children: BTreeSet<String> = modules
            .keys()
            .filter(|module| module.len() == source.module.len() + 1 && module.starts_with(&source.module))
            .filter_map(|module| module.last().cloned())
            .collect();
        for import in imports(source).into_iter().filter(|import| import.is_public) {
            if let Some(path) = absolute(&source.module, &children, &import.path) {
                given.insert(source.module.iter().cloned().chain([import.name]).collect(), path);
            }
        }
    }
    let home = |path: &[String]| {
        (1..=path.len()).find_map(|end| {
            given.get(&path[..end]).map(|to| to.iter().cloned().chain(path[end..].iter().cloned()).collect::<Vec<_>>())
        })
    };
    let mut uses: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for source in &sources {
        for path in named(source) {
            let path = home(&path).unwrap_or(path);
            let end = (0..=path.len()).rev().find(|end| modules.contains_key(&path[..*end]));
            let Some((module, _)) = end.and_then(|end| modules.get_key_value(&path[..end])) else {
                continue;
            };
            if *module != source.module && !module.is_empty() {
                uses.entry(&source.module).or_default().insert(module);
            }
        }
    }
    // What nothing uses any more is in no circle; taken away until nothing is left, or only circles and what leads to them.
    loop {
        let wanted: BTreeSet<&Module> = uses.values().flatten().copied().collect();
        let free: Vec<&Module> = uses.keys().copied().filter(|module| !wanted.contains(*module)).collect();
        let ends: Vec<&Module> = wanted.iter().copied().filter(|module| !uses.contains_key(*module)).collect();
        if free.is_empty() && ends.is_empty() {
            break;
        }
        uses.retain(|module, _| !free.contains(module));
        for others in uses.values_mut() {
            others.retain(|other| !ends.contains(other));
        }
        uses.retain(|_, others| !others.is_empty());
    }
    let faults: Vec<String> = uses
        .iter()
        .map(|(module, others)| {
            let others: Vec<String> = others.iter().map(|other| other.join("/")).collect();
            format!("{} uses {}", module.join("/"), others.join(", "))
        })
        .collect();
    complain("files use each other in a circle:", &faults);
}

#[test]
fn no_room_is_most_of_the_house() {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources() {
        *lines.entry(source.module.first().cloned().unwrap_or_default()).or_default() += source.lines;
    }
    let all: usize = lines.values().sum();
    let faults: Vec<String> = lines
        .iter()
        .map(|(room, lines)| (room, lines * 100 / all))
        .filter(|(_, part)| *part > LARGEST_ROOM)
        .map(|(room, part)| format!("{room}: {part} %"))
        .collect();
    complain("a room is too large:", &faults);
}

#[test]
fn endpoints_are_short_and_name_no_store() {
    let (mut long, mut with_store) = (Vec::new(), Vec::new());
    for source in sources().iter().filter(|source| source.module.get(1).is_some_and(|part| part == "endpoints")) {
        let functions = source.items.iter().filter_map(|item| match item {
            Item::Fn(item) => Some(item),
            Item::Impl(item) => {
                assert!(!item.items.iter().any(|item| matches!(item, ImplItem::Macro(_))), "{}", source.path.display());
                None
            }
            _ => None,
        });
        for function in functions.filter(|function| matches!(function.vis, Visibility::Public(_))) {
            let name = format!("{}::{}", source.module.join("::"), function.sig.ident);
            let first = function.sig.fn_token.span.start().line;
            let last = function.block.brace_token.span.close().end().line;
            if last - first + 1 > LONGEST_ENDPOINT {
                long.push(name.clone());
            }
            let mut written = Vec::new();
            paths(function.block.to_token_stream(), &mut written);
            if written.iter().any(|path| path.iter().any(|part| part == "store")) {
                with_store.push(name);
            }
        }
    }
    long.sort();
    assert_eq!(long, LONGER_ENDPOINTS, "endpoints of more than {LONGEST_ENDPOINT} lines");
    let names = with_store.join("\n  ");
    assert_eq!(with_store.len(), ENDPOINTS_WITH_STORE, "endpoints that name a store:\n  {names}");
}

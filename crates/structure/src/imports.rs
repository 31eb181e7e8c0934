//! Which module of a crate imports which. A name that a module only exports again counts for the
//! module that defines it.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// The modules that each module imports.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// A path, by its segments.
type Path = Vec<String>;

/// A `use` of one name.
struct Use {
    path: Path,
    alias: String,
    is_export: bool,
}

/// Returns the imports of each of a crate's modules from the others.
#[must_use]
pub fn imports(sources: &[Source]) -> Imports {
    let modules: BTreeSet<Path> = sources.iter().map(|s| segments(&s.module)).collect();
    let uses: Vec<(Path, Vec<Use>)> = sources
        .iter()
        .map(|source| (segments(&source.module), uses(&source.text)))
        .collect();
    let mut exports = BTreeMap::new();
    for (module, uses) in &uses {
        for exported in uses.iter().filter(|u| u.is_export) {
            if let Some(path) = absolute(&exported.path, module, &modules) {
                exports.insert((module.clone(), exported.alias.clone()), path);
            }
        }
    }
    let mut imports = Imports::new();
    for ((module, uses), source) in uses.iter().zip(sources) {
        let imported = uses.iter().filter(|u| !u.is_export).map(|u| u.path.clone());
        let named = inline_paths(&source.text);
        let of_it: BTreeSet<String> = imported
            .chain(named)
            .filter_map(|path| absolute(&path, module, &modules))
            .map(|path| defining(path, &modules, &exports))
            .filter(|found| found != module)
            .map(|found| found.join("::"))
            .collect();
        imports.insert(module.join("::"), of_it);
    }
    imports
}

/// Finds the cycles of more than two modules, each in order.
#[must_use]
pub fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|module| (module.as_str(), reached_from(module, imports)))
        .collect();
    let goes = |from: &str, to: &str| reached.get(from).is_some_and(|set| set.contains(to));
    let mut circles = BTreeSet::new();
    for module in imports.keys() {
        let mutual = |other: &&String| goes(module, other) && goes(other, module);
        let circle: Vec<String> = imports.keys().filter(mutual).cloned().collect();
        if 2 < circle.len() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reached_from<'a>(module: &'a str, imports: &'a Imports) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![module];
    while let Some(module) = open.pop() {
        for next in imports.get(module).into_iter().flatten() {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}

fn segments(module: &str) -> Path {
    let parts = module.split("::").filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// Returns the path from the crate's root; `None` for a path to another crate.
fn absolute(path: &[String], module: &[String], modules: &BTreeSet<Path>) -> Option<Path> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let (_, parent) = module.split_last()?;
            let above = rest.first().is_some_and(|next| next == "super");
            if above {
                absolute(rest, parent, modules)
            } else {
                Some([parent, rest].concat())
            }
        }
        _ => {
            let child = [module, std::slice::from_ref(first)].concat();
            modules.contains(&child).then(|| [module, path].concat())
        }
    }
}

/// Returns the module that defines the item of the path.
fn defining(
    path: Path,
    modules: &BTreeSet<Path>,
    exports: &BTreeMap<(Path, String), Path>,
) -> Path {
    let mut path = path;
    // An export leads to another at most as often as there are modules.
    for _ in 0..modules.len() {
        let lengths = (0..=path.len()).rev();
        let length = lengths.into_iter().find(|n| modules.contains(&path[..*n]));
        let module = path[..length.unwrap_or_default()].to_vec();
        let Some(name) = path.get(module.len()) else {
            return module;
        };
        match exports.get(&(module.clone(), name.clone())) {
            Some(exported) if *exported != path => path = exported.clone(),
            _ => return module,
        }
    }
    path
}

/// Returns all names that are used, with nested lists taken apart.
fn uses(text: &str) -> Vec<Use> {
    let mut found = Vec::new();
    for statement in statements(text) {
        let (visibility, tree) = statement.split_once("use ").unwrap_or_default();
        let is_export = visibility.trim_start().starts_with("pub");
        expand(&mut Vec::new(), tree.trim(), is_export, &mut found);
    }
    found
}

/// Returns the `use` statements, without their semicolons.
fn statements(text: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        let is_use = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
        if open.is_none() && is_use.iter().any(|begin| trimmed.starts_with(begin)) {
            open = Some(String::new());
        }
        let Some(statement) = &mut open else { continue };
        statement.push_str(trimmed);
        statement.push(' ');
        if let Some((statement, _)) = statement.split_once(';') {
            statements.push(statement.to_owned());
            open = None;
        }
    }
    statements
}

fn expand(prefix: &mut Path, tree: &str, is_export: bool, into: &mut Vec<Use>) {
    let Some((before, list)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path = [prefix.clone(), segments(path.trim())].concat();
        if path
            .last()
            .is_some_and(|last| last == "self" && 1 < path.len())
        {
            path.pop();
        }
        let last = path.last().cloned().unwrap_or_default();
        let alias = Some(alias.trim().to_owned()).filter(|alias| !alias.is_empty());
        into.push(Use {
            alias: alias.unwrap_or(last),
            path,
            is_export,
        });
        return;
    };
    let added = segments(before.trim());
    let length = prefix.len();
    prefix.extend(added);
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    for item in items(list) {
        expand(prefix, item.trim(), is_export, into);
    }
    prefix.truncate(length);
}

/// Returns the items of a list, split at the commas outside of nested lists.
fn items(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[begin..]);
    items.retain(|item| !item.trim().is_empty());
    items
}

/// Returns the paths within code that begin with `crate::` or `super::`.
fn inline_paths(text: &str) -> Vec<Path> {
    let code = text.lines().filter_map(|line| line.split("//").next());
    let mut paths = Vec::new();
    for line in code.filter(|line| !line.contains("use ")) {
        for begin in ["crate::", "super::"] {
            for (at, _) in line.match_indices(begin) {
                let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                let is_inner = line[..at].chars().next_back().is_some_and(is_word);
                let path: String = line[at..].chars().take_while(|c| is_word(*c)).collect();
                if !is_inner {
                    paths.push(segments(&path));
                }
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: &str, text: &str) -> Source {
        Source {
            path: module.into(),
            module: module.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn import_leads_to_the_defining_module() {
        let sources = [
            source("", "mod a;\npub use a::{Deep, inner::Other as Renamed};\n"),
            source(
                "a",
                "mod inner;\npub(crate) use inner::{\n    Deep,\n    Other,\n};\n",
            ),
            source("a::inner", "use std::fmt;\nuse super::Own;\n"),
            source("b", "use crate::{Deep, Renamed as R, a::{self, Own}};\n"),
            source(
                "c",
                "fn f() { crate::a::Other::g(super::b::h()) } // crate::d\n",
            ),
        ];
        let imports = imports(&sources);
        let of = |module: &str| {
            imports[module]
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(""), [""; 0]);
        assert_eq!(of("a"), [""; 0]);
        assert_eq!(of("a::inner"), ["a"]);
        assert_eq!(of("b"), ["a", "a::inner"]);
        assert_eq!(of("c"), ["a::inner", "b"]);
    }

    #[test]
    fn circles_of_more_than_two_are_found() {
        let text = |of: &str| format!("use crate::{of};\n");
        let mut sources = vec![
            source("a", &text("b::B")),
            source("b", &text("a::A")),
            source("c", &text("d::D")),
            source("d", &text("e::E")),
            source("e", &text("a::A")),
        ];
        assert!(circles(&imports(&sources)).is_empty());
        sources[0] = source("a", &text("c::C"));
        let all = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(
            circles(&imports(&sources)),
            [all[..1]
                .iter()
                .chain(&all[2..])
                .cloned()
                .collect::<Vec<_>>()]
        );
    }
}

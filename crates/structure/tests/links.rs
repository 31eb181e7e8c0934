//! Links between the pages lead somewhere: to a file, and to a heading of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Reads the pages of the workspace, by their paths from its root.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = root();
    let mut found = BTreeMap::new();
    collect(&root, &mut found);
    let inside = |path: &Path| path.strip_prefix(&root).expect("a page inside").to_owned();
    found
        .into_iter()
        .map(|(path, text)| (inside(&path), text))
        .collect()
}

fn root() -> PathBuf {
    normal(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
}

fn collect(folder: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_hidden = name.to_string_lossy().starts_with('.');
        if is_hidden || name == "target" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|end| end == "md") {
            let text = fs::read_to_string(&path).expect("a page");
            into.insert(path, text);
        }
    }
}

/// Resolves `..` and `.` in a path, without reading the disk.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts
}

/// Returns the lines of a page that are no code block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the targets of the links and images of a line, outside of code.
fn targets(line: &str) -> Vec<String> {
    let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
    let ends = outside.split("](").skip(1);
    let targets = ends.filter_map(|rest| rest.split([')', ' ']).next());
    targets.map(str::to_owned).collect()
}

/// Returns the anchors of a page's headings, as GitHub and mdBook form them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let slug = slug(line.trim_start_matches('#').trim());
            let count = counts.entry(slug.clone()).or_default();
            *count += 1;
            match *count {
                1 => slug,
                n => format!("{slug}-{}", n - 1),
            }
        })
        .collect()
}

fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages();
    assert!(20 < pages.len(), "{:?}", pages.keys());
    let mut broken = Vec::new();
    for (page, text) in &pages {
        for target in prose(text).flat_map(targets) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = page.parent().unwrap_or(Path::new(""));
            let path = match file {
                "" => page.clone(),
                file => normal(&folder.join(file)),
            };
            let is_there = root().join(&path).exists();
            let has_anchor = |text: &String| anchors(text).contains(anchor);
            if !is_there || !anchor.is_empty() && !pages.get(&path).is_some_and(has_anchor) {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn summary_lists_every_page() {
    let pages = pages();
    let summary = &pages[Path::new("docs/SUMMARY.md")];
    let listed: BTreeSet<_> = prose(summary).flat_map(targets).collect();
    let docs = pages
        .keys()
        .filter_map(|path| path.strip_prefix("docs").ok());
    let docs = docs.map(|path| path.to_string_lossy().into_owned());
    let expected: BTreeSet<_> = docs.filter(|page| page != "SUMMARY.md").collect();
    assert_eq!(listed, expected);
}

#[test]
fn anchors_are_those_of_github() {
    let text =
        "# A page\n## flock(1) and arbiter\n```\n# no heading\n```\n### `code`, too\n## A page\n";
    let expected = ["a-page", "a-page-1", "code-too", "flock1-and-arbiter"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
}

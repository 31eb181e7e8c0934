//! The source files of a crate.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path from the root of the workspace.
    pub path: PathBuf,
    /// The module that it is, without the crate: `store::redis`; empty for the crate's root.
    pub module: String,
    /// Its text without inline test modules.
    pub text: String,
}

/// Reads the sources of the crate at `krate`, a path from the root of the workspace, in order. Test
/// modules are left out.
///
/// # Panics
/// If they cannot be read.
#[must_use]
pub fn sources(krate: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let src = root.join(krate).join("src");
    let mut found = Vec::new();
    collect(&src, &mut found);
    found.sort();
    let source = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source file");
        Source {
            path: path.strip_prefix(&root).unwrap_or(path).to_owned(),
            module: module_of(path.strip_prefix(&src).unwrap_or(path)),
            text: without_tests(&text),
        }
    };
    let is_product = |source: &Source| !source.module.split("::").any(|part| part == "tests");
    found.iter().map(source).filter(is_product).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

fn module_of(path: &Path) -> String {
    let path = path.with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    let mut parts: Vec<String> = parts.collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts.join("::")
}

/// Returns the text up to an inline test module, which is last in a file.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(") && line.contains("test");
        let opens = |next: &&str| next.starts_with("mod tests {");
        if is_test && lines.peek().is_some_and(opens) {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// Counts the lines of code: neither blank nor a comment alone.
#[must_use]
pub fn code_lines(text: &str) -> usize {
    let is_code = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//")
    };
    text.lines().filter(is_code).count()
}

//! The prose of the tree: comments, messages and pages.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lexer::{Item, Lexed, lex};

/// The kind of a piece of prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A page of the documentation.
    Page,
    /// A comment, or the documentation of an item.
    Comment,
    /// A text that the program prints.
    Message,
}

/// A piece of prose: a paragraph of a page, a block of comments, or a message.
#[derive(Clone, Debug)]
pub struct Prose {
    /// The path from the root of the workspace.
    pub path: PathBuf,
    /// The kind.
    pub kind: Kind,
    /// The lines, each with its number.
    pub lines: Vec<(usize, String)>,
    /// The item that the prose documents.
    pub item: Item,
}

impl Prose {
    /// Counts the words.
    #[must_use]
    pub fn words(&self) -> usize {
        let words = self
            .lines
            .iter()
            .flat_map(|(_, line)| line.split_whitespace());
        words
            .filter(|word| word.contains(char::is_alphanumeric))
            .count()
    }
}

/// Folders that hold no prose of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", ".venv"];

/// Files that quote the words that the check looks for.
const QUOTES: [&str; 2] = [
    "crates/structure/tests/language.rs",
    "crates/structure/tests/names.rs",
];

/// Reads the prose of the tree below `root`.
///
/// # Panics
/// If a file cannot be read.
#[must_use]
pub fn prose(root: &Path) -> Vec<Prose> {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(root).unwrap_or(&file).to_owned();
        if QUOTES.iter().any(|quotes| path == Path::new(quotes)) {
            continue;
        }
        if is_read(&path) {
            let text = fs::read_to_string(&file).expect("a text file");
            found.extend(of_file(&path, &text));
        }
    }
    found
}

/// Returns whether a file has prose of a kind that is known.
fn is_read(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    end.map_or(path.starts_with("scripts"), |end| {
        ["rs", "md", "lua", "sql"].contains(&end)
    })
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_symlink() {
            continue;
        } else if !path.is_dir() {
            into.push(path);
        } else if !SKIPPED.iter().any(|skipped| name == *skipped) {
            collect(&path, into);
        }
    }
}

/// Returns the prose of a file with that path and text; nothing for a file of another kind.
#[must_use]
pub fn of_file(path: &Path, text: &str) -> Vec<Prose> {
    let of = |kind, lines: Vec<_>, item| Prose {
        path: path.to_owned(),
        kind,
        lines,
        item,
    };
    let blocks = |kind, blocks: Vec<Vec<_>>| {
        let block = |lines| of(kind, lines, Item::None);
        let blocks = blocks.into_iter().filter(|lines| !lines.is_empty());
        blocks.map(block).collect()
    };
    let end = path.extension().and_then(|end| end.to_str());
    match end {
        Some("rs") => rust(path, &lex(text), of),
        Some("md") => blocks(Kind::Page, paragraphs(text)),
        Some("lua" | "sql") => blocks(Kind::Comment, line_comments(text, "--")),
        None if path.starts_with("scripts") => blocks(Kind::Comment, line_comments(text, "#")),
        _ => Vec::new(),
    }
}

/// Returns the comments and messages of a source file.
fn rust(
    path: &Path,
    lexed: &Lexed,
    of: impl Fn(Kind, Vec<(usize, String)>, Item) -> Prose,
) -> Vec<Prose> {
    let mut found: Vec<Prose> = Vec::new();
    for block in lexed.comment_blocks() {
        let item = match (block.documents, block.lines.last()) {
            (true, Some(&(last, _))) => lexed.item_after(last),
            _ => Item::None,
        };
        found.push(of(Kind::Comment, without_code(block.lines), item));
    }
    let is_product = path.components().any(|part| part.as_os_str() == "src")
        && !path.to_string_lossy().contains("tests");
    if is_product {
        let product = lexed
            .strings
            .iter()
            .take_while(|(line, _)| *line < lexed.test_module);
        let messages = product.filter(|(_, text)| is_message(text));
        found.extend(messages.map(|(line, text)| {
            let text = without_placeholders(&text.replace("\\n", " "));
            let lines = text.lines().zip(*line..);
            let lines = lines.map(|(text, line)| (line, text.trim_end_matches('\\').to_owned()));
            of(Kind::Message, lines.collect(), Item::None)
        }));
    }
    found
}

/// Returns whether a string is a text for people: three words in a row, and no code.
fn is_message(text: &str) -> bool {
    let is_word = |word: &&str| {
        let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
        1 < word.len() && word.chars().all(|c| c.is_ascii_lowercase())
    };
    let words: Vec<_> = text.split_whitespace().collect();
    let in_a_row = words.windows(3).any(|words| words.iter().all(is_word));
    let code = ["::", ";\n", "();", "SELECT ", "fn ", "let ", "=>", "_until"];
    in_a_row && !code.iter().any(|code| text.contains(code))
}

/// Replaces the placeholders of a format string by spans of code.
fn without_placeholders(text: &str) -> String {
    let mut kept = String::new();
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => {
                depth += 1;
                kept.push_str("``");
            }
            '}' => depth = depth.saturating_sub(1),
            c if 0 < depth && c != '\n' => {}
            c => kept.push(c),
        }
    }
    kept
}

/// Drops blocks of code from the lines of a comment.
fn without_code(lines: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut kept = Vec::new();
    for (number, line) in lines {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence {
            kept.push((number, line));
        }
    }
    kept
}

/// Returns the paragraphs of a page, without its blocks of code.
fn paragraphs(text: &str) -> Vec<Vec<(usize, String)>> {
    let lines = text.lines().map(str::to_owned);
    let lines = without_code((1..).zip(lines).collect());
    let mut found = vec![Vec::new()];
    for (number, line) in lines {
        // A row of a table, an item of a list and a heading are paragraphs.
        let starts = line.trim().is_empty() || line.trim_start().starts_with(['|', '-', '#']);
        if starts {
            found.push(Vec::new());
        }
        if let Some(last) = found.last_mut() {
            last.push((number, line));
        }
    }
    found
}

/// Returns the blocks of whole-line comments that begin with `mark`.
fn line_comments(text: &str, mark: &str) -> Vec<Vec<(usize, String)>> {
    let mut found = vec![Vec::new()];
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix(mark), found.last_mut()) {
            (Some(comment), Some(last)) => last.push((number, comment.to_owned())),
            _ => found.push(Vec::new()),
        }
    }
    found
}

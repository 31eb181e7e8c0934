//! The comments and strings of Rust sources.

/// The parts of a source that hold prose, and the code around them.
#[derive(Debug)]
pub(crate) struct Lexed {
    /// The comments: the line, the text after the slashes, and the kind.
    comments: Vec<(usize, String, Comment)>,
    /// The strings: the line, and the text between the quotes.
    pub(crate) strings: Vec<(usize, String)>,
    /// The lines of code, without comments and without the text of strings.
    code: Vec<String>,
    /// The line at which an inline test module begins.
    pub(crate) test_module: usize,
}

/// The kind of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comment {
    Plain,
    Trailing,
    Outer,
    Inner,
}

/// The item that a comment documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// No item.
    None,
    /// A function or method that is not a test.
    Function,
    /// Another item, or a test.
    Other,
}

/// Comments on consecutive lines.
pub(crate) struct Block {
    /// The lines, each with its number.
    pub(crate) lines: Vec<(usize, String)>,
    /// Whether it documents the item below.
    pub(crate) documents: bool,
}

/// Splits a source into comments, strings and code.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexed = Lexed {
        comments: Vec::new(),
        strings: Vec::new(),
        code: vec![String::new()],
        test_module: usize::MAX,
    };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            lexed.take_comment(rest)
        } else if c == '"' {
            lexed.take_string(rest, 1, "\"", true)
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            lexed.take_raw_string(rest)
        } else if c == '\'' {
            lexed.take_quote(rest)
        } else {
            lexed.push(&rest[..c.len_utf8()]);
            c.len_utf8()
        };
        rest = &rest[taken..];
    }
    let is_test = |line: &String| line.starts_with("mod tests {");
    if let Some(line) = lexed.code.iter().position(is_test) {
        lexed.test_module = line + 1;
    }
    lexed
}

impl Lexed {
    fn push(&mut self, code: &str) {
        for c in code.chars() {
            match (c, self.code.last_mut()) {
                ('\n', _) | (_, None) => self.code.push(String::new()),
                (c, Some(line)) => line.push(c),
            }
        }
    }

    fn take_comment(&mut self, rest: &str) -> usize {
        let text = rest.lines().next().unwrap_or_default();
        let is_alone = self.code.last().is_none_or(|line| line.trim().is_empty());
        let (mark, kind) = match text {
            text if text.starts_with("///") && !text.starts_with("////") => (3, Comment::Outer),
            text if text.starts_with("//!") => (3, Comment::Inner),
            _ if is_alone => (2, Comment::Plain),
            _ => (2, Comment::Trailing),
        };
        let comment = text[mark..].to_owned();
        self.comments.push((self.code.len(), comment, kind));
        text.len()
    }

    /// Takes a string: `open` bytes, and the text up to `close`.
    fn take_string(&mut self, rest: &str, open: usize, close: &str, escapes: bool) -> usize {
        let mut at = open;
        while let Some(c) = rest[at..].chars().next() {
            if rest[at..].starts_with(close) {
                break;
            }
            at += c.len_utf8();
            if escapes && c == '\\' {
                at += rest[at..].chars().next().map_or(0, char::len_utf8);
            }
        }
        let text = &rest[open..at];
        self.strings.push((self.code.len(), text.to_owned()));
        let lines: String = text.chars().filter(|c| *c == '\n').collect();
        self.push(&format!("\"{lines}\""));
        (at + close.len()).min(rest.len())
    }

    fn take_raw_string(&mut self, rest: &str) -> usize {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        let is_part = self.code.last().is_some_and(|line| {
            line.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !line.ends_with("br")
        });
        if is_part || !rest[1 + hashes..].starts_with('"') {
            self.push("r");
            return 1;
        }
        let close = format!("\"{}", "#".repeat(hashes));
        self.take_string(rest, 2 + hashes, &close, false)
    }

    /// Takes a character, or the mark of a lifetime.
    fn take_quote(&mut self, rest: &str) -> usize {
        let mut inner = rest[1..].chars();
        let first = inner.next();
        let length = match (first, inner.next()) {
            (Some('\\'), Some(escaped)) => {
                let from = 2 + escaped.len_utf8();
                rest[from..].find('\'').map_or(1, |end| from + end + 1)
            }
            (Some(c), Some('\'')) => 2 + c.len_utf8(),
            _ => 1,
        };
        self.push("'");
        length
    }

    /// Returns the comments, those of one kind on consecutive lines together.
    pub(crate) fn comment_blocks(&self) -> Vec<Block> {
        let mut found: Vec<(Block, Comment)> = Vec::new();
        for (number, text, kind) in &self.comments {
            let line = (*number, text.clone());
            if let Some((block, last)) = found.last_mut()
                && last == kind
                && block
                    .lines
                    .last()
                    .is_some_and(|(last, _)| last + 1 == *number)
            {
                block.lines.push(line);
                continue;
            }
            let documents = *kind == Comment::Outer;
            let lines = vec![line];
            found.push((Block { lines, documents }, *kind));
        }
        found.into_iter().map(|(block, _)| block).collect()
    }

    /// Returns the item of the code after that line.
    pub(crate) fn item_after(&self, line: usize) -> Item {
        let mut depth = 0_usize;
        for code in self.code.iter().skip(line) {
            let code = code.trim();
            if code.contains("test]") || code.contains("test(") {
                return Item::Other;
            }
            if code.is_empty() || code.starts_with("#[") || 0 < depth {
                let count = |c: char| code.chars().filter(|found| *found == c).count();
                depth = (depth + count('[')).saturating_sub(count(']'));
                continue;
            }
            let is_qualifier = |word: &&str| {
                matches!(*word, "const" | "async" | "unsafe" | "extern") || word.starts_with("pub")
            };
            let words = code.split_whitespace();
            let mut words = words.skip_while(|word| is_qualifier(word) || word.ends_with(')'));
            return match words.next() {
                Some("fn") => Item::Function,
                _ => Item::Other,
            };
        }
        Item::Other
    }
}

//! Text that fits: its width is that of a terminal, where some characters take two columns.

use ratatui::text::Span;

/// Returns how many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Returns the text, cut with an ellipsis if it is wider.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let (mut cut, mut used) = (String::new(), 0);
    for span in Span::raw(text).styled_graphemes(ratatui::style::Style::new()) {
        used += width(span.symbol);
        if most <= used {
            break;
        }
        cut.push_str(span.symbol);
    }
    if 0 < most {
        cut.push('…');
    }
    cut
}

/// Breaks a text into lines of at most that width, at spaces if there are any. The lines after the
/// first are indented as the first is, and by two more columns.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let most = most.max(1);
    let indent = text.len() - text.trim_start_matches(' ').len();
    let hanging = if indent + 12 < most { indent + 2 } else { 0 };
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    // Where the line can be broken.
    let mut space: Option<usize> = None;
    for span in Span::raw(text).styled_graphemes(ratatui::style::Style::new()) {
        let symbol = span.symbol;
        let columns = width(symbol);
        if most < used + columns && 0 < used {
            // A space that does not fit ends the line.
            let at = space.take().filter(|_| symbol != " ");
            let rest = at.map_or(String::new(), |at| line.split_off(at));
            lines.push(std::mem::take(&mut line));
            line = " ".repeat(hanging) + rest.trim_start();
            used = width(&line);
            if symbol == " " {
                continue;
            }
        }
        if symbol == " " && !line.trim().is_empty() {
            space = Some(line.len());
        }
        line.push_str(symbol);
        used += columns;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_text_fits_its_columns() {
        for (text, most, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("中文字", 6, "中文字"),
            ("中文字", 5, "中文…"),
            ("中文字", 4, "中…"),
            ("中", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(cut(text, most), expected);
            assert!(width(&cut(text, most)) <= most);
        }
    }

    #[test]
    fn wrapped_lines_fit_and_lose_no_word() {
        let text = "  fence 12: arbiter (pid 4711) on 中文主机: a-note-without-any-space, for 12 s";
        for most in 2..100 {
            let lines = wrapped(text, most);
            assert!(lines.iter().all(|line| width(line) <= most), "{lines:?}");
            let joined: String = lines.concat().split(' ').collect();
            assert_eq!(joined, text.split(' ').collect::<String>(), "{most}");
        }
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("ab cd ef", 5), ["ab cd", "ef"]);
    }
}

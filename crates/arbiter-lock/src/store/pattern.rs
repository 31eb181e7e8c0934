//! Patterns of names: `*` matches any text, `?` one character.

/// A pattern of names.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns whether the whole name matches.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) =
            (self.0.chars().collect(), name.chars().collect());
        let (mut p, mut n) = (0, 0);
        // The position of the last `*`, and how much of the name it matches.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
                _ => match star {
                    Some((at, taken)) => {
                        star = Some((at, taken + 1));
                        (p, n) = (at + 1, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }

    /// Returns the text of the pattern.
    #[cfg(feature = "redis")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_text_and_question_marks_one() {
        for (pattern, names, others) in [
            ("*", &["", "a", "a*b"][..], &[][..]),
            ("", &[""], &["a"]),
            ("a*", &["a", "ab", "a/b"], &["b", "ba"]),
            ("*b", &["b", "ab", "abb"], &["ba"]),
            ("a*b*c", &["abc", "axbxc", "abbcc"], &["acb", "ab"]),
            ("a?c", &["abc", "aüc"], &["ac", "abbc"]),
            ("[a]", &["[a]"], &["a"]),
            ("a\\*", &["a\\", "a\\b"], &["a*"]),
            ("*a*a*a*b", &["aaab"], &["aaaaaaaaaaaaaaaaaaaaaaaac"]),
        ] {
            let pattern = Pattern::new(pattern);
            for name in names {
                assert!(pattern.matches(name), "{pattern:?} {name}");
            }
            for name in others {
                assert!(!pattern.matches(name), "{pattern:?} {name}");
            }
        }
    }
}

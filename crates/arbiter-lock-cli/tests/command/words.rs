//! Finds the command lines of `arbiter` in scripts and pages.

/// Returns the words of each command line of `arbiter` in a script.
pub(crate) fn command_lines(script: &str) -> Vec<Vec<String>> {
    script_lines(script, "arbiter")
}

/// Returns the words of each command line that starts with that program.
pub(crate) fn script_lines(script: &str, program: &str) -> Vec<Vec<String>> {
    let joined = script.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| {
        let words = words(line);
        let at = words.iter().position(|word| word == program)?;
        Some(words[at..].to_vec())
    });
    lines.filter(|words| 1 < words.len()).collect()
}

/// Splits a line into words as a shell does, for the syntax of our scripts.
///
/// That is: quotes, comments, and the end of the command at an operator.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None => match c {
                '\'' | '"' => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                ' ' | '\t' => words.extend(word.take()),
                '#' if word.is_none() => break,
                ';' | '|' | '&' | '<' | '>' | '(' | ')' | '│' => {
                    words.extend(word.take());
                    // Only the last command before the operator counts, unless it is ours.
                    if words.iter().any(|word: &String| word.ends_with("arbiter")) {
                        return words;
                    }
                    words.clear();
                }
                _ => word.get_or_insert_default().push(c),
            },
        }
    }
    words.extend(word);
    words
}

#[test]
fn words_end_at_operators_and_comments() {
    let lines =
        command_lines("x && arbiter run -n 'a b' -- sh -c \"c | d\" | less # e\n# arbiter f");
    let expected = ["arbiter", "run", "-n", "a b", "--", "sh", "-c", "c | d"];
    assert_eq!(lines, [expected.map(str::to_owned).to_vec()]);
}

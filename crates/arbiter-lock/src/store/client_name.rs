//! How a connection shows in the server's list.

use std::sync::Arc;

use crate::label::Label;

/// The most characters of a name.
const MOST_CHARS: usize = 128;

/// Returns the given name, or `arbiter:HOST:PID`, in characters that the server allows.
pub(crate) fn client_name(given: Option<&str>) -> Arc<str> {
    let default = || {
        let Label { host, pid, .. } = Label::of_this_process();
        let (host, pid) = (host.unwrap_or_default(), pid.unwrap_or_default());
        format!("arbiter:{host}:{pid}")
    };
    let name = given.map_or_else(default, str::to_owned);
    let allowed = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let name: String = name.chars().map(allowed).take(MOST_CHARS).collect();
    name.into()
}

#[cfg(test)]
mod tests {
    use super::client_name;

    #[test]
    fn forbidden_characters_are_replaced() {
        assert_eq!(&*client_name(Some("web 1\ném")), "web_1__m");
        assert_eq!(client_name(Some(&"x".repeat(500))).len(), 128);
        let pid = std::process::id().to_string();
        let name = client_name(None);
        assert!(
            name.starts_with("arbiter:") && name.ends_with(&pid),
            "{name}"
        );
    }
}

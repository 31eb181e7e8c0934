//! The password of a connection: that of the URL, of `PGPASSWORD`, or of the password file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::url::{Endpoint, PostgresUrl};

/// Returns the password for a place. Reads the password file, if no other one is given.
pub(super) fn password(url: &PostgresUrl, place: &Endpoint) -> Option<String> {
    let of_variable = || std::env::var("PGPASSWORD").ok();
    let given = url.password.clone().or_else(of_variable);
    given.or_else(|| {
        let file = std::env::var_os("PGPASSFILE").map(PathBuf::from);
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass"));
        let file = file.or_else(home)?;
        // As PostgreSQL's own programs, which ignore a file that others may read.
        let mode = std::fs::metadata(&file).ok()?.permissions().mode();
        if mode & 0o077 != 0 {
            return None;
        }
        let (host, port) = match place {
            Endpoint::Unix(..) => ("localhost", place.host_and_port().1),
            Endpoint::Tcp(_) => place.host_and_port(),
        };
        let port = port.to_string();
        let wanted = [host, &port, &url.database, &url.user];
        find(&std::fs::read_to_string(file).ok()?, wanted)
    })
}

/// Returns the password in the first line that matches: `host:port:database:user:password`.
fn find(lines: &str, wanted: [&str; 4]) -> Option<String> {
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| {
        let [found @ .., password] = fields.as_slice() else {
            return None;
        };
        let matches = found.len() == wanted.len()
            && (found.iter().zip(wanted)).all(|(field, wanted)| field == "*" || field == wanted);
        matches.then(|| password.clone())
    })
}

/// Splits a line at its first four colons. A backslash escapes a colon or a backslash.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => field.extend(chars.next()),
            ':' if fields.len() < 4 => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_line_has_the_password() {
        let file = "# h:1:d:u:comment\n\
                    h:1:d:other:no\n\
                    h:1:*:u:a\\:b\\\\c:d\n\
                    *:*:*:*:last\n";
        let password = |wanted| find(file, wanted);
        assert_eq!(password(["h", "1", "d", "u"]).as_deref(), Some("a:b\\c:d"));
        assert_eq!(password(["h", "2", "d", "u"]).as_deref(), Some("last"));
        assert_eq!(find("h:1:d:u", ["h", "1", "d", "u"]), None);
    }
}

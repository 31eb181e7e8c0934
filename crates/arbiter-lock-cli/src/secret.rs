//! Passwords within URLs.

/// Returns the password in a URL: between the user and the last `@`, or a parameter.
pub(crate) fn secret(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let user_info = rest.rsplit_once('@').map_or("", |(info, _)| info);
    let password = user_info.split_once(':').map(|(_, password)| password);
    let parameter = || {
        let (_, value) = rest.split_once("pass=")?;
        value.split('&').next()
    };
    password
        .or_else(parameter)
        .filter(|secret| !secret.is_empty())
}

/// Returns the argument with its password replaced.
pub(crate) fn without_secret(arg: &str) -> String {
    match secret(arg) {
        Some(secret) => arg.replace(secret, "***"),
        None => arg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_password_is_found_in_every_position() {
        let known = [
            ("redis://:pw@h", Some("pw")),
            ("--store=redis://u:p/w@h:1/0", Some("p/w")),
            ("redis+unix:///s?db=1&pass=pw&x=y", Some("pw")),
            ("redis://u@h:6379/0", None),
            ("redis://h:6379", None),
            ("redis://:@h", None),
            ("a:b@c", None),
        ];
        for (url, password) in known {
            assert_eq!(secret(url), password, "{url}");
        }
        assert_eq!(without_secret("redis://u:pw@h"), "redis://u:***@h");
    }
}

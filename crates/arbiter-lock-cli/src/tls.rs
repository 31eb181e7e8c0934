//! The TLS settings that the flags, the environment or the store's URL name.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use arbiter_lock::{ClientBuilder, Tls};

use crate::cli::StoreArgs;
use crate::exit::Exit;
use crate::output;
use crate::store::{check_readable, variable};

/// The TLS settings, each from its flag or else its variable.
struct TlsFlags {
    cacert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    sni: Option<String>,
}

impl TlsFlags {
    fn of(args: &StoreArgs) -> Self {
        let path = |flag: &Option<PathBuf>, name| flag.clone().or(variable(name).map(Into::into));
        let sni = || variable("ARBITER_SNI")?.into_string().ok();
        Self {
            cacert: path(&args.cacert, "ARBITER_CACERT"),
            cert: path(&args.cert, "ARBITER_CERT"),
            key: path(&args.key, "ARBITER_KEY"),
            sni: args.sni.clone().or_else(sni),
        }
    }
}

/// Sets the TLS settings of a client. Their files have to be readable.
pub(crate) fn with_tls(args: &StoreArgs, builder: ClientBuilder) -> Result<ClientBuilder, Exit> {
    let flags = TlsFlags::of(args);
    let files = [&flags.cacert, &flags.cert, &flags.key];
    for path in files.into_iter().flatten() {
        check_readable(path, "a certificate or a key")?;
    }
    let mut tls = Tls::new();
    if let Some(path) = &flags.cacert {
        tls = tls.ca_file(path);
    }
    match (&flags.cert, &flags.key) {
        (Some(cert), Some(key)) => tls = tls.identity_files(cert, key),
        (None, None) => {}
        (cert, _) => {
            let (given, missing) = match cert {
                Some(_) => ("--cert (ARBITER_CERT)", "--key (ARBITER_KEY)"),
                None => ("--key (ARBITER_KEY)", "--cert (ARBITER_CERT)"),
            };
            output::say(&format!("{given} needs {missing}"));
            return Err(Exit::Usage);
        }
    }
    if let Some(name) = &flags.sni {
        tls = tls.server_name(name);
    }
    Ok(builder.tls(tls))
}

/// Returns the variables that make a nested arbiter use the same settings.
pub(crate) fn env(args: &StoreArgs) -> [(&'static str, Option<OsString>); 4] {
    let TlsFlags {
        cacert,
        cert,
        key,
        sni,
    } = TlsFlags::of(args);
    let absolute = |path: Option<PathBuf>| path.map(|path| absolute(&path).into_os_string());
    [
        ("ARBITER_CACERT", absolute(cacert)),
        ("ARBITER_CERT", absolute(cert)),
        ("ARBITER_KEY", absolute(key)),
        ("ARBITER_SNI", sni.map(Into::into)),
    ]
}

/// The options of URLs that name a file.
const FILES: [&str; 6] = [
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "sslrootcert",
    "sslcert",
    "sslkey",
];

/// Returns a store's URL with the paths of its files from any folder.
pub(crate) fn with_absolute_files(url: &str) -> Cow<'_, str> {
    let here = std::env::current_dir().ok();
    here.map_or(url.into(), |here| with_files_of(&here, url))
}

/// Returns a store's URL with the paths of its files, which are relative to that folder.
fn with_files_of<'a>(folder: &Path, url: &'a str) -> Cow<'a, str> {
    let (Some((store, query)), Some(folder)) = (url.split_once('?'), escaped(folder)) else {
        return url.into();
    };
    let is_relative = |option: &str| {
        let (name, path) = option.split_once('=').unwrap_or((option, ""));
        let is_absolute = ["/", "%2F", "%2f"]
            .iter()
            .any(|root| path.starts_with(root));
        let is_path = !path.trim().is_empty() && (name, path) != ("sslrootcert", "system");
        FILES.contains(&name) && is_path && !is_absolute
    };
    let options = query.split('&').map(|option| match is_relative(option) {
        true => option.replacen('=', &format!("={folder}/"), 1),
        false => option.to_owned(),
    });
    format!("{store}?{}", options.collect::<Vec<_>>().join("&")).into()
}

/// Returns a path as a URL has it, if it is UTF-8.
fn escaped(path: &Path) -> Option<String> {
    let mut escaped = String::new();
    for byte in path.to_str()?.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => escaped.push(byte.into()),
            byte => write!(escaped, "%{byte:02X}").ok()?,
        }
    }
    Some(escaped)
}

/// Returns the path from any folder: the command may change to another one.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_urls_are_absolute() {
        let folder = Path::new("/srv/a b");
        for (url, expected) in [
            ("redis://h", "redis://h"),
            ("redis://h?db=1", "redis://h?db=1"),
            (
                "rediss://h/1?ssl_ca_certs=ca.pem&db=1",
                "rediss://h/1?ssl_ca_certs=/srv/a%20b/ca.pem&db=1",
            ),
            (
                "postgres://u@h/d?sslrootcert=../ca%20x&sslcert=%2Fc&sslkey=/k",
                "postgres://u@h/d?sslrootcert=/srv/a%20b/../ca%20x&sslcert=%2Fc&sslkey=/k",
            ),
            (
                "postgres://u@h/d?sslrootcert=system&sslcert=",
                "postgres://u@h/d?sslrootcert=system&sslcert=",
            ),
        ] {
            assert_eq!(with_files_of(folder, url), expected);
        }
    }
}

//! The TLS settings that the flags or the environment name.

use std::ffi::OsString;
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

/// Returns the path from any folder: the command may change to another one.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

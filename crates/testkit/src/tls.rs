//! A certificate for a server on 127.0.0.1, which signs itself.

use std::path::Path;

pub(crate) const CERTIFICATE: &str = "server.crt";
pub(crate) const KEY: &str = "server.key";

/// Writes the certificate and its key into the folder.
pub(crate) fn write_certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(folder.join(CERTIFICATE), made.cert.pem()).expect("the certificate's file");
    std::fs::write(folder.join(KEY), made.signing_key.serialize_pem()).expect("the key's file");
}

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

/// The options of a server that speaks TLS on that port, run in the folder.
pub(crate) fn arguments(port: u16) -> Vec<String> {
    let port = port.to_string();
    let options = [
        ["--tls-port", &port],
        ["--tls-cert-file", CERTIFICATE],
        ["--tls-key-file", KEY],
        ["--tls-ca-cert-file", CERTIFICATE],
        ["--tls-auth-clients", "no"],
    ];
    options.concat().into_iter().map(str::to_owned).collect()
}

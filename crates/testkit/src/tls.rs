//! TLS for a server on 127.0.0.1, with a self-signed certificate.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub(crate) const CERTIFICATE: &str = "server.crt";
pub(crate) const KEY: &str = "server.key";

/// Writes the certificate for that host and its key into the folder.
pub(crate) fn write_certificate(folder: &Path, host: &str) {
    write(folder, host, IsCa::NoCa);
}

/// Writes a certificate for that host and its key into the folder. It is also one of an authority,
/// as the usual command of OpenSSL makes it.
pub(crate) fn write_authority(folder: &Path, host: &str) {
    write(folder, host, IsCa::Ca(BasicConstraints::Unconstrained));
}

fn write(folder: &Path, host: &str, is_ca: IsCa) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([host.to_owned()]).expect("a host");
    params.is_ca = is_ca;
    let made = params.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join(CERTIFICATE), made.pem()).expect("the certificate's file");
    std::fs::write(folder.join(KEY), key.serialize_pem()).expect("the key's file");
}

/// Copies the certificate and its key from one folder to another.
pub(crate) fn copy_certificate(from: &Path, to: &Path) {
    for file in [CERTIFICATE, KEY] {
        std::fs::copy(from.join(file), to.join(file)).expect("a certificate to copy");
    }
}

/// Returns the options of a server that serves TLS on that port, run in the folder.
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

/// Returns whether a server's log reports that it was built without TLS.
pub(crate) fn is_lacking(log: &str) -> bool {
    log.contains("connection type tls") || log.contains("Bad directive")
}

/// Terminates TLS for a server that cannot, until drop.
#[derive(Debug)]
pub(crate) struct Terminator {
    pub(crate) port: u16,
    _alive: oneshot::Sender<()>,
}

impl Terminator {
    /// Starts in front of the server on that port, with the certificate in the folder.
    pub(crate) fn before(server: u16, folder: &Path) -> Self {
        let certificate = CertificateDer::from_pem_file(folder.join(CERTIFICATE));
        let key = PrivateKeyDer::from_pem_file(folder.join(KEY));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the usual versions of TLS")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.expect("the certificate")],
                key.expect("its key"),
            )
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a patient listener");
        let port = listener.local_addr().expect("its address").port();
        let (alive, mut ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                loop {
                    tokio::select! {
                        _ = &mut ended => return,
                        Ok((stream, _)) = listener.accept() => {
                            tokio::spawn(carry(acceptor.clone(), stream, server));
                        }
                    }
                }
            });
        });
        Self {
            port,
            _alive: alive,
        }
    }
}

/// Forwards a connection. A broken or distrusting client ends only its own.
async fn carry(acceptor: TlsAcceptor, stream: TcpStream, server: u16) {
    if let Ok(mut client) = acceptor.accept(stream).await
        && let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await
    {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

//! TLS to a database: the verification of each `sslmode`, passwords, and certificates of clients.

use arbiter_lock::{Client, Error, NoopLogger};
use testkit::{Folder, Postgres};

use crate::acquire_and_release;

/// Demands TLS and a password of every client.
const DEMANDING: &str = "hostssl all app 127.0.0.1/32 scram-sha-256\n\
                         hostssl all certified 127.0.0.1/32 trust clientcert=verify-ca\n\
                         host all postgres 127.0.0.1/32 trust\n\
                         local all all trust\n";

fn server() -> Postgres {
    let builder = Postgres::builder().setting("fsync", "off");
    let server = builder.tls().hba(DEMANDING).start();
    let _ = server.sql(
        "SET password_encryption = 'scram-sha-256';
         CREATE ROLE app LOGIN PASSWORD 'a secret'; GRANT CREATE ON DATABASE postgres TO app;
         CREATE ROLE certified LOGIN; GRANT CREATE ON DATABASE postgres TO certified",
    );
    server
}

fn url(server: &Postgres, options: &str) -> String {
    let port = server.port();
    format!("postgres://app:a%20secret@127.0.0.1:{port}/postgres?{options}")
}

async fn connect(url: &str) -> Result<Client, Error> {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.connect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_verifies_as_documented() {
    let server = server();
    let certificate = server.certificate();
    let root = format!("sslrootcert={}", certificate.display());
    for options in [
        "sslmode=require".to_owned(),
        format!("sslmode=require&{root}"),
        format!("sslmode=verify-ca&{root}"),
        format!("sslmode=verify-full&{root}"),
    ] {
        let client = connect(&url(&server, &options)).await;
        let client = client.unwrap_or_else(|error| panic!("{options}: {error}"));
        acquire_and_release(&client.lock("l")).await;
    }
    // The system does not know the authority; and the certificate is of another host.
    for options in ["sslmode=verify-ca", "sslmode=verify-full"] {
        let error = connect(&url(&server, options)).await.unwrap_err();
        assert!(
            error.to_string().contains("certificate"),
            "{options}: {error}"
        );
    }
    let named = url(&server, &format!("sslmode=verify-full&{root}"));
    let named = named.replace("127.0.0.1", "localhost");
    let error = connect(&named).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let by_ca = named.replace("verify-full", "verify-ca");
    acquire_and_release(&connect(&by_ca).await.unwrap().lock("l")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_is_bound_on_demand() {
    let server = server();
    for binding in ["require", "prefer", "disable"] {
        let options = format!("sslmode=require&channel_binding={binding}");
        let client = connect(&url(&server, &options)).await;
        let client = client.unwrap_or_else(|error| panic!("{binding}: {error}"));
        acquire_and_release(&client.lock("l")).await;
    }
    let error = connect(&url(&server, "channel_binding=require")).await;
    assert!(matches!(error, Err(Error::Invalid(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_demands_tls_is_recognized() {
    let server = server();
    let error = connect(&url(&server, "")).await.unwrap_err();
    assert!(error.to_string().contains("sslmode="), "{error}");
    let plain = Postgres::start();
    let options = plain.url() + "?sslmode=require";
    let error = connect(&options).await.unwrap_err();
    assert!(
        error.to_string().contains("does not support TLS"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_presents_its_certificate() {
    let server = server();
    let (certificate, key) = (server.certificate(), server.key());
    let plain = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        server.url_as("certified"),
        certificate.display()
    );
    let error = connect(&plain).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let (certificate, key) = (certificate.display(), key.display());
    let with_it = format!("{plain}&sslcert={certificate}&sslkey={key}");
    let client = connect(&with_it).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_certificate_file_is_named() {
    let (server, folder) = (server(), Folder::new());
    let missing = folder.path().join("none.pem");
    for option in ["sslrootcert", "sslcert"] {
        let mut options = format!("sslmode=verify-full&{option}={}", missing.display());
        if option == "sslcert" {
            options += &format!(
                "&sslkey={0}&sslrootcert={1}",
                missing.display(),
                server.certificate().display()
            );
        }
        let error = connect(&url(&server, &options)).await.unwrap_err();
        assert!(error.to_string().contains("none.pem"), "{option}: {error}");
    }
}

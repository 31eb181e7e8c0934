//! TLS to servers: trust, the files that are read, and the servers that are recognized.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, NoopLogger, RefusedKind, Tls};
use testkit::{Folder, Postgres, Server, eventually_async};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn connect(url: &str, tls: Tls) -> Result<Client, Error> {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.tls(tls).connect().await
}

fn invalid(error: &Error) -> &str {
    match error {
        Error::Invalid(invalid) => &invalid.message,
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn credentials_and_authorities_stand_besides_the_url() {
    let server = Server::builder().tls().start();
    server.call(&["ACL", "SETUSER", "u", "on", ">secret", "+@all", "~*", "&*"]);
    let connect = |password: &'static str, tls: Tls| {
        let builder = Client::builder().store(&server.tls_url());
        builder.credentials("u", password).tls(tls).connect()
    };
    let (path, pem) = (
        server.certificate(),
        fs::read(server.certificate()).unwrap(),
    );
    for tls in [Tls::new().ca_file(&path), Tls::new().ca_pem(&pem)] {
        let client = connect("secret", tls).await.unwrap();
        acquire_and_release(&client.lock("l")).await;
    }
    let denied = connect("wrong", Tls::new().ca_pem(&pem)).await;
    assert!(matches!(denied, Err(Error::Refused(_))), "{denied:?}");
    let untrusting = connect("secret", Tls::new()).await;
    assert!(untrusting.is_err(), "{untrusting:?}");
}

#[tokio::test]
async fn given_name_is_verified_for_every_host() {
    let server = Server::builder().tls_as("redis.internal").start();
    let tls = || Tls::new().ca_file(server.certificate());
    let named = tls().server_name("redis.internal");
    let client = connect(&server.tls_url(), named).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
    for tls in [tls(), tls().server_name("other.internal")] {
        let error = connect(&server.tls_url(), tls).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    let error = connect(&server.tls_url(), tls().server_name("a b")).await;
    assert!(invalid(&error.unwrap_err()).contains("a b"));
}

#[tokio::test]
async fn self_signed_authority_is_trusted_as_server() {
    let (server, other) = (
        Server::builder().tls_as_authority().start(),
        Server::builder().tls_as_authority().start(),
    );
    let tls = || Tls::new().ca_file(server.certificate());
    let client = connect(&server.tls_url(), tls()).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
    let named = server.tls_url().replace("127.0.0.1", "localhost");
    for (url, tls) in [
        (named, tls()),
        (server.tls_url(), tls().server_name("redis.internal")),
        (other.tls_url(), tls()),
    ] {
        let error = connect(&url, tls).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{url}: {error}");
    }
    // Of an authority or not, it is unknown.
    let plain = Server::builder().tls().start();
    for server in [&other, &plain] {
        let error = connect(&server.tls_url(), tls()).await.unwrap_err();
        let said = "the certificate is not trusted: it is self-signed or of an unknown authority; \
                    --cacert FILE";
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn client_presents_its_certificate_on_demand() {
    let server = Server::builder().tls().arg("--tls-auth-clients").arg("yes");
    let server = server.start();
    if server.own_tls_port().is_none() {
        println!("the server has no TLS of its own, which asks for certificates");
        return;
    }
    let (certificate, key) = (server.certificate(), server.key());
    let tls = || Tls::new().ca_file(&certificate);
    let error = connect(&server.tls_url(), tls()).await.unwrap_err();
    assert!(error.to_string().contains("ertificate"), "{error}");
    let read = |path: &Path| fs::read(path).unwrap();
    for tls in [
        tls().identity_files(&certificate, &key),
        tls().identity_pem(read(&certificate), read(&key)),
    ] {
        let client = connect(&server.tls_url(), tls).await.unwrap();
        acquire_and_release(&client.lock("l")).await;
    }
}

#[tokio::test]
async fn unusable_files_are_named() {
    let (server, other) = (
        Server::builder().tls().start(),
        Server::builder().tls().start(),
    );
    let folder = Folder::new();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let absent = folder.path().join("absent.pem");
    let (empty, other_text) = (file("empty.pem", ""), file("text.pem", "redis://h"));
    let broken = file(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let (certificate, key) = (server.certificate(), server.key());
    for (tls, named) in [
        (Tls::new().ca_file(&absent), "absent.pem: No such file"),
        (Tls::new().ca_file(&empty), "empty.pem has no certificate"),
        (
            Tls::new().ca_file(&other_text),
            "text.pem has no certificate",
        ),
        (Tls::new().ca_file(&broken), "broken.pem is not PEM"),
        (Tls::new().ca_pem("no certificate"), "the given text has no"),
        (Tls::new().identity_files(&absent, &key), "absent.pem: No"),
        (
            Tls::new().identity_files(&certificate, &absent),
            "absent.pem: No",
        ),
        (
            Tls::new().identity_files(&certificate, &empty),
            "empty.pem has no private key",
        ),
        (
            Tls::new().identity_files(&certificate, other.key()),
            "no certificate and its key",
        ),
    ] {
        let trusted = match format!("{tls:?}").contains("authorities: None") {
            true => tls.ca_file(&certificate),
            false => tls,
        };
        let error = connect(&server.tls_url(), trusted).await.unwrap_err();
        assert!(invalid(&error).contains(named), "{named}: {error}");
    }
}

#[tokio::test]
async fn stores_without_tls_refuse_its_settings() {
    let folder = Folder::new();
    let file = format!("file://{}", folder.path().display());
    for (url, expected) in [
        ("memory:", "no connections"),
        (&*file, "no connections"),
        ("redis://h", "use rediss://"),
        ("redis+unix:///run/redis.sock", "use rediss://"),
        ("redis+sentinel://h/m", "use rediss+sentinel://"),
        ("redis+cluster://h", "use rediss+cluster://"),
        ("postgres://u@h/d", "sslmode=verify-full"),
        ("postgres://u@%2Frun/d?sslmode=require", "a host"),
        (
            "postgres://u@h/d?sslmode=verify-full&sslrootcert=system",
            "besides",
        ),
        ("rediss://h?ssl_ca_certs=ca.pem", "besides"),
    ] {
        let builder = Client::builder().store(url).logger(NoopLogger);
        let tls = Tls::new().server_name("h");
        let error = builder.tls(tls).connect_lazy().unwrap_err();
        assert!(invalid(&error).contains(expected), "{url}: {error}");
    }
}

#[tokio::test]
async fn files_are_read_again_at_each_dial() {
    let (server, folder) = (Server::builder().tls().start(), Folder::new());
    let path = folder.path().join("ca.pem");
    fs::copy(server.certificate(), &path).unwrap();
    let builder = Client::builder().store(&server.tls_url());
    let builder = builder.tls(Tls::new().ca_file(&path)).logger(NoopLogger);
    let client = builder.connect().await.unwrap();
    let lock = client.lock("l").wait_timeout(ms(300));
    acquire_and_release(&lock).await;
    fs::write(&path, "").unwrap();
    server.call(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let error = lock.acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(error.to_string().contains("ca.pem has no"), "{error}");
    fs::copy(server.certificate(), &path).unwrap();
    acquire_and_release(&lock.wait_timeout(ms(5_000))).await;
}

#[tokio::test]
async fn tls_and_plain_ports_are_recognized_soon() {
    let server = Server::builder().tls().password("secret").start();
    let plain = Server::start();
    let wrong_scheme = |url: String| url.replace("redis://", "rediss://");
    let tls_port = server.tls_url().replace("rediss://", "redis://");
    for (url, expected) in [
        (wrong_scheme(plain.url()), "speaks without TLS"),
        (wrong_scheme(server.url()), "speaks without TLS"),
        (tls_port.clone(), "expects TLS"),
        (tls_port.replace("redis:", "redis+cluster:"), "expects TLS"),
    ] {
        let begun = Instant::now();
        let tls = match url.starts_with("rediss:") {
            true => Tls::new().ca_file(server.certificate()),
            false => Tls::new(),
        };
        let error = connect(&url, tls).await.unwrap_err();
        let after = begun.elapsed();
        let is_refused = matches!(&error, Error::Refused(e) if e.kind == RefusedKind::WrongUrl);
        assert!(
            is_refused && error.to_string().contains(expected),
            "{url}: {error}"
        );
        assert!(after < ms(1_000), "{url}: {after:?}");
    }
}

#[tokio::test]
async fn options_of_other_clients_name_files() {
    let server = Server::builder().tls().start();
    let certificate = server.certificate();
    let (certificate, key) = (certificate.display(), server.key());
    let url = format!(
        "{}?ssl_ca_certs={certificate}&ssl_cert_reqs=required&protocol=3&client_name=web+1\
         &ssl_certfile={certificate}&ssl_keyfile={}",
        server.tls_url(),
        key.display()
    );
    let client = Client::connect(&url).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
    let is_named = || {
        let list = server.call(&["CLIENT", "LIST"]).text().unwrap();
        list.contains(" name=web+1 ")
    };
    assert!(eventually_async(ms(1_000), is_named).await);
}

#[tokio::test]
async fn database_without_tls_is_a_wrong_url() {
    let server = Postgres::shared();
    for mode in ["require", "verify-full"] {
        let url = format!("{}?sslmode={mode}", server.url());
        let tls = Tls::new().ca_pem(any_certificate());
        let error = connect(&url, tls).await.unwrap_err();
        let is_refused = matches!(&error, Error::Refused(e) if e.kind == RefusedKind::WrongUrl);
        let is_named = error
            .to_string()
            .contains("it does not support TLS on this port");
        assert!(is_refused && is_named, "{mode}: {error}");
    }
}

fn any_certificate() -> String {
    let made = rcgen::generate_simple_self_signed(["h".to_owned()]);
    made.unwrap().cert.pem()
}

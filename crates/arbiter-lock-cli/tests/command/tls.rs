//! TLS and logins of the command: its flags, its variables, and files that change.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use testkit::{Folder, Postgres, Server, unique_name};

use crate::helpers::{bare, end, fresh_file, ms, output, start, wait_for};

/// Runs a command on a store with TLS.
fn run(server: &Server, flags: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let (status, _, stderr) = output(command(server, flags, variables));
    (status, stderr)
}

fn command(server: &Server, flags: &[&str], variables: &[(&str, &str)]) -> Command {
    let name = unique_name();
    let mut command = bare(&[flags, &["run", "-n", &name, "--", "true"]].concat());
    command.env("ARBITER_STORE", server.tls_url());
    command.envs(variables.iter().copied());
    command
}

#[test]
fn flags_and_variables_name_certificates() {
    let server = Server::builder()
        .tls()
        .arg("--tls-auth-clients")
        .arg("optional");
    let server = server.start();
    let (certificate, key) = (server.certificate(), server.key());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    for (flags, variables) in [
        (&["--cacert", certificate][..], &[][..]),
        (&[], &[("ARBITER_CACERT", certificate)]),
        (
            &["--cacert", certificate],
            &[("ARBITER_CACERT", "/nowhere")],
        ),
        (
            &["--cacert", certificate, "--cert", certificate, "--key", key],
            &[],
        ),
        (
            &["--cacert", certificate, "--cert", certificate],
            &[("ARBITER_KEY", key)],
        ),
        (&["--sni", "127.0.0.1"], &[("SSL_CERT_FILE", certificate)]),
    ] {
        let (status, stderr) = run(&server, flags, variables);
        assert_eq!(status, 0, "{flags:?} {variables:?}: {stderr}");
    }
    let (status, stderr) = run(&server, &["--cacert", certificate, "--sni", "h", "-w"], &[]);
    assert_eq!(status, 64, "{stderr}");
}

/// A certificate of X.509 version 1, and its key, which certify nothing.
const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFjCBvQIUGpC/NGp3UwelxuUHlnqPgsiyLjswCgYIKoZIzj0EAwIwDTELMAkG
A1UEAwwCdjEwIBcNMjYxMTMwMTgzMTAwWhgPMjEyNjExMDYxODMxMDBaMA0xCzAJ
BgNVBAMMAnYxMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbDATUKA47jJ1nHyC
iISTP9NqWbz4JFqfuFMDLdUfUTZ/02jdfi/UDs4gUgOg76wqnA/LEhOQ3mJLpREQ
1eUZ8zAKBggqhkjOPQQDAgNIADBFAiBKm1lWRy7edFSQeM+vMj0hprTAKrtBo4wI
DAdXL4SpIQIhAIMLsVc3LJ2kM4TlLWUbGJFTHgGpvY2YElIJVIXFzL+H
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvvkiuwop70ir9SIK
78CeelPR7Yqby6lc7nlGsCGqtOehRANCAARsMBNQoDjuMnWcfIKIhJM/02pZvPgk
Wp+4UwMt1R9RNn/TaN1+L9QOziBSA6DvrCqcD8sSE5DeYkulERDV5Rnz
-----END PRIVATE KEY-----
";

#[test]
fn unusable_certificates_have_statuses() {
    let server = Server::builder().tls().start();
    let certificate = server.certificate();
    let certificate = certificate.to_str().unwrap();
    let folder = Folder::new();
    let text = folder.path().join("text.pem");
    fs::write(&text, "no certificate").unwrap();
    let text = text.to_str().unwrap();
    let v1 = folder.path().join("v1.pem");
    fs::write(&v1, OF_VERSION_1).unwrap();
    let v1 = v1.to_str().unwrap();
    let other_server = Server::builder().tls().start();
    let other = other_server.certificate();
    let other = other.to_str().unwrap();
    for (flags, variables, expected, named) in [
        (&["--cacert", "/absent.pem"][..], &[][..], 69, "/absent.pem"),
        (&[], &[("ARBITER_CACERT", "/absent.pem")], 69, "/absent.pem"),
        (&["--cacert", text], &[], 64, "text.pem has no certificate"),
        (&["--cert", certificate], &[], 64, "needs --key"),
        (&["--key", certificate], &[], 64, "needs --cert"),
        (&["--sni", ""], &[], 64, "--sni"),
        (&["--sni", "a b"], &[], 64, "'a b' is no host name"),
        (
            &["--cert", certificate, "--key", text],
            &[],
            64,
            "text.pem has no private key",
        ),
        (
            &["--cacert", certificate, "--cert", v1, "--key", v1],
            &[],
            64,
            "v1.pem, the client's certificate, is of an old version",
        ),
        (&[], &[("SSL_CERT_FILE", "/absent.pem")], 64, "/absent.pem"),
        (
            &[],
            &[("SSL_CERT_FILE", "/dev/null")],
            64,
            "SSL_CERT_FILE: /dev/null has no certificate",
        ),
        (
            &[],
            &[
                ("SSL_CERT_FILE", "/etc/passwd"),
                ("SSL_CERT_DIR", "/etc/ssl/certs"),
            ],
            64,
            "SSL_CERT_FILE: /etc/passwd has no certificate",
        ),
        (
            &[],
            &[("SSL_CERT_DIR", "/absent")],
            64,
            "SSL_CERT_DIR: /absent is no folder",
        ),
        (
            &[],
            &[("SSL_CERT_FILE", certificate), ("SSL_CERT_DIR", "/absent")],
            64,
            "SSL_CERT_DIR: /absent is no folder",
        ),
        (
            &[],
            &[("ARBITER_CACERT", other)],
            69,
            "the certificate is not trusted: it is self-signed",
        ),
        (
            &[],
            &[
                ("SSL_CERT_FILE", "/absent.pem"),
                ("SSL_CERT_DIR", "/etc/ssl/certs"),
            ],
            64,
            "/absent.pem",
        ),
        (
            &["--store", "redis://h", "--cacert", certificate],
            &[],
            64,
            "use rediss://",
        ),
        (
            &["--store", "file:///srv/locks", "--sni", "h"],
            &[],
            64,
            "no connections",
        ),
    ] {
        let (status, stderr) = run(&server, flags, variables);
        assert_eq!(status, expected, "{flags:?} {variables:?}: {stderr}");
        assert!(stderr.contains(named), "{flags:?} {variables:?}: {stderr}");
    }
}

#[test]
fn nested_arbiter_uses_the_same_certificates() {
    let server = Server::builder().tls().start();
    let (folder, name) = (Folder::new(), unique_name());
    fs::copy(server.certificate(), folder.path().join("ca.pem")).unwrap();
    let program = env!("CARGO_BIN_EXE_arbiter");
    let script = format!("cd /; {program} run -n \"$ARBITER_NAME\" -- true; exit $?");
    let store = server.tls_url();
    let flags = [
        "--store",
        &store,
        "--cacert",
        "ca.pem",
        "--sni",
        "127.0.0.1",
    ];
    let mut run = bare(&[&flags[..], &["run", &name, "--", "sh", "-c", &script]].concat());
    run.current_dir(folder.path())
        .env("ARBITER_CACERT", "/nowhere");
    let (status, _, stderr) = output(run);
    assert_eq!(status, 75, "{stderr}");
}

/// Runs a command for two leases while the password in the file is replaced.
fn run_across_a_rotation(url: impl Fn(&str) -> String, rotate: impl Fn(&str)) {
    let (folder, started, name) = (Folder::new(), fresh_file(), unique_name());
    let path = folder.path().join("url");
    fs::write(&path, url("one")).unwrap();
    let script = format!("touch {}; sleep 4", started.display());
    let file = path.to_str().unwrap();
    let flags = ["--store-file", file, "run", "--lease", "2s"];
    let running = start(bare(
        &[&flags[..], &[&name, "--", "sh", "-c", &script]].concat(),
    ));
    wait_for(&started);
    rotate("two");
    std::thread::sleep(ms(300));
    fs::write(&path, url("two")).unwrap();
    let (status, _, stderr) = end(running);
    assert_eq!(status, Some(0), "{stderr}");
    // The next one reads it at once.
    let (status, _, stderr) = output(bare(&[
        "--store-file",
        file,
        "run",
        "-n",
        &name,
        "--",
        "true",
    ]));
    assert_eq!(status, 0, "{stderr}");
    fs::write(&path, url("wrong")).unwrap();
    let (status, _, stderr) = output(bare(&["--store-file", file, "run", &name, "--", "true"]));
    assert_eq!(status, 77, "{stderr}");
}

#[test]
fn server_password_is_rotated_under_a_command() {
    let server = Server::start();
    let set = |rules: &[&str]| {
        let rules = [&["ACL", "SETUSER", "app", "on"], rules].concat();
        assert_eq!(server.call(&rules).text().as_deref(), Some("OK"));
    };
    set(&[">one", "+@all", "~*", "&*"]);
    run_across_a_rotation(
        |password| server.url().replace("//", &format!("//app:{password}@")),
        |password| {
            set(&["resetpass", &format!(">{password}")]);
            server.call(&["CLIENT", "KILL", "USER", "app"]);
        },
    );
}

#[test]
fn database_password_is_rotated_under_a_command() {
    let rules = "host all app 127.0.0.1/32 scram-sha-256\n\
                 host all postgres 127.0.0.1/32 trust\nlocal all all trust\n";
    let server = Postgres::builder()
        .setting("fsync", "off")
        .hba(rules)
        .start();
    let sql = |text: &str| drop(server.sql(text));
    sql("SET password_encryption = 'scram-sha-256';
         CREATE ROLE app LOGIN PASSWORD 'one'; GRANT CREATE ON DATABASE postgres TO app");
    run_across_a_rotation(
        |password| {
            server
                .url_as("app")
                .replace("app@", &format!("app:{password}@"))
        },
        |password| {
            sql(&format!("ALTER ROLE app PASSWORD '{password}'"));
            sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
        },
    );
}

/// Returns a command of a user without rights to the files of others, since root reads any file.
fn as_another_user(folder: &Folder, args: &[&str]) -> Command {
    let command = bare(args);
    let copy = folder.path().join("arbiter");
    if !copy.exists() {
        fs::copy(command.get_program(), &copy).unwrap();
    }
    let mut other = Command::new(copy);
    other.args(command.get_args()).env_clear();
    other.current_dir(folder.path());
    let is_root = fs::metadata(folder.path()).unwrap().uid() == 0;
    if is_root {
        other.uid(65_534).gid(65_534);
    }
    other
}

#[test]
fn unreadable_files_are_denied() {
    let server = Server::builder().tls().start();
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let set_mode = |path: &str, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(folder.path().to_str().unwrap(), 0o755);
    fs::copy(server.certificate(), path("ca.pem")).unwrap();
    set_mode(&path("ca.pem"), 0o644);
    for name in ["cert.pem", "key.pem", "url"] {
        fs::copy(server.key(), path(name)).unwrap();
        set_mode(&path(name), 0);
    }
    fs::create_dir(path("locks")).unwrap();
    set_mode(&path("locks"), 0);
    let url = server.tls_url();
    let with = |options: &str| format!("{url}?{options}");
    let of_url = with(&format!("ssl_ca_certs={}", path("cert.pem")));
    let of_client = with(&format!(
        "ssl_ca_certs={}&ssl_certfile={}&ssl_keyfile={}",
        path("ca.pem"),
        path("ca.pem"),
        path("key.pem")
    ));
    let of_database = format!(
        "postgres://u@127.0.0.1:1/d?sslmode=verify-full&sslrootcert={}",
        path("cert.pem")
    );
    let of_folder = format!("file://{}", path("locks"));
    let below_folder = format!("file://{}/deeper", path("locks"));
    for (flags, variables, named) in [
        (&["--store-file", "url"][..], &[][..], "url"),
        (&[], &[("ARBITER_STORE_FILE", "url")], "url"),
        (&["--store", &url, "--cacert", "cert.pem"], &[], "cert.pem"),
        (
            &["--store", &url, "--cert", "ca.pem", "--key", "key.pem"],
            &[],
            "key.pem",
        ),
        (
            &["--store", &url],
            &[("ARBITER_CACERT", "cert.pem")],
            "cert.pem",
        ),
        (
            &["--store", &url],
            &[("SSL_CERT_FILE", "cert.pem")],
            "cert.pem",
        ),
        (&["--store", &of_url], &[], "cert.pem"),
        (&["--store", &of_client], &[], "key.pem"),
        (&["--store", &of_database], &[], "cert.pem"),
        (&["--store", &of_folder], &[], "locks"),
        (&["--store", &below_folder], &[], "locks"),
    ] {
        for command in [&["run", "-n", "x", "--", "true"][..], &["status", "x"]] {
            let mut command = as_another_user(&folder, &[flags, command].concat());
            command.envs(variables.iter().copied());
            let (status, _, stderr) = output(command);
            assert_eq!(status, 77, "{flags:?} {variables:?}: {stderr}");
            assert!(stderr.contains(named), "{flags:?}: {stderr}");
            assert!(stderr.contains("Permission denied"), "{flags:?}: {stderr}");
        }
    }
    set_mode(&path("locks"), 0o700);
}

/// Runs a command for two leases while the server begins to demand another login, which the file
/// then has.
fn run_across_a_demand(before: &str, after: &str, demand: impl Fn(&Server)) {
    let server = Server::builder().password("two").start();
    server.call(&["CONFIG", "SET", "requirepass", ""]);
    for user in ["app", "other"] {
        let rules = ["ACL", "SETUSER", user, "on", ">one", "+@all", "~*", "&*"];
        assert_eq!(server.call(&rules).text().as_deref(), Some("OK"));
    }
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port());
    let (folder, started, name) = (Folder::new(), fresh_file(), unique_name());
    let path = folder.path().join("url");
    fs::write(&path, url(before)).unwrap();
    let script = format!("touch {}; sleep 5", started.display());
    let flags = [
        "--store-file",
        path.to_str().unwrap(),
        "run",
        "--lease",
        "3s",
        "--grace",
        "0",
    ];
    let running = start(bare(
        &[&flags[..], &[&name, "--", "sh", "-c", &script]].concat(),
    ));
    wait_for(&started);
    demand(&server);
    std::thread::sleep(ms(300));
    fs::write(&path, url(after)).unwrap();
    let (status, _, stderr) = end(running);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stderr.contains("did not confirm"), "{stderr}");
}

#[test]
fn server_begins_to_demand_a_password() {
    run_across_a_demand("", ":two@", |server| {
        server.call(&["CONFIG", "SET", "requirepass", "two"]);
        for kind in ["normal", "pubsub"] {
            server.call(&["CLIENT", "KILL", "TYPE", kind]);
        }
    });
}

#[test]
fn reset_user_is_replaced_under_a_command() {
    run_across_a_demand("app:one@", "other:one@", |server| {
        server.call(&["ACL", "SETUSER", "app", "reset"]);
    });
}

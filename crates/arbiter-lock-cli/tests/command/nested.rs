//! The variables by which a nested arbiter finds the same store.

use testkit::{Folder, Server, unique_name};

use crate::helpers::{bare, output};

#[test]
fn nested_calls_see_the_store_however_named() {
    let (server, other, folder) = (Server::start(), Server::start(), Folder::new());
    let write = |name: &str, url: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, url).unwrap();
        path
    };
    let url = server.url();
    let file = write("url", &url);
    let other_file = write("other", &other.url());
    let program = env!("CARGO_BIN_EXE_arbiter");
    let script = format!("cd /; env; {program} status --check \"$ARBITER_NAME\"; echo STATUS=$?");
    let (other_url, other_path) = (other.url(), other_file.display().to_string());
    for store in [&[][..], &["--store", &url], &["--store-file", "url"]] {
        for (outer_url, outer_file) in [("", "other"), (&other_url, ""), (&other_url, "other")] {
            for prefix in [&[][..], &["--key-prefix", "app:"], &["--key-prefix", ""]] {
                let outer_prefix = if outer_file.is_empty() { "" } else { "outer:" };
                let name = unique_name();
                let args = [store, prefix, &["run", &name, "--", "sh", "-c", &script]].concat();
                let mut run = bare(&args);
                run.current_dir(folder.path());
                run.env("ARBITER_STORE", outer_url);
                run.env("ARBITER_STORE_FILE", outer_file);
                run.env("ARBITER_KEY_PREFIX", outer_prefix);
                let (status, stdout, stderr) = output(run);
                let case = format!("{args:?} {outer_url} {outer_file}: {stderr}");
                assert_eq!(status, 0, "{case}");
                let variable = |name: &str| {
                    let line = stdout.lines().find_map(|line| line.strip_prefix(name));
                    line.and_then(|line| line.strip_prefix('='))
                        .map(str::to_owned)
                };
                let (found_url, found_file) = match (store.first(), outer_url) {
                    (Some(&"--store"), _) => (Some(url.clone()), None),
                    (Some(_), _) => (None, Some(file.display().to_string())),
                    (None, "") => (None, Some(other_path.clone())),
                    (None, outer) => (Some(outer.to_owned()), None),
                };
                assert_eq!(variable("ARBITER_STORE"), found_url, "{case}");
                assert_eq!(variable("ARBITER_STORE_FILE"), found_file, "{case}");
                assert_eq!(variable("STATUS").as_deref(), Some("75"), "{case}");
            }
        }
    }
}

#[test]
fn password_of_a_file_enters_no_environment() {
    let (server, folder) = (Server::start(), Folder::new());
    let url = server.url().replace("://", "://:s3cret@");
    server.call(&["CONFIG", "SET", "requirepass", "s3cret"]);
    std::fs::write(folder.path().join("url"), url).unwrap();
    let mut run = bare(&["--store-file", "url", "run", "x", "--", "env"]);
    run.current_dir(folder.path());
    let (status, stdout, stderr) = output(run);
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(!stdout.contains("s3cret"), "{stdout}");
}

#[test]
fn nested_call_names_the_pipe_of_its_store() {
    let server = Server::start();
    let script = format!(
        "printf %s '{}' | \"$0\" --store-file /dev/stdin run x -- \"$0\" status x",
        server.url()
    );
    let mut shell = std::process::Command::new("timeout");
    shell.args(["10", "sh", "-c", &script, env!("CARGO_BIN_EXE_arbiter")]);
    let (status, _, said) = output(shell);
    assert_eq!(status, 64, "{said}");
    assert!(said.contains("/dev/null is empty"), "{said}");
}

#[test]
fn nested_call_finds_the_files_of_the_url() {
    let server = Server::builder().tls().start();
    let folder = Folder::new();
    let inner = folder.path().join("a b&c");
    std::fs::create_dir(&inner).unwrap();
    for (file, name) in [
        (server.certificate(), "ca.pem"),
        (server.certificate(), "cert.pem"),
        (server.key(), "key.pem"),
    ] {
        std::fs::copy(file, inner.join(name)).unwrap();
    }
    let url = format!(
        "{}?ssl_ca_certs=ca.pem&ssl_certfile=./cert.pem&ssl_keyfile={}",
        server.tls_url(),
        inner
            .join("key.pem")
            .display()
            .to_string()
            .replace('&', "%26")
    );
    let program = env!("CARGO_BIN_EXE_arbiter");
    let script = format!("cd /; {program} status --check \"$ARBITER_NAME\"; echo STATUS=$?");
    for by_flag in [true, false] {
        let store: &[&str] = if by_flag { &["--store", &url] } else { &[] };
        let name = unique_name();
        let mut run = bare(&[store, &["run", &name, "--", "sh", "-c", &script]].concat());
        run.current_dir(&inner).env("ARBITER_STORE", &url);
        let (status, stdout, stderr) = output(run);
        assert_eq!(status, 0, "{stderr}");
        assert_eq!(stdout, "STATUS=75\n", "{stderr}");
    }
}

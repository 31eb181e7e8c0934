use std::env::VarError;

use super::*;

fn of(variables: &[(&str, &str)]) -> Result<ClientBuilder, Error> {
    ClientBuilder::from_variables(&|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        let value = found.map(|(_, value)| (*value).to_owned());
        value.ok_or(VarError::NotPresent)
    })
}

#[test]
fn address_map_is_a_list_of_pairs() {
    let map = |list: &str| {
        let builder = of(&[("ARBITER_STORE", "memory:"), ("ARBITER_ADDRESS_MAP", list)]);
        builder.map(|builder| builder.server.address_map.unwrap())
    };
    let mapped = map("a:1=b:2, [::1]:3=c:4,").unwrap();
    assert_eq!(mapped("a", 1), ("b".to_owned(), 2));
    assert_eq!(mapped("::1", 3), ("c".to_owned(), 4));
    assert_eq!(mapped("a", 3), ("a".to_owned(), 3));
    for wrong in [
        "a",
        "a:1",
        "a:1=b",
        "a:0=b:1",
        "a:1=:2",
        "a:x=b:2",
        "a:1=b:2;c:3=d:4",
    ] {
        assert!(map(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn environment_names_store_by_url_or_by_file() {
    let folder = testkit::Folder::new();
    let file = folder.path().join("url");
    std::fs::write(&file, "memory:of the file\n").unwrap();
    let path = file.to_str().unwrap();
    for (variables, store) in [
        (vec![("ARBITER_STORE", "memory:a")], "memory:a"),
        (vec![("ARBITER_STORE", " memory:a\n")], "memory:a"),
        (vec![("ARBITER_STORE_FILE", path)], "memory:of the file"),
        (
            vec![("ARBITER_STORE", "memory:a"), ("ARBITER_STORE_FILE", path)],
            "memory:a",
        ),
        (
            vec![("ARBITER_STORE", ""), ("ARBITER_STORE_FILE", path)],
            "memory:of the file",
        ),
    ] {
        let builder = of(&variables).unwrap();
        assert_eq!(builder.store.as_deref(), Some(store), "{variables:?}");
        assert!(!builder.is_unnamed);
    }
    std::fs::remove_file(&file).unwrap();
    let error = of(&[("ARBITER_STORE_FILE", path)]).err().unwrap();
    assert!(error.to_string().contains(path), "{error}");
    let prefixed = of(&[
        ("ARBITER_STORE", "memory:"),
        ("ARBITER_KEY_PREFIX", "mine:\n"),
    ]);
    assert_eq!(prefixed.unwrap().server.key_prefix, "mine:");
}

#[test]
fn non_utf8_variable_is_an_error() {
    let builder = ClientBuilder::from_variables(&|name| match name {
        "ARBITER_STORE" => Err(VarError::NotUnicode("\u{fffd}".into())),
        _ => Err(VarError::NotPresent),
    });
    let error = builder.err().unwrap().to_string();
    assert!(
        error.contains("ARBITER_STORE in the environment is not UTF-8"),
        "{error}"
    );
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn default_store_logs_its_scope() {
    let logged = Arc::new(std::sync::Mutex::new(Vec::new()));
    let listening = |builder: ClientBuilder| {
        let logged = logged.clone();
        builder.logger(move |event: &Event| {
            let what = (event.level(), event.to_string());
            logged.lock().unwrap().push(what);
        })
    };
    let unnamed = of(&[]).unwrap();
    assert_eq!(unnamed.store, default_store().ok());
    // Replaced, so that the test does not use the user's folder.
    let unnamed = ClientBuilder {
        store: Some("memory:".to_owned()),
        ..unnamed
    };
    let client = listening(unnamed).connect().await.unwrap();
    client.inner.events.flush(Duration::from_secs(10));
    let message = std::mem::take(&mut *logged.lock().unwrap());
    let [(Level::Warn, message)] = &message[..] else {
        panic!("{message:?}");
    };
    assert!(
        message.contains("so it is memory:") && message.contains("of this user"),
        "{message}"
    );
    let named = of(&[]).unwrap().store("memory:");
    let client = listening(named).connect().await.unwrap();
    client.inner.events.flush(Duration::from_secs(10));
    assert!(logged.lock().unwrap().is_empty());
}

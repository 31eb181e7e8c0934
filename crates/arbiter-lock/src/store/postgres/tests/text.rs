//! Any text survives: in names, ids, labels, channels, values and outcomes.

use std::sync::Arc;

use arbiter_lock_core::{Acquired, Contender, Mode, Moment, Reply, Request, Resource, Table};

use super::super::listeners::grant_in;
use super::super::sql::Windows;
use super::super::wire;
use super::rig::{Rig, TINY, notified};

fn texts() -> Vec<String> {
    let texts = [
        "",
        " ",
        "a b",
        "\0",
        "\u{1}",
        "\u{1}0\u{1}1",
        "\0\u{1}\0",
        "'\"''\"\"",
        "\\0 \\u0000 \\",
        "{} {schema} {0} $1 %s ?",
        "[null]",
        "NULL",
        "\r\n\t\u{7f}\u{85}\u{2028}",
        "🔒👩‍👩‍👧 ünï \u{feff}\u{fffd}\u{10ffff}",
    ];
    let long = ["x", "\0", "\u{1}", "\"", "é"].map(|c| c.repeat(512 / c.len()));
    texts.into_iter().map(str::to_owned).chain(long).collect()
}

/// Applies requests on both, and compares.
async fn both(rig: &mut Rig, memory: &mut Resource<Table>, name: &str, request: Request) -> Reply {
    let expected = request.apply(memory, rig.now(), |_| true);
    let (replies, grants) = rig.send(&[(name, request)], true).await;
    assert_eq!(replies[0].reply, expected.reply, "{name:?}");
    let (grants, expected) = (grants, notified(&expected.granted));
    assert_eq!(format!("{grants:?}"), format!("{expected:?}"), "{name:?}");
    rig.compare(name, memory, &format!("{name:?}")).await;
    replies[0].reply.clone()
}

#[tokio::test]
async fn any_text_survives_in_every_column() {
    let mut rig = Rig::new(&TINY).await;
    let texts = texts();
    let mut names: Vec<Arc<str>> = texts.iter().map(|text| rig.store.key(text)).collect();
    for (n, text) in texts.iter().enumerate() {
        let mut memory = Resource::default();
        let owner: Arc<str> = text.as_str().into();
        // Three wait, so that a window has only some.
        let ids = [0, 1, 2, 3].map(|i| Arc::<str>::from(texts[(n + i) % texts.len()].as_str()));
        let mut fence = 0;
        for id in &ids {
            let request = Request::Acquire {
                contender: Contender {
                    id: id.clone(),
                    mode: Mode::Exclusive,
                    lease_ms: 30_000,
                    channel: rig.other.channel.clone(),
                    label: owner.clone(),
                }
                .into(),
                ticket: None,
            };
            let reply = both(&mut rig, &mut memory, text, request).await;
            if let Reply::Acquired(Acquired::Granted { fence: drawn, .. }) = reply {
                fence = drawn;
            }
        }
        let outcome = owner.clone();
        let requests = [
            Request::Proclaim {
                owner: owner.clone(),
                fence,
                value: owner.clone(),
            },
            Request::BeginRun {
                owner: owner.clone(),
                fence,
                turn: Moment::from_micros(1),
                memory_ms: 60_000,
            },
            Request::FinishRun { fence, outcome },
            Request::Inspect,
            Request::LastRun,
            Request::End {
                contender: Contender::with_id(owner).into(),
                tombstone: true,
            },
        ];
        for request in requests {
            both(&mut rig, &mut memory, text, request).await;
        }
    }
    // The server lists them in the order of the names.
    names.sort_by_key(|key| wire::unescaped(key).into_owned());
    let client = &rig.client.session;
    let listed = client.names(&rig.store, "", "arbiter:", 100).await.unwrap();
    assert_eq!(
        listed,
        names.iter().map(|key| key.to_string()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn any_channel_survives() {
    let mut rig = Rig::new(&Windows::STANDARD).await;
    for (n, text) in texts().into_iter().enumerate() {
        let name = format!("n{n}");
        let mut memory = Resource::default();
        for id in ["a", "b"] {
            let contender = Contender {
                id: id.into(),
                mode: Mode::Exclusive,
                lease_ms: 30_000,
                channel: text.as_str().into(),
                label: "".into(),
            };
            let request = Request::Acquire {
                contender: contender.into(),
                ticket: None,
            };
            both(&mut rig, &mut memory, &name, request).await;
        }
        let request = Request::End {
            contender: Contender::with_id("a".into()).into(),
            tombstone: false,
        };
        both(&mut rig, &mut memory, &name, request).await;
    }
}

#[test]
fn any_id_survives_in_notifications() {
    for text in texts() {
        let grant = arbiter_lock_core::Grant {
            request: text.as_str().into(),
            channel: "c".into(),
            fence: 1,
            ttl_ms: 2,
            at: Moment::from_micros(3),
        };
        let push = grant_in(&wire::payload(&grant)).unwrap();
        let expected: crate::store::Push = grant.into();
        assert_eq!(format!("{push:?}"), format!("{expected:?}"));
    }
}

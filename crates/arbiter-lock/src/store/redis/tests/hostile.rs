//! Malformed and hostile input: it costs an error, and reveals no secret.

use proptest::prelude::*;
use redis::Value;

use super::super::keys::Keys;
use super::super::reply;
use super::super::target::Target;
use super::ask::one_of_each;
use crate::store::KeyPrefix;

/// Words that replies are made of, and others.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "granted",
        "queued",
        "busy",
        "refused",
        "ended",
        "released",
        "left",
        "not-yours",
        "renewed",
        "stopping",
        "taken",
        "gone",
        "error",
        "above",
        "differs",
        "freed",
        "asked",
        "-1",
        "-2",
        "0",
        "1",
        "18446744073709551616",
        "9007199254740993",
        "1e300",
        "",
        " ",
        "granted 1 2 3",
        "granted 1 2 18446744073709551615",
        "renewed 18446744073709551615",
        "queued 1 2 3 4 5 6",
    ]);
    prop_oneof![
        4 => known.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => words().prop_map(Value::BulkString),
        2 => any::<i64>().prop_map(Value::Int),
        2 => (0..4_i64).prop_map(Value::Int),
        1 => Just(Value::Nil),
        1 => Just(Value::Okay),
        1 => any::<f64>().prop_map(Value::Double),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => ".{0,20}".prop_map(Value::SimpleString),
    ];
    leaf.prop_recursive(3, 64, 16, |value| {
        prop_oneof![
            4 => prop::collection::vec(value.clone(), 0..16).prop_map(Value::Array),
            1 => prop::collection::vec((value.clone(), value), 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_reply_parses_or_is_an_error(value in values()) {
        for request in one_of_each() {
            let _ = reply::read(&request, value.clone());
        }
        let _ = reply::renewed(value, 3);
    }

    #[test]
    fn batch_has_one_reply_per_renewal(value in values(), asked in 0..5_usize) {
        if let Ok(answers) = reply::renewed(value, asked) {
            prop_assert_eq!(answers.len(), asked);
        }
    }

    #[test]
    fn any_message_is_a_grant_or_nothing(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = reply::push(&payload);
    }

    #[test]
    fn grant_is_read_as_sent(
        id in "[0-9a-f]{32}", fence in any::<u64>(), ttl in any::<u64>(), at in any::<u64>(),
    ) {
        let payload = format!("{id} {fence} {ttl} {at}");
        let (push, _) = reply::push(payload.as_bytes()).unwrap();
        prop_assert_eq!((&*push.request, push.fence, push.ttl_ms), (&*id, fence, ttl));
        prop_assert_eq!(push.at.as_micros(), at);
    }

    #[test]
    fn no_url_shows_its_password(
        scheme in "(redis|rediss|valkey|redis\\+unix|unix|file|redis\\+cluster|http|[a-z]{0,5})",
        user in "[a-z%0-9]{0,6}", begin in "([0-9]{0,3}[/?#@:])?",
        host in "[a-z0-9.\\[\\]:%-]{0,12}", rest in "[/?=&a-z0-9%#]{0,12}",
    ) {
        for url in [
            format!("{scheme}://{user}:{begin}SECRETword@{host}{rest}"),
            format!("{scheme}://{host}{rest}?user={user}&pass=SECRETword"),
            format!("{scheme}://{user}:SECRET%77ord@{host}{rest}"),
        ] {
            let shown = match Target::parse(&url) {
                Ok((target, _)) => format!("{target} {target:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains("SECRET"), "{} shows {}", url, shown);
        }
    }

    #[test]
    fn no_two_locks_share_a_key(
        prefixes in prop::collection::vec("[{}a:#]{0,4}(#arbiter)?[.{]?", 2),
        names in prop::collection::vec("([{}ab.:#]{0,6}|\\.?(queue|run|wake)[0-9]{0,6}){1,2}", 2),
    ) {
        let prefixes = prefixes.iter().filter_map(|text| KeyPrefix::new(text).ok());
        let keys = prefixes.zip(&names).map(|(prefix, name)| {
            let keys = Keys::new(&prefix, name);
            assert_eq!(keys.is_some(), prefix.check(name).is_ok(), "{prefix:?} {name}");
            keys
        });
        let keys: Vec<Keys> = keys.flatten().collect();
        if let [a, b] = &keys[..] && a.lock != b.lock {
            let all = |keys: &Keys| {
                let Keys { lock, last_fence, queue, share } = keys.clone();
                [lock, last_fence, queue, share, keys.run()]
            };
            prop_assert!(all(a).iter().all(|key| !all(b).contains(key)), "{:?} {:?}", a, b);
        }
    }
}

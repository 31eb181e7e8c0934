//! The keys of a name on a server, and the channels and keys beside them. No other file builds one, or
//! turns one back into a name.
//!
//! All of them begin with the client's prefix, so that one ACL rule covers them.

use std::fmt::Write as _;

use crate::errors::invalid::Invalid;
use crate::printable::Printable;
use crate::store::Pattern;
use crate::store::key_prefix::{KeyPrefix, RESERVED};
use crate::system::process::Lazy;

/// The keys of one name: the hash that the Go library shares, and its companions.
///
/// Companions depend on the lock's key alone, since clients with different prefixes may share a lock.
/// They lie in its slot. No lock's key contains their suffixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) lock: String,
    pub(super) last_fence: String,
    pub(super) queue: String,
    pub(super) share: String,
}

const QUEUE: &str = "queue";
/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// How many digits move a key to a slot: with five, some slots cannot be reached.
const DIGITS: usize = 6;

/// For each slot the smallest number whose digits alone have it as their checksum.
static NUMBERS: Lazy<Vec<u32>> = Lazy::new(|| {
    let mut numbers = vec![None; usize::from(SLOTS)];
    let mut missing = SLOTS;
    let mut tens: u32 = 0;
    while 0 < missing {
        let digits = [10_000, 1_000, 100, 10, 1].map(|unit| b'0' + (tens / unit % 10) as u8);
        let before = checksum_of(0, &digits);
        for digit in 0..10 {
            let checksum = checksum(before, b"0123456789"[digit as usize]);
            if let Some(none @ None) = numbers.get_mut(usize::from(checksum % SLOTS)) {
                *none = Some(10 * tens + digit);
                missing -= 1;
            }
        }
        tens += 1;
    }
    numbers.into_iter().map(Option::unwrap_or_default).collect()
});

impl Keys {
    /// Returns the keys of a name; `None` if they are reserved.
    pub(super) fn new(prefix: &KeyPrefix, name: &str) -> Option<Self> {
        let lock = prefix.key(name);
        prefix.name_of(&lock)?;
        let slot = slot(lock.as_bytes());
        Some(Self {
            last_fence: companion(&lock, "last", slot),
            queue: companion(&lock, QUEUE, slot),
            share: companion(&lock, "share", slot),
            lock,
        })
    }

    /// Returns their slot on a cluster.
    pub(super) fn slot(&self) -> u16 {
        slot(self.lock.as_bytes())
    }

    /// Returns the key of the last run.
    pub(super) fn run(&self) -> String {
        companion(&self.lock, "run", self.slot())
    }
}

/// Returns the lock's key of a queue's key; `None` for any other key.
pub(super) fn lock_of_queue(key: &str) -> Option<&str> {
    let (lock, _) = key.split_once(RESERVED)?;
    (companion(lock, QUEUE, slot(lock.as_bytes())) == key).then_some(lock)
}

/// Returns a pattern of the server for lock keys, which matches at least the keys of the names that
/// match.
pub(super) fn pattern_of(prefix: &KeyPrefix, names: &Pattern) -> String {
    let mut keys = String::new();
    let literal = |keys: &mut String, c: char| {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            keys.push('\\');
        }
        keys.push(c);
    };
    prefix.as_str().chars().for_each(|c| literal(&mut keys, c));
    for c in names.as_str().chars() {
        match c {
            // The server's `?` is one byte.
            '*' | '?' => keys.push('*'),
            c => literal(&mut keys, c),
        }
    }
    keys
}

/// Returns a pattern of the server for the keys of the queues of those names.
pub(super) fn queue_pattern_of(prefix: &KeyPrefix, names: &Pattern) -> String {
    [&pattern_of(prefix, names), RESERVED, QUEUE, "*"].concat()
}

/// Returns the slot of a name's keys on a cluster.
pub(super) fn slot_of_name(prefix: &KeyPrefix, name: &str) -> u16 {
    slot(prefix.key(name).as_bytes())
}

/// Returns the slot of all keys of a prefix on a cluster, if it has a hash tag.
pub(super) fn slot_of_prefix(prefix: &KeyPrefix) -> Option<u16> {
    tag(prefix.as_str().as_bytes()).map(slot_of_tag)
}

/// Refuses a prefix on a cluster whose braces are no hash tag.
pub(super) fn check_on_cluster(prefix: &KeyPrefix) -> Result<(), Invalid> {
    let fault = match prefix.as_str().split_once('{') {
        None => return Ok(()),
        Some((_, rest)) if rest.starts_with('}') => {
            "has an empty hash tag, which a cluster ignores: put text between { and }, or leave \
             them out"
        }
        Some((_, rest)) if rest.contains('}') => return Ok(()),
        Some(_) => {
            "opens a hash tag and does not close it, so that a } in a name would decide on its \
             node: add the }, or leave the { out"
        }
    };
    let shown = Printable(prefix.as_str());
    let message = format!("the key prefix '{shown}' {fault}");
    Err(Invalid::new("key_prefix", message))
}

/// Returns a key that is never written, to check rights on a single server.
pub(super) fn probe(prefix: &KeyPrefix) -> String {
    beside(prefix, "probe")
}

/// Returns such a key in that slot, if keys of the prefix can have it.
pub(super) fn probe_in(prefix: &KeyPrefix, slot: u16) -> String {
    in_slot(probe(prefix), slot)
}

/// Returns the channel of a single server for grants to the waiters of one handle.
pub(super) fn channel(prefix: &KeyPrefix, handle: &str) -> String {
    beside(prefix, "wake.") + handle
}

/// Returns the channel in that slot for grants to the waiters of one handle. The scripts know it by
/// the `/` before its digits.
pub(super) fn channel_in(prefix: &KeyPrefix, slot: u16, handle: &str) -> String {
    in_slot(channel(prefix, handle) + "/", slot)
}

fn beside(prefix: &KeyPrefix, what: &str) -> String {
    [prefix.as_str(), RESERVED, what].concat()
}

/// Returns a companion of the lock's key in that slot. A hash tag of the key is the companion's,
/// too.
fn companion(lock: &str, kind: &str, slot: u16) -> String {
    let mut key = String::with_capacity(lock.len() + RESERVED.len() + kind.len() + DIGITS);
    key.push_str(lock);
    key.push_str(RESERVED);
    key.push_str(kind);
    match tag(lock.as_bytes()) {
        Some(_) => key,
        None => in_slot(key, slot),
    }
}

/// Appends the digits with which a key without a hash tag lies in that slot.
///
/// The checksum is linear: that of the digits behind the key is that of as many zero bytes behind it,
/// XOR that of the digits alone.
fn in_slot(mut key: String, slot: u16) -> String {
    let before = checksum_of(checksum_of(0, key.as_bytes()), &[0; DIGITS]);
    let number = NUMBERS.get(usize::from((before % SLOTS) ^ slot));
    let number = number.copied().unwrap_or_default();
    // Writing to a string does not fail.
    let _ = write!(key, "{number:0DIGITS$}");
    key
}

/// Returns the part of a key that decides its slot. It lies between the first `{` and the next `}`,
/// if that is not empty.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|b| *b == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|b| *b == b'}')?;
    (0 < close).then(|| &rest[..close])
}

/// Returns the slot of a key on a cluster.
fn slot(key: &[u8]) -> u16 {
    slot_of_tag(tag(key).unwrap_or(key))
}

/// Returns the CRC-16/XMODEM modulo the number of slots, as in the cluster specification.
fn slot_of_tag(tag: &[u8]) -> u16 {
    checksum_of(0, tag) % SLOTS
}

/// Continues the checksum with bytes.
fn checksum_of(before: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(before, |crc, byte| checksum(crc, *byte))
}

/// Continues the checksum with a byte.
fn checksum(before: u16, byte: u8) -> u16 {
    let [high, low] = before.to_be_bytes();
    CHECKSUMS[usize::from(high ^ byte)] ^ (u16::from(low) << 8)
}

/// The checksum of each byte.
static CHECKSUMS: [u16; 256] = {
    let (mut all, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
            bit += 1;
        }
        all[byte] = crc;
        byte += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const NASTY: [&str; 26] = [
        "plain",
        "a{b}c",
        "a}b",
        "{}",
        "}{",
        "{}x",
        "{{b}}",
        "a{b",
        "}",
        "{",
        "{a}",
        "a{}{b}c",
        "ünï",
        "\n",
        "a:b",
        "b:c",
        "c",
        "#",
        "#arbiter",
        "arbiter.queue",
        "queue",
        "queue012345",
        "arbiter:",
        "arbiter.wake.x/012345",
        "0",
        "*",
    ];

    const PREFIXES: [&str; 16] = [
        "arbiter:",
        "",
        "{t}:",
        "}",
        "{",
        "{}",
        "a:",
        "a:b:",
        "a{",
        "#",
        "#arbiter",
        "x#",
        "p*[?]",
        "arbiter.queue",
        "a{b}",
        "ünï:",
    ];

    fn prefix(text: &str) -> KeyPrefix {
        KeyPrefix::new(text).unwrap()
    }

    /// Calls the function for many prefixes and names: those above, in all pairs of names too.
    fn for_all(mut check: impl FnMut(&KeyPrefix, &str)) {
        for text in PREFIXES {
            let prefix = prefix(text);
            for name in NASTY {
                check(&prefix, name);
                for more in NASTY {
                    check(&prefix, &[name, more].concat());
                    check(&prefix, &[name, "#arbiter", more].concat());
                }
            }
        }
    }

    fn companions(keys: &Keys) -> [String; 4] {
        let Keys {
            last_fence,
            queue,
            share,
            ..
        } = keys.clone();
        [queue, last_fence, share, keys.run()]
    }

    #[test]
    fn names_are_read_back_from_keys() {
        for_all(|prefix, name| {
            let Some(keys) = Keys::new(prefix, name) else {
                assert!(prefix.check(name).is_err(), "{prefix:?} {name}");
                return;
            };
            assert_eq!(prefix.check(name), Ok(()));
            assert_eq!(prefix.name_of(&keys.lock), Some(name));
            assert_eq!(lock_of_queue(&keys.queue), Some(&*keys.lock));
            for (n, companion) in companions(&keys).iter().enumerate() {
                assert_eq!(prefix.name_of(companion), None);
                assert_eq!(lock_of_queue(companion).is_some(), n == 0, "{companion}");
            }
        });
        let queue = Keys::new(&prefix(""), "a").unwrap().queue;
        for odd in [
            &queue[1..],
            &queue[..queue.len() - 1],
            &format!("{queue}0"),
            "a#arbiter.queue",
        ] {
            assert_eq!(lock_of_queue(odd), None, "{odd}");
        }
    }

    #[test]
    fn companions_share_the_slot_of_their_lock() {
        for_all(|prefix, name| {
            let keys = Keys::new(prefix, name);
            for companion in keys.iter().flat_map(companions) {
                let lock = &keys.as_ref().unwrap().lock;
                assert_eq!(
                    slot(companion.as_bytes()),
                    slot(lock.as_bytes()),
                    "{companion}"
                );
                assert!(companion.starts_with(&**lock), "{companion}");
            }
        });
    }

    #[test]
    fn no_two_locks_share_a_key() {
        let mut owners: HashMap<String, String> = HashMap::new();
        let mut own = |key: String, owner: &str| {
            let before = owners
                .entry(key.clone())
                .or_insert_with(|| owner.to_owned());
            assert_eq!(*before, owner, "{key}");
        };
        for_all(|prefix, name| {
            let Some(keys) = Keys::new(prefix, name) else {
                return;
            };
            own(keys.lock.clone(), &keys.lock);
            for (n, companion) in companions(&keys).into_iter().enumerate() {
                own(companion, &format!("{} {n}", keys.lock));
            }
        });
        for text in PREFIXES {
            let prefix = prefix(text);
            own(probe(&prefix), "a probe");
            own(probe_in(&prefix, 7), "a probe");
            own(channel(&prefix, "x"), "a channel");
            own(channel_in(&prefix, 7, "x"), "a channel");
        }
    }

    #[test]
    fn probes_and_channels_lie_in_any_slot() {
        for text in PREFIXES {
            let prefix = prefix(text);
            if check_on_cluster(&prefix).is_err() {
                continue;
            }
            for slot_of_node in [0, 1, 777, SLOTS - 1] {
                let expected = slot_of_prefix(&prefix).unwrap_or(slot_of_node);
                let channel = channel_in(&prefix, slot_of_node, "0123456789abcdef");
                for key in [probe_in(&prefix, slot_of_node), channel] {
                    assert_eq!(slot(key.as_bytes()), expected, "{key}");
                    assert!(key.starts_with(text), "{key}");
                }
            }
        }
    }

    #[test]
    fn slots_of_a_tagged_prefix_agree() {
        for_all(|prefix, name| {
            if let Some(slot) = slot_of_prefix(prefix) {
                assert_eq!(slot_of_name(prefix, name), slot, "{prefix:?} {name}");
            }
        });
    }

    #[test]
    fn slot_follows_the_cluster_specification() {
        assert_eq!(slot_of_tag(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot_of_tag(b"foo{}{bar}"));
    }

    #[test]
    fn every_slot_has_its_smallest_number() {
        let of_slot = |n: u32| usize::from(slot(format!("{n:06}").as_bytes()));
        assert!((0..20_000).all(|n| NUMBERS[of_slot(n)] <= n));
        for (slot, number) in NUMBERS.iter().enumerate() {
            assert_eq!(of_slot(*number), slot, "{number}");
        }
    }

    #[test]
    fn key_pattern_escapes_prefix_and_name() {
        let (prefix, names) = (prefix("p*:"), Pattern::new("a*b?[c]"));
        assert_eq!(pattern_of(&prefix, &names), "p\\*:a*b*\\[c\\]");
        assert_eq!(
            queue_pattern_of(&prefix, &names),
            "p\\*:a*b*\\[c\\]#arbiter.queue*"
        );
    }

    #[test]
    fn prefix_without_a_whole_tag_is_refused() {
        for (text, fault) in [
            ("a{b", "does not close it"),
            ("}a{", "does not close it"),
            ("{}a", "empty hash tag"),
            ("{}{a}", "empty hash tag"),
        ] {
            let error = check_on_cluster(&prefix(text)).unwrap_err();
            assert!(error.message.contains(fault), "{error}");
        }
        for text in ["", "a", "a}", "{a}", "{{a}", "{a}{}"] {
            assert_eq!(check_on_cluster(&prefix(text)), Ok(()));
        }
    }
}

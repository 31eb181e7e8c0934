//! The keys of a name. No other file builds one, or turns one back into a name.

use crate::store::Pattern;
use crate::system::process::Lazy;

/// The keys of one name: the hash that the Go library shares, and its companions, which lie in
/// the same hash slot and cannot collide with any name's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) lock: String,
    pub(super) last_fence: String,
    pub(super) queue: String,
    pub(super) share: String,
}

/// What every companion's name begins with, and no lock's.
const COMPANION: &str = "arbiter.";
const QUEUE: &str = "queue";
/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// For each slot the smallest number that lies in it, as text; none has more than six digits.
static NUMBERS: Lazy<Vec<u32>> = Lazy::new(|| {
    let mut numbers = vec![None; usize::from(SLOTS)];
    let mut missing = SLOTS;
    // Those of all numbers so far: that of 123 continues that of 12.
    let mut checksums: Vec<u16> = Vec::new();
    while 0 < missing {
        let number = checksums.len();
        let before = if number < 10 {
            0
        } else {
            checksums[number / 10]
        };
        let checksum = checksum(before, b"0123456789"[number % 10]);
        checksums.push(checksum);
        if let Some(none @ None) = numbers.get_mut(usize::from(checksum % SLOTS)) {
            *none = u32::try_from(number).ok();
            missing -= 1;
        }
    }
    numbers.into_iter().map(Option::unwrap_or_default).collect()
});

impl Keys {
    /// The keys of `prefix` and `name`; none for a key that looks like a companion.
    pub(super) fn new(prefix: &str, name: &str) -> Option<Self> {
        let lock = [prefix, name].concat();
        if lock.starts_with(COMPANION) {
            return None;
        }
        let companion = |kind: &str| companion(kind, &lock);
        Some(Self {
            last_fence: companion("last"),
            queue: companion(QUEUE),
            share: companion("share"),
            lock,
        })
    }

    /// Returns their slot on a cluster.
    pub(super) fn slot(&self) -> u16 {
        slot(self.lock.as_bytes())
    }

    /// Where the last run is remembered.
    pub(super) fn run(&self) -> String {
        companion("run", &self.lock)
    }
}

/// Returns the name of a lock's key; `None` for a key of another prefix, or of a companion.
pub(super) fn name_of<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    let name = key.strip_prefix(prefix)?;
    (!key.starts_with(COMPANION)).then_some(name)
}

/// Returns the lock's key of a queue's key; `None` for any other key.
pub(super) fn lock_of_queue(key: &str) -> Option<&str> {
    let rest = key.strip_prefix(COMPANION)?.strip_prefix(QUEUE)?;
    let lock = match rest.split_once(':')? {
        ("1", lock) => lock,
        ("2", tagged) => tagged.strip_prefix('{')?.strip_suffix('}')?,
        ("3", tagged) => tagged.strip_prefix('{')?.split_once('}')?.1,
        _ => return None,
    };
    (companion(QUEUE, lock) == key).then_some(lock)
}

/// Returns a pattern of the server for lock keys, which matches at least the keys of the names that
/// match.
pub(super) fn pattern_of(prefix: &str, names: &Pattern) -> String {
    let mut keys = String::new();
    let literal = |keys: &mut String, c: char| {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            keys.push('\\');
        }
        keys.push(c);
    };
    prefix.chars().for_each(|c| literal(&mut keys, c));
    for c in names.as_str().chars() {
        match c {
            // The server's `?` is one byte.
            '*' | '?' => keys.push('*'),
            c => literal(&mut keys, c),
        }
    }
    keys
}

/// Returns the slot of a name's keys on a cluster.
pub(super) fn slot_of_name(prefix: &str, name: &str) -> u16 {
    slot([prefix, name].concat().as_bytes())
}

/// Returns a key of that slot that is never written, to check rights on its node.
pub(super) fn probe_in(slot: u16) -> String {
    format!("arbiter.probe{{{}}}", number_in(slot))
}

/// Returns the channel in that slot for grants to the waiters of one handle.
pub(super) fn channel_in(slot: u16, handle: &str) -> String {
    format!("arbiter.wake:{{{}}}{handle}", number_in(slot))
}

/// A key that is never written, to check rights on a single server.
pub(super) const PROBE: &str = "arbiter.probe";

/// A pattern of the keys of all queues.
pub(super) const QUEUES: &str = "arbiter.queue[123]:*";

/// A companion of a lock's key, in its slot: class 1 where the key has a hash tag of its own,
/// class 2 where the key can be one, class 3 where a tag has to be found.
fn companion(kind: &str, lock: &str) -> String {
    if tag(lock.as_bytes()).is_some() {
        return [COMPANION, kind, "1:", lock].concat();
    }
    if !lock.contains('}') {
        return [COMPANION, kind, "2:{", lock, "}"].concat();
    }
    let number = number_in(slot(lock.as_bytes())).to_string();
    [COMPANION, kind, "3:{", &number, "}", lock].concat()
}

/// Returns the smallest number that lies in that slot.
fn number_in(slot: u16) -> u32 {
    NUMBERS.get(usize::from(slot)).copied().unwrap_or_default()
}

/// The part of a key that decides its slot: between the first `{` and the next `}`, if that is
/// not empty.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|b| *b == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|b| *b == b'}')?;
    (0 < close).then(|| &rest[..close])
}

/// The slot of a key on a cluster.
fn slot(key: &[u8]) -> u16 {
    slot_of_tag(tag(key).unwrap_or(key))
}

/// CRC-16/XMODEM modulo the number of slots, as the cluster specification has it.
fn slot_of_tag(tag: &[u8]) -> u16 {
    tag.iter().fold(0, |crc, byte| checksum(crc, *byte)) % SLOTS
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
    use std::collections::HashSet;

    const NASTY: [&str; 14] = [
        "plain", "a{b}c", "a}b", "{}", "}{", "{}x", "{{b}}", "a{b", "}", "{a}", "a{}{b}c", "ünï",
        "\n", "2:{x}",
    ];

    #[test]
    fn names_are_read_back_from_keys() {
        for name in NASTY {
            for prefix in ["arbiter:", "", "{t}:", "}"] {
                let keys = Keys::new(prefix, name).unwrap();
                assert_eq!(name_of(prefix, &keys.lock), Some(name));
                assert_eq!(lock_of_queue(&keys.queue), Some(keys.lock.as_str()));
                for other in [&keys.lock, &keys.last_fence, &keys.share, &keys.run()] {
                    assert_eq!(lock_of_queue(other), None, "{other}");
                }
                assert_eq!(name_of("", &keys.queue), None);
            }
        }
        for odd in [
            "arbiter.queue2:{a{b}c}",
            "arbiter.queue3:{7}a",
            "arbiter.queue4:x",
        ] {
            assert_eq!(lock_of_queue(odd), None, "{odd}");
        }
    }

    #[test]
    fn slot_follows_the_cluster_specification() {
        assert_eq!(slot_of_tag(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot_of_tag(b"foo{}{bar}"));
    }

    #[test]
    fn every_slot_has_its_smallest_number() {
        let of_slot = |n: u32| usize::from(slot(n.to_string().as_bytes()));
        assert!((0..20_000).all(|n| NUMBERS[of_slot(n)] <= n));
        for (slot, number) in NUMBERS.iter().enumerate() {
            assert_eq!(of_slot(*number), slot, "{number}");
        }
    }

    #[test]
    fn companions_share_the_slot_of_their_lock() {
        for name in NASTY {
            for prefix in ["arbiter:", "", "{t}:", "}"] {
                let keys = Keys::new(prefix, name).unwrap();
                for companion in [&keys.last_fence, &keys.queue, &keys.share, &keys.run()] {
                    assert_eq!(
                        slot(companion.as_bytes()),
                        slot(keys.lock.as_bytes()),
                        "{companion:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_two_locks_share_a_key() {
        let mut locks: HashSet<String> = HashSet::new();
        let mut all = HashSet::new();
        for prefix in ["arbiter:", "", "1:", "{", "}"] {
            for name in NASTY {
                let keys = Keys::new(prefix, name).unwrap();
                if locks.insert(keys.lock.clone()) {
                    assert!(all.insert(keys.lock.clone()), "{keys:?}");
                    assert!(all.insert(keys.last_fence.clone()), "{keys:?}");
                    assert!(all.insert(keys.queue.clone()), "{keys:?}");
                    assert!(all.insert(keys.share.clone()), "{keys:?}");
                    assert!(all.insert(keys.run()), "{keys:?}");
                }
            }
        }
    }

    #[test]
    fn key_pattern_escapes_prefix_and_name() {
        let keys = pattern_of("p*:", &Pattern::new("a*b?[c]"));
        assert_eq!(keys, "p\\*:a*b*\\[c\\]");
    }

    #[test]
    fn key_resembling_a_companion_is_refused() {
        assert_eq!(Keys::new("", "arbiter.queue2:{x}"), None);
        assert_eq!(Keys::new("arbiter", ".x"), None);
    }
}

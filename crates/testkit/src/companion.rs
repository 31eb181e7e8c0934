//! The keys beside a lock's key, as `docs/protocol.md` specifies them.

/// The mark of such a key, which no lock's key contains.
const MARK: &str = "#arbiter.";

/// Returns the key of that kind beside a lock's key: `queue`, `last`, `share` or `run`.
///
/// # Panics
/// If no number moves it to the slot of the lock's key.
#[must_use]
pub fn companion(lock: &str, kind: &str) -> String {
    let key = [lock, MARK, kind].concat();
    if hash_tag(lock).is_some() {
        return key;
    }
    let slot = slot(lock);
    let keys = (0..1_000_000).map(|number| format!("{key}{number:06}"));
    keys.into_iter()
        .find(|key| self::slot(key) == slot)
        .expect("a number for every slot")
}

/// Returns the kind of a key beside a lock's key; `None` for any other key.
#[must_use]
pub fn companion_kind(key: &str) -> Option<&str> {
    let (_, kind) = key.split_once(MARK)?;
    Some(kind.trim_end_matches(|c: char| c.is_ascii_digit()))
}

fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    Some(tag).filter(|tag| !tag.is_empty())
}

fn slot(key: &str) -> u16 {
    let bytes = hash_tag(key).unwrap_or(key).bytes();
    let checksum = bytes.fold(0_u16, |checksum, byte| {
        (0..8).fold(checksum ^ u16::from(byte) << 8, |sum, _| {
            let shifted = sum << 1;
            if sum & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    checksum % 16_384
}

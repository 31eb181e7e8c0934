//! The primitive that the flags of a mode name.

/// Acquires one name in the mode of the flags. `$with_options!` sets the options of any primitive.
macro_rules! acquire_in_mode {
    ($mode:expr, $client:expr, $name:expr, $with_options:ident) => {
        match ($mode.permits, $mode.of) {
            (Some(permits), Some(of)) => {
                let semaphore = $with_options!($client.semaphore($name, of));
                let semaphore = match $mode.follow_limit {
                    true => semaphore.follow_limit(),
                    false => semaphore,
                };
                semaphore.acquire_many(permits).await
            }
            _ if $mode.shared => $with_options!($client.rw_lock($name)).read().await,
            _ => $with_options!($client.lock($name)).acquire().await,
        }
    };
}
pub(super) use acquire_in_mode;

//! The conformance tests, run on every store.

use testkit::conformance::Store;

/// The conformance tests of the lock, with those of the other primitives in a module each.
macro_rules! claims {
    ($store:expr; $($primitive:ident),*) => {
        testkit::conformance!($store);
        $(
            mod $primitive {
                use super::Store;
                testkit::conformance!($primitive: $store);
            }
        )*
    };
}

mod memory {
    use super::Store;
    claims!(Store::memory(); rw_lock, semaphore, several, election, once, prefixes, transfers, with_permits);
}

#[cfg(feature = "embedded")]
mod embedded {
    use super::Store;
    claims!(Store::embedded(); rw_lock, semaphore, several, election, once, prefixes, transfers, with_permits);
}

mod redis {
    use super::Store;
    claims!(Store::redis(); rw_lock, semaphore, several, election, once, prefixes, transfers, with_permits);
}

mod sentinel {
    use super::Store;
    claims!(Store::sentinel(); rw_lock, semaphore, several, election, once, prefixes, transfers, with_permits);
}

mod cluster {
    use super::Store;
    claims!(Store::cluster(); rw_lock, semaphore, several, election, once, prefixes, transfers, with_permits);
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::Store;
    claims!(Store::postgres(); rw_lock, semaphore, several, election, once, prefixes, transfers, with_permits);
}

/// The newest Valkey on this machine, or else the default server.
mod valkey {
    use super::Store;
    claims!(Store::server(&crate::conformance::valkey_binary()); rw_lock, semaphore, several, election, once, prefixes, transfers, with_permits);
}

pub(crate) fn valkey_binary() -> std::path::PathBuf {
    let flavours = testkit::flavours();
    let valkey = flavours.iter().filter(|f| f.name.starts_with("valkey"));
    valkey
        .max_by_key(|flavour| flavour.name.clone())
        .map_or_else(testkit::server_binary, |valkey| valkey.binary.clone())
}

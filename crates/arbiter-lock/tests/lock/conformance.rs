//! The same claims on every store.

use testkit::conformance::Store;

/// The claims of the lock, and those of other faces in a module each.
macro_rules! claims {
    ($store:expr; $($face:ident),*) => {
        testkit::conformance!($store);
        $(
            mod $face {
                use super::Store;
                testkit::conformance!($face: $store);
            }
        )*
    };
}

mod memory {
    use super::Store;
    claims!(Store::memory(); rw_lock, semaphore, several, election, once, with_permits);
}

#[cfg(feature = "embedded")]
mod embedded {
    use super::Store;
    claims!(Store::embedded(); rw_lock, semaphore, several, election, once, with_permits);
}

mod redis {
    use super::Store;
    claims!(Store::redis(); rw_lock, semaphore, several, election, once, with_permits);
}

/// The newest Valkey that there is, else the server that the others run on.
mod valkey {
    use super::Store;
    claims!(Store::server(&crate::conformance::valkey_binary()); rw_lock, semaphore, several, election, once, with_permits);
}

fn valkey_binary() -> std::path::PathBuf {
    let flavours = testkit::flavours();
    let valkey = flavours.iter().filter(|f| f.name.starts_with("valkey"));
    valkey
        .max_by_key(|flavour| flavour.name.clone())
        .map_or_else(testkit::server_binary, |valkey| valkey.binary.clone())
}

//! The same claims on every store.

use testkit::conformance::Store;

mod memory {
    use super::Store;
    testkit::conformance!(Store::memory());
    testkit::conformance_of_election!(Store::memory());
    testkit::conformance_of_once!(Store::memory());
}

#[cfg(feature = "embedded")]
mod embedded {
    use super::Store;
    testkit::conformance!(Store::embedded());
    testkit::conformance_of_election!(Store::embedded());
    testkit::conformance_of_once!(Store::embedded());
}

mod redis {
    use super::Store;
    testkit::conformance!(Store::redis());
}

/// The newest Valkey that there is, else the server that the others run on.
mod valkey {
    use super::Store;
    testkit::conformance!(Store::server(&super::valkey_binary()));
}

fn valkey_binary() -> std::path::PathBuf {
    let flavours = testkit::flavours();
    let valkey = flavours.iter().filter(|f| f.name.starts_with("valkey"));
    valkey
        .max_by_key(|flavour| flavour.name.clone())
        .map_or_else(testkit::server_binary, |valkey| valkey.binary.clone())
}

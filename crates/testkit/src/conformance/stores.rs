//! The stores that the conformance tests run on.

use std::path::Path;

use arbiter_lock::{Client, NoopLogger};

use super::exclusive::{Exclusive, Primitive};
use crate::{Folder, Server, unique_name};

/// A store of a single test. It ends on drop.
#[derive(Debug)]
pub struct Store {
    url: String,
    primitive: Primitive,
    _server: Option<Server>,
    _folder: Option<Folder>,
}

impl Store {
    /// Returns a memory store that all clients of the process could share.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            url: format!("memory:{}", unique_name()),
            primitive: Primitive::Lock,
            _server: None,
            _folder: None,
        }
    }

    /// Returns an embedded store in a new folder.
    #[must_use]
    pub fn embedded() -> Self {
        let folder = Folder::new();
        Self {
            url: folder.url(),
            primitive: Primitive::Lock,
            _server: None,
            _folder: Some(folder),
        }
    }

    /// Starts the default server.
    #[must_use]
    pub fn redis() -> Self {
        Self::of_server(Server::start())
    }

    /// Starts a server of that binary.
    #[must_use]
    pub fn server(binary: &Path) -> Self {
        Self::of_server(Server::builder().binary(binary).start())
    }

    fn of_server(server: Server) -> Self {
        Self {
            url: server.url(),
            primitive: Primitive::Lock,
            _server: Some(server),
            _folder: None,
        }
    }

    /// Makes the tests of the lock use semaphores with one permit.
    #[must_use]
    pub fn with_permits(self) -> Self {
        Self {
            primitive: Primitive::Permit,
            ..self
        }
    }

    pub(super) fn lock(&self, client: &Client, name: &str) -> Exclusive {
        Exclusive::new(self.primitive, client, name)
    }

    /// Returns the URL of the store.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects a client to the store.
    ///
    /// # Panics
    /// If it cannot connect.
    pub async fn client(&self) -> Client {
        let builder = Client::builder().store(&self.url).logger(NoopLogger);
        builder.connect().await.expect("a client of the store")
    }
}

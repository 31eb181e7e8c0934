//! The stores that the claims are made of.

use std::path::Path;

use arbiter_lock::{Client, NoopLogger};

use super::exclusive::{Exclusive, Primitive};
use crate::{Folder, Server, unique_name};

/// A store of a test's own, ended with its value.
#[derive(Debug)]
pub struct Store {
    url: String,
    primitive: Primitive,
    _server: Option<Server>,
    _folder: Option<Folder>,
}

impl Store {
    /// A memory store that all clients of the process could share.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            url: format!("memory:{}", unique_name()),
            primitive: Primitive::Lock,
            _server: None,
            _folder: None,
        }
    }

    /// An embedded store in a fresh folder.
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

    /// The server that tests run on.
    #[must_use]
    pub fn redis() -> Self {
        Self::of_server(Server::start())
    }

    /// A server of that binary.
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

    /// The same store, where semaphores with one permit are the locks of the claims.
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

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of it.
    ///
    /// # Panics
    /// If it cannot be had.
    pub async fn client(&self) -> Client {
        let builder = Client::builder().store(&self.url).logger(NoopLogger);
        builder.connect().await.expect("a client of the store")
    }
}

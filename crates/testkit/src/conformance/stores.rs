//! The stores that the conformance tests run on.

use std::path::Path;

use arbiter_lock::{Client, ClientBuilder, NoopLogger};

use super::exclusive::{Exclusive, Primitive};
use crate::{Cluster, Folder, Postgres, SentinelGroup, Server, Shared, unique_name};

/// A store of a single test. It ends on drop.
#[derive(Debug)]
pub struct Store {
    url: String,
    /// Keeps apart the tests that share a store.
    key_prefix: String,
    primitive: Primitive,
    /// The server, folder or process behind the store.
    _served_by: Box<dyn std::any::Any + Send>,
}

impl Store {
    fn new(url: String, served_by: impl std::any::Any + Send) -> Self {
        Self {
            url,
            key_prefix: format!("{}:", unique_name()),
            primitive: Primitive::Lock,
            _served_by: Box::new(served_by),
        }
    }

    /// Returns a memory store that all clients of the process could share.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(format!("memory:{}", unique_name()), ())
    }

    /// Returns an embedded store in a new folder.
    #[must_use]
    pub fn embedded() -> Self {
        let folder = Folder::new();
        Self::new(folder.url(), folder)
    }

    /// Starts the default server.
    #[must_use]
    pub fn redis() -> Self {
        Self::of_server(Server::start())
    }

    /// Starts the default server, and reaches it through a Unix socket.
    #[must_use]
    pub fn redis_over_a_socket() -> Self {
        let server = Server::start();
        Self::new(server.unix_url(), server)
    }

    /// Starts a server of that binary.
    #[must_use]
    pub fn server(binary: &Path) -> Self {
        Self::of_server(Server::builder().binary(binary).start())
    }

    fn of_server(server: Server) -> Self {
        Self::new(server.url(), server)
    }

    /// Returns the store of a Sentinel group that all tests of the process share.
    ///
    /// # Panics
    /// If the group does not start.
    #[must_use]
    pub fn sentinel() -> Self {
        static SHARED: Shared<SentinelGroup> = Shared::new();
        let group = SHARED.get_or_start(SentinelGroup::start_shared);
        Self::new(group.url(), group)
    }

    /// Starts a Sentinel group of the test's own.
    #[must_use]
    pub fn own_sentinel() -> Self {
        let group = SentinelGroup::start();
        Self::new(group.url(), group)
    }

    /// Returns the store of a cluster that all tests of the process share.
    ///
    /// # Panics
    /// If the cluster does not start.
    #[must_use]
    pub fn cluster() -> Self {
        static SHARED: Shared<Cluster> = Shared::new();
        let cluster = SHARED.get_or_start(Cluster::start_shared);
        Self::new(cluster.url(), cluster)
    }

    /// Starts a cluster of the test's own.
    #[must_use]
    pub fn own_cluster() -> Self {
        let cluster = Cluster::start();
        Self::new(cluster.url(), cluster)
    }

    /// Returns the database that all tests of the process share.
    #[must_use]
    pub fn postgres() -> Self {
        let server = Postgres::shared();
        Self::new(server.url(), server)
    }

    /// Starts a database of the test's own.
    #[must_use]
    pub fn own_postgres() -> Self {
        let server = Postgres::start();
        Self::new(server.url(), server)
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
        self.client_of("").await
    }

    /// Connects a client with that text behind the prefix of the test.
    pub(super) async fn client_of(&self, more: &str) -> Client {
        let connecting = self.builder_of(more).connect();
        connecting.await.expect("a client of the store")
    }

    pub(super) fn builder_of(&self, more: &str) -> ClientBuilder {
        let builder = Client::builder().store(&self.url).logger(NoopLogger);
        builder.key_prefix(&[&self.key_prefix, more].concat())
    }
}

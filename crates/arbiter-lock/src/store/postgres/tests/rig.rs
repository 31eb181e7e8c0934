//! A schema of a real server with a clock of its own, and clients whose trips are made one by one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Grant, Moment, Note, Reply, Request, Resource, Rows as _, Table};
use serde_json::{Value as Json, json};

use super::super::database::Postgres;
use super::super::exchange::Exchange;
use super::super::listeners::grant_in;
use super::super::opening::open_session;
use super::super::queued_request::{Again, QueuedRequest};
use super::super::rows::Loaded;
use super::super::session::{DatabaseSession, Swapped};
use super::super::sql::{Windows, quoted, schema_sql_of};
use super::super::sweep::Sweep;
use super::super::url::PostgresUrl;
use super::super::wire;
use crate::NoopLogger;
use crate::events::event::EventQueue;
use crate::store::{Envelope, Failure, Push, ServerSettings};

/// The windows of tests: most steps of a few clients meet their ends.
pub(super) const TINY: Windows = Windows {
    waiters: 2,
    places: 3,
    shared: 2,
    ends: 1,
    notes: 2,
    old: 1,
};

const LIMIT: Duration = Duration::from_secs(20);

/// A schema of a shared server, whose time the test sets.
pub(super) struct Rig {
    _server: Arc<testkit::Postgres>,
    pub(super) store: Arc<Postgres>,
    pub(super) client: Client,
    /// Another client, which listens.
    pub(super) other: Client,
    now: u64,
    /// How many of the first waiters are read, if not as many as by others.
    pub(super) heads: Option<u64>,
    /// How many exchanges needed all rows.
    pub(super) misses: u64,
}

/// A client of the store: its session, and the channel that it listens on.
pub(super) struct Client {
    pub(super) session: DatabaseSession,
    pub(super) channel: Arc<str>,
}

/// The requests of a client that have been applied, and their writes.
pub(super) struct Trip {
    pub(super) exchange: Exchange,
    pub(super) changes: String,
    is_durable: bool,
    grants: Vec<(String, Push)>,
}

/// The grants that are notified, with their channels.
pub(super) type Notified = Vec<(String, Push)>;

type Replied = tokio::sync::oneshot::Receiver<Result<Envelope<Reply>, Failure>>;

impl Rig {
    pub(super) async fn new(windows: &Windows) -> Self {
        let server = testkit::Postgres::shared();
        let schema = format!("s {}", testkit::unique_name());
        let name = quoted(&schema);
        let now = 1_700_000_000_000_000;
        let clock = format!(
            "CREATE TABLE {name}.clock (id int PRIMARY KEY, now bigint); \
             INSERT INTO {name}.clock VALUES (1, {now}); \
             CREATE OR REPLACE FUNCTION {name}.now_us() RETURNS bigint LANGUAGE sql STABLE \
             RETURN (SELECT c.now FROM {name}.clock c WHERE c.id = 1);"
        );
        let _ = server.sql(&(schema_sql_of(&schema, windows) + &clock));
        let settings = ServerSettings::default();
        let mut url = PostgresUrl::parse(&server.url(), &settings).unwrap();
        url.schema = schema;
        let events = EventQueue::new(Box::new(NoopLogger));
        let store = Arc::new(Postgres::new(url, settings, None, events).unwrap());
        let client = Client::open(&store).await;
        let other = Client::open(&store).await;
        Self {
            _server: server,
            store,
            client,
            other,
            now,
            heads: None,
            misses: 0,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_micros(self.now)
    }

    /// Advances the server's time.
    pub(super) async fn advance(&mut self, micros: u64) {
        self.set_clock(self.now + micros).await;
    }

    /// Sets the server's time back.
    pub(super) async fn rewind(&mut self, micros: u64) {
        self.set_clock(self.now - micros).await;
    }

    async fn set_clock(&mut self, now: u64) {
        if self.now != now {
            self.now = now;
            let clock = format!("{}.clock", quoted(&self.store.url.schema));
            self.sql(&format!(
                "UPDATE {clock} SET now = {now} WHERE id = 1 RETURNING '1'"
            ))
            .await;
        }
    }

    /// Runs a statement, and returns its first row.
    pub(super) async fn sql(&self, statement: &str) -> Vec<Option<String>> {
        self.client.session.ask(statement).await.unwrap()
    }

    fn queued(&self, name: &str, request: &Request) -> (QueuedRequest, Replied) {
        QueuedRequest::new(self.store.key(name), request.clone())
    }

    /// Loads the rows for requests, and applies them.
    pub(super) async fn begin(
        &self,
        client: &Client,
        queue: &mut VecDeque<QueuedRequest>,
        is_listening: bool,
    ) -> Trip {
        let mut exchange = Exchange::take(queue);
        let mut request = exchange.to_load(&client.channel);
        if let Some(heads) = self.heads {
            let mut items: Json = serde_json::from_str(&request).unwrap();
            for item in items.as_array_mut().unwrap() {
                item[4] = heads.into();
            }
            request = items.to_string();
        }
        let states = client.session.load(&self.store, &request).await.unwrap();
        let applied = exchange.apply(&self.store, &states, is_listening);
        let (changes, is_durable) = applied.unwrap();
        let is_empty = changes.is_empty();
        let changes = changes.into_text();
        let json: Json = serde_json::from_str(&changes).unwrap();
        let grant = |grant: &Json| {
            let field = |field: &str| grant[field].as_str().unwrap().to_owned();
            let push = grant_in(&field("payload")).unwrap();
            (field("name"), (field("channel"), push))
        };
        let grants = json["grants"].as_array().into_iter().flatten().map(grant);
        Trip {
            exchange,
            is_durable,
            grants: grants.map(|(_, grant)| grant).collect(),
            changes: if is_empty { String::new() } else { changes },
        }
    }

    /// Writes the changes of the requests. Returns the requests that start again, and the names
    /// that were written.
    pub(super) async fn finish(
        &self,
        client: &Client,
        trip: Trip,
    ) -> (Vec<(Again, QueuedRequest)>, Vec<String>, Notified) {
        let (written, guarded) = match trip.changes.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => {
                let session = &client.session;
                let swap = session.swap(&self.store, &trip.changes, trip.is_durable, false);
                match swap.await.unwrap() {
                    Swapped::Done { written, guarded } => (written, guarded),
                    Swapped::Conflict => panic!("a conflict"),
                }
            }
        };
        let again = trip.exchange.finish(&self.store, 1, &written, &guarded);
        (again, written, trip.grants)
    }

    /// Sends requests together, and returns their replies, and the grants that are notified.
    pub(super) async fn send(
        &mut self,
        requests: &[(&str, Request)],
        is_listening: bool,
    ) -> (Vec<Envelope<Reply>>, Notified) {
        let requests = requests
            .iter()
            .map(|(name, request)| self.queued(name, request));
        let (mut queue, replies): (VecDeque<_>, Vec<_>) = requests.unzip();
        let mut notified = Vec::new();
        while !queue.is_empty() {
            let needs_all = queue[0].needs_all;
            let trip = self.begin(&self.client, &mut queue, is_listening).await;
            let (again, _, grants) = self.finish(&self.client, trip).await;
            notified.extend(grants);
            self.misses += u64::from(!again.is_empty());
            for (why, mut queued) in again {
                assert!(
                    why == Again::All && !needs_all,
                    "{why:?}: {:?}",
                    queued.request
                );
                queued.needs_all = true;
                queued.stage.take_back();
                queue.push_back(queued);
            }
        }
        (replies.into_iter().map(reply).collect(), notified)
    }

    /// Queues a request for a trip of its own.
    pub(super) fn queue(
        &self,
        name: &str,
        request: &Request,
    ) -> (VecDeque<QueuedRequest>, Replied) {
        let (queued, replied) = self.queued(name, request);
        (VecDeque::from([queued]), replied)
    }

    /// Forgets the names that nothing remembers.
    pub(super) async fn sweep(&self) {
        let mut sweep = Sweep::default();
        let swept = sweep.forget(&self.store, &self.client.session);
        swept.await.unwrap();
    }

    /// Reads all rows of a name.
    pub(super) async fn everything(&self, name: &str) -> Loaded {
        let (nothing, key): ([&str; 0], _) = ([], self.store.key(name));
        let request = json!([[&*key, nothing, nothing, "", 1, true, true]]).to_string();
        let states = self
            .client
            .session
            .load(&self.store, &request)
            .await
            .unwrap();
        wire::loaded(&states[0]).unwrap().1
    }

    /// Checks that all rows of a name are those in memory.
    pub(super) async fn compare(&self, name: &str, memory: &Resource<Table>, context: &str) {
        let mut there = self.everything(name).await;
        let here = memory.rows();
        assert_eq!(there.root, *here.root(), "{context}");
        let mut shared = here.last_to_expire(usize::MAX);
        shared.reverse();
        there
            .shared
            .sort_by_key(|hold| (hold.end(), hold.owner.clone()));
        assert_eq!(there.shared, shared, "{context}");
        let mut waiters: Vec<_> = here
            .waiter_ids()
            .filter_map(|id| here.waiter(&id))
            .collect();
        waiters.sort_by_key(|waiter| waiter.contender.id.clone());
        there
            .waiters
            .sort_by_key(|waiter| waiter.contender.id.clone());
        assert_eq!(there.waiters, waiters, "{context}");
        let notes = there.notes.into_iter().map(|(note, id, _)| (note, id));
        let notes: BTreeSet<(Note, Arc<str>)> = notes.collect();
        assert_eq!(notes, here.note_ids().collect(), "{context}");
        let is_remembered = |run: &arbiter_lock_core::Run| self.now().as_millis() <= run.until;
        let run = there.run.filter(is_remembered);
        assert_eq!(run, here.run().filter(is_remembered), "{context}");
    }
}

impl Client {
    pub(super) async fn open(store: &Arc<Postgres>) -> Self {
        let channel: Arc<str> = format!("arbiter.wake:{}", testkit::unique_name()).into();
        let mut silent = Vec::new();
        let session = open_session(store, Some(&channel), &mut silent, LIMIT);
        let session = session.await.unwrap();
        assert!(session.is_listening);
        Self { session, channel }
    }
}

/// Returns the reply to a request that was answered.
pub(super) fn reply(mut replied: Replied) -> Envelope<Reply> {
    replied.try_recv().unwrap().unwrap()
}

/// Returns the grants that are notified.
pub(super) fn notified(grants: &[Grant]) -> Notified {
    let grants = grants
        .iter()
        .filter(|grant| grant.channel.starts_with("arbiter.wake:"));
    let push = |grant: &Grant| (grant.channel.to_string(), grant.clone().into());
    grants.map(push).collect()
}

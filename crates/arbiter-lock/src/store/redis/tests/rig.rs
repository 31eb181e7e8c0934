//! The core and a server side by side: both are fed the same step at the same frozen time.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Answer, Broken, Contender, Downgraded, Ended, Grant, Moment, Renewed, Reply, Request,
    Resized, Resource, Run, Status, Tried, Written,
};
use redis::{PushKind, Value};
use testkit::{Server, ServerBuilder, WallClock};

use super::super::dial::{Line, dial};
use super::super::keys::Keys;
use super::super::reply;
use super::super::script::{self, Call};
use super::super::target::Target;
use super::ask;
use crate::store::{Envelope, KeyPrefix, Push};

/// The channels with a listener. All others have none.
pub(super) const LISTENED: [&str; 2] = ["c0", "c1"];

pub(super) fn listens(channel: &str) -> bool {
    LISTENED.contains(&channel)
}

pub(super) struct Rig {
    pub(super) core: Resource,
    pub(super) server: Server,
    pub(super) keys: Keys,
    clock: WallClock,
    line: Line,
    pushed: Arc<Mutex<Vec<Push>>>,
    now: u64,
    /// Redis 8 ends a TTL with the beginning of its last millisecond, every other server with
    /// its end.
    pub(super) ends_lives_early: bool,
}

impl Rig {
    pub(super) async fn new(server: ServerBuilder) -> Self {
        let clock = WallClock::new();
        let now = 1_790_000_000_123_456;
        clock.freeze_at(now as i64);
        let server = clock.rule(server).start();
        let pushed = Arc::new(Mutex::new(Vec::new()));
        let heard = pushed.clone();
        let (target, _) = Target::parse(&server.url()).unwrap();
        let on_push = move |push: redis::PushInfo| {
            if let (PushKind::Message, [_, Value::BulkString(payload)]) =
                (push.kind, push.data.as_slice())
            {
                heard.lock().unwrap().push(reply::push(payload).unwrap().0);
            }
        };
        let mut line = dial(&target, Duration::from_secs(5), on_push)
            .await
            .unwrap();
        line.connection.subscribe(&LISTENED[..]).await.unwrap();
        server.call(&["SET", "probe", "", "PX", "5"]);
        clock.freeze_at(now as i64 + 5_000);
        let ends_lives_early = server.call(&["EXISTS", "probe"]).int() == Some(0);
        server.call(&["DEL", "probe"]);
        clock.freeze_at(now as i64);
        Self {
            ends_lives_early,
            core: Resource::default(),
            keys: Keys::new(&KeyPrefix::default(), "name").unwrap(),
            server,
            clock,
            line,
            pushed,
            now,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_micros(self.now)
    }

    /// Advances the server's clock by `step` at each read from now on, so time passes within its
    /// scripts. The core does not follow.
    pub(super) fn slow_down(&self, step: Duration) {
        self.clock.step_from(self.now as i64, step);
    }

    /// Returns the grants that the server has published.
    pub(super) fn take_pushed(&self) -> Vec<Push> {
        std::mem::take(&mut *self.pushed.lock().unwrap())
    }

    pub(super) fn advance(&mut self, micros: i64) {
        if micros < 0 {
            self.end_what_is_over();
        }
        self.now = self.now.strict_add_signed(micros);
        self.clock.freeze_at(self.now as i64);
    }

    /// Expires keys on both sides. A server expires a key when a command reads it, so before the
    /// clock steps back, both have to have read it.
    fn end_what_is_over(&mut self) {
        self.core.renew(Moment::from_micros(self.now), "", 0, 1);
        let Keys {
            lock, queue, share, ..
        } = &self.keys;
        self.server.call(&["EXISTS", lock, queue, share]);
        // It ends the shared holds that are over, and nothing else.
        let release = Request::Break {
            fence: 0,
            at_once: true,
        };
        let settle = script::request(&self.keys, &release).by_source();
        let words = settle.args_iter().map(|arg| match arg {
            redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            other => panic!("{other:?}"),
        });
        let words: Vec<String> = words.collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.server.call(&words);
        if self.server.call(&["EXISTS", &self.keys.last_fence]).int() == Some(0) {
            self.core.lose_last_fence();
        }
        if self.server.call(&["EXISTS", &self.keys.run()]).int() == Some(0) {
            self.core.lose_last_run();
        }
    }

    pub(super) fn connection(&self) -> redis::aio::MultiplexedConnection {
        self.line.connection.clone()
    }

    pub(super) async fn send(&self, call: &Call) -> Value {
        let mut connection = self.line.connection.clone();
        connection
            .send_packed_command(&call.by_source())
            .await
            .unwrap()
            .extract_error()
            .unwrap()
    }

    /// Sends a request to the server alone.
    pub(super) async fn reply<T>(&self, request: &Request) -> Envelope<T>
    where
        T: TryFrom<Reply, Error: Debug>,
    {
        let value = self.send(&script::request(&self.keys, request)).await;
        ask::read(request, value).unwrap()
    }

    /// Compares an answer of the server with that of the core, and the grants of both.
    async fn compare(
        &self,
        core: Answer<Reply>,
        server: Envelope<Reply>,
    ) -> (Reply, Vec<Grant>, bool) {
        assert_eq!(server.reply, core.reply);
        assert_eq!(
            (server.at, server.again),
            (self.now(), core.again),
            "{:?}",
            core.reply
        );
        // A newer server sends them behind the reply.
        for _ in 0..1_000 {
            if core.granted.len() <= self.pushed.lock().unwrap().len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let pushed = self.take_pushed();
        let told: Vec<_> = core
            .granted
            .iter()
            .map(|grant| Push::from(grant.clone()))
            .collect();
        assert_eq!(pushed, told, "{:?}", core.reply);
        self.companions_have_ttls().await;
        (core.reply, core.granted, core.again)
    }

    /// Asserts that each companion has a TTL. Only the lock's own key may have none, by an
    /// operator.
    async fn companions_have_ttls(&self) {
        let Keys {
            last_fence,
            queue,
            share,
            ..
        } = &self.keys;
        let mut ttls = redis::pipe();
        for key in [last_fence, queue, share] {
            ttls.cmd("PTTL").arg(key);
        }
        let mut connection = self.line.connection.clone();
        let ttls: Vec<i64> = ttls.query_async(&mut connection).await.unwrap();
        assert!(
            !ttls.contains(&-1),
            "a companion has no TTL: {:?}",
            self.dump()
        );
    }

    /// Sends a request to the server and to the core, and demands the same reply and grants.
    async fn ask<T>(&mut self, request: &Request) -> (T, Vec<Grant>, bool)
    where
        T: TryFrom<Reply, Error: Debug>,
    {
        let mut server: Envelope<Reply> = self.reply(request).await;
        let now = self.now();
        let core = request.apply(&mut self.core, now, listens);
        if let Reply::Ended(_) | Reply::Renewed(_) | Reply::Written(_) = server.reply {
            server.at = now; // they carry no time
        }
        let (reply, granted, again) = self.compare(core, server).await;
        (reply.try_into().unwrap(), granted, again)
    }

    pub(super) async fn acquire(
        &mut self,
        contender: &Contender,
        ticket: Option<u64>,
    ) -> (Acquired, Vec<Grant>, bool) {
        self.ask(&ask::acquire(contender, ticket)).await
    }

    pub(super) async fn try_acquire(&mut self, contender: &Contender) -> (Tried, Vec<Grant>, bool) {
        self.ask(&ask::try_acquire(contender)).await
    }

    pub(super) async fn renew(&mut self, owner: &str, fence: u64, lease_ms: u64) -> Renewed {
        let request = Request::Renew(ask::renewal(owner, fence, lease_ms));
        self.ask(&request).await.0
    }

    pub(super) async fn end(
        &mut self,
        contender: &Contender,
        tombstone: bool,
    ) -> (Ended, Vec<Grant>, bool) {
        self.ask(&ask::end(contender, tombstone)).await
    }

    pub(super) async fn break_hold(
        &mut self,
        fence: u64,
        at_once: bool,
    ) -> (Broken, Vec<Grant>, bool) {
        self.ask(&Request::Break { fence, at_once }).await
    }

    pub(super) async fn break_external(&mut self, owner: Arc<str>) -> (Broken, Vec<Grant>, bool) {
        self.ask(&Request::BreakExternal { owner }).await
    }

    pub(super) async fn downgrade(
        &mut self,
        owner: &str,
        fence: u64,
        lease_ms: u64,
    ) -> (Downgraded, Vec<Grant>, bool) {
        let request = Request::Downgrade(ask::renewal(owner, fence, lease_ms));
        self.ask(&request).await
    }

    pub(super) async fn transfer(&mut self, owner: &str, fence: u64, to: &Contender) -> Renewed {
        self.ask(&ask::transfer(owner, fence, to)).await.0
    }

    pub(super) async fn resize(&mut self, limit: NonZeroU32) -> (Resized, Vec<Grant>, bool) {
        self.ask(&Request::Resize(limit)).await
    }

    pub(super) async fn write(&mut self, write: &Request) -> Written {
        self.ask(write).await.0
    }

    pub(super) async fn last_run(&mut self) -> Option<Run> {
        self.ask(&Request::LastRun).await.0
    }

    pub(super) async fn inspect(&mut self) -> Status {
        self.ask(&Request::Inspect).await.0
    }

    /// Writes the lock as an external client, as the Go library does; without a TTL for `None`.
    pub(super) fn take_externally(&mut self, owner: &str, ttl_ms: Option<u64>) {
        self.server.call(&["DEL", &self.keys.lock]);
        self.server.call(&["HSET", &self.keys.lock, "owner", owner]);
        if let Some(ttl) = ttl_ms {
            self.server
                .call(&["PEXPIRE", &self.keys.lock, &ttl.to_string()]);
        }
        self.core.take_externally(self.now(), owner, ttl_ms);
    }

    pub(super) fn delete_externally(&mut self) {
        self.server.call(&["DEL", &self.keys.lock]);
        self.core.delete_lock(self.now());
    }

    pub(super) fn lose_share(&mut self) {
        self.server.call(&["DEL", &self.keys.share]);
        if self.core.inspect(self.now()).sharing.is_some() {
            self.core.delete_lock(self.now());
        }
    }

    /// Changes the TTL of the lock's key as an operator; with shared holds, until it has expired.
    pub(super) fn change_ttl(&mut self, ttl_ms: Option<u64>) {
        let is_shared = self.core.inspect(self.now()).sharing.is_some();
        match ttl_ms {
            Some(ttl) => self
                .server
                .call(&["PEXPIRE", &self.keys.lock, &ttl.to_string()]),
            None => self.server.call(&["PERSIST", &self.keys.lock]),
        };
        self.core.set_expiry(self.now(), ttl_ms);
        if let Some(ttl) = ttl_ms.filter(|_| is_shared) {
            self.advance((ttl as i64 / 7 + 1) * 7_000);
            self.core.delete_lock(self.now());
        }
    }

    pub(super) fn lose_queue(&mut self) {
        self.server.call(&["DEL", &self.keys.queue]);
        self.core.lose_queue();
    }

    pub(super) fn lose_last_fence(&mut self) {
        self.server.call(&["DEL", &self.keys.last_fence]);
        self.core.lose_last_fence();
    }

    /// Returns the values of the keys, with the rest of their TTLs.
    pub(super) fn dump(&self) -> Vec<String> {
        let Keys {
            lock,
            last_fence,
            queue,
            share,
        } = &self.keys;
        let mut hash = self.server.call(&["HGETALL", lock]).texts();
        hash.sort();
        let mut zset = self
            .server
            .call(&["ZRANGE", queue, "0", "-1", "WITHSCORES"])
            .texts();
        zset.sort();
        let mut sharers = self
            .server
            .call(&["ZRANGE", share, "0", "-1", "WITHSCORES"])
            .texts();
        sharers.sort();
        let mut all = vec![hash.join(" "), zset.join(" "), sharers.join(" ")];
        all.extend(self.server.call(&["GET", last_fence]).text());
        for key in [lock, last_fence, queue, share] {
            all.extend(self.server.call(&["PTTL", key]).text());
        }
        all
    }
}

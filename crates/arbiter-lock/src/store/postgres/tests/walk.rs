//! A random walk: the same requests for the store and for the core in memory.

use std::collections::HashMap;
use std::sync::Arc;

use arbiter_lock_core::{Answer, Contender, Reply, Request, Resource, Table};

use super::super::sql::Windows;
use super::rig::{Notified, Rig, notified};
use crate::store::Envelope;
use crate::store::tests::random_requests::{Dice, RandomRequests};

/// A channel without a listener.
pub(super) const UNHEARD: &str = "arbiter.wake:unheard";
/// A channel that is not notified.
pub(super) const POLLED: &str = "arbiter.poll:1";

pub(super) struct Walk {
    pub(super) rig: Rig,
    pub(super) requests: RandomRequests,
    pub(super) memory: HashMap<&'static str, Resource<Table>>,
    pub(super) steps: u64,
}

pub(super) const NAMES: [&str; 3] = ["a", "b", "\u{1}\0c"];

/// How many steps pass between two comparisons of all rows.
const CHECKED: u64 = 16;

impl Walk {
    pub(super) async fn new(windows: &Windows, clients: u64) -> Self {
        let rig = Rig::new(windows).await;
        let channels: [Arc<str>; 5] = [
            rig.client.channel.clone(),
            rig.other.channel.clone(),
            rig.client.channel.clone(),
            UNHEARD.into(),
            POLLED.into(),
        ];
        let channel = move |client: u64| channels[client as usize % channels.len()].clone();
        Self {
            rig,
            requests: RandomRequests::new(Dice::from_environment(), clients, channel),
            memory: NAMES.map(|name| (name, Resource::default())).into(),
            steps: 0,
        }
    }

    /// Lets time pass, and perhaps forgets names.
    pub(super) async fn pass(&mut self) {
        let pause = self.requests.pause();
        self.rig.advance(pause).await;
        if self
            .requests
            .dice
            .roll(if 60_000_000 < pause { 2 } else { 40 })
            == 0
        {
            self.rig.sweep().await;
            let at = self.rig.now();
            for resource in self.memory.values_mut() {
                if resource.clone().is_forgotten(at) {
                    *resource = Resource::default();
                }
            }
        }
        if self.steps.is_multiple_of(CHECKED) {
            self.compare().await;
        }
    }

    /// Compares all rows.
    pub(super) async fn compare(&self) {
        let steps = self.steps;
        for (name, memory) in &self.memory {
            let context = format!("{name:?} before step {steps}");
            self.rig.compare(name, memory, &context).await;
        }
    }

    /// Applies a request in memory.
    pub(super) fn expected(&mut self, name: &str, request: &Request) -> Answer<Reply> {
        let at = self.rig.now();
        let memory = self.memory.get_mut(name).expect("one of the names");
        let answer = request.apply(memory, at, |channel| channel != UNHEARD);
        self.requests.learn(request, &answer);
        self.steps += 1;
        answer
    }

    /// Sends a request to the store, and compares its answer.
    pub(super) async fn step(&mut self, name: &'static str) {
        self.pass().await;
        let request = self.requests.request();
        let is_listening = self.requests.dice.roll(20) != 0;
        let polls = match &request {
            Request::Acquire { contender, ticket } if !is_listening => Request::Acquire {
                contender: polling(contender).into(),
                ticket: *ticket,
            },
            other => other.clone(),
        };
        let expected = self.expected(name, &polls);
        let (replies, grants) = self.rig.send(&[(name, request)], is_listening).await;
        self.check(&polls, &replies[0], &expected);
        self.check_grants(&grants, &notified(&expected.granted));
    }

    pub(super) fn check(
        &self,
        request: &Request,
        reply: &Envelope<Reply>,
        expected: &Answer<Reply>,
    ) {
        let context = format!("step {}: {request:?}", self.steps);
        assert_eq!(reply.reply, expected.reply, "{context}");
        assert_eq!(reply.again, expected.again, "{context}");
        assert_eq!(reply.at, self.rig.now(), "{context}");
    }

    pub(super) fn check_grants(&self, grants: &Notified, expected: &Notified) {
        let text = |grants| format!("{grants:?}");
        assert_eq!(text(grants), text(expected), "step {}", self.steps);
    }
}

fn polling(contender: &Contender) -> Contender {
    Contender {
        channel: contender.channel.replacen("wake", "poll", 1).into(),
        ..contender.clone()
    }
}

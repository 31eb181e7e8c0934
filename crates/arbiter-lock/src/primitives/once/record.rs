//! The record of a job's last run in the store.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Moment, Name, Renewed, Request, Run, Status, Written};

use super::LastRun;
use super::ending::Ending;
use super::rules::Rules;
use crate::engine::Engine;
use crate::errors::error::Error;
use crate::events::event::{Event, Level};
use crate::holds::hold::{Hold, HoldState};
use crate::primitives::effort::Effort;
use crate::store::{Envelope, Failure};

/// The record of a job's last run in the store.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) inner: Arc<Engine>,
    pub(super) name: Name,
}

impl Record {
    /// Reads the last run, with the store's time.
    pub(super) async fn last(&self, effort: &Effort) -> Result<Envelope<Option<Run>>, Error> {
        let handle = self.inner.handle();
        let step = |limit| handle.send(&self.name, &Request::LastRun, limit);
        effort.repeat(&self.name, step).await
    }

    /// Returns the public view of the run.
    ///
    /// For a run that has not ended, it reads whether the run holds the resource, and then again
    /// whether it has ended meanwhile.
    pub(super) async fn view(
        &self,
        run: &Run,
        at: Moment,
        effort: &Effort,
    ) -> Result<LastRun, Error> {
        if run.ended.is_some() {
            return Ok(LastRun::new(run, at, false));
        }
        let handle = self.inner.handle();
        let step = |limit| handle.send(&self.name, &Request::Inspect, limit);
        let status: Envelope<Status> = effort.repeat(&self.name, step).await?;
        let holder = status.reply.holder;
        if holder.is_some_and(|holder| holder.fence == Some(run.fence)) {
            return Ok(LastRun::new(run, at, true));
        }
        let again = self.last(effort).await?.reply;
        let again = again.filter(|again| again.fence == run.fence);
        Ok(LastRun::new(again.as_ref().unwrap_or(run), at, false))
    }

    /// Sends a write under the hold. If replicas have to acknowledge the hold, a renewal of it
    /// follows. With it, they acknowledge everything that the server has written before.
    async fn write(
        &self,
        hold: &HoldState,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Written>, Failure> {
        let (handle, needed) = (self.inner.handle(), hold.options.acknowledgement);
        let written = handle.send(&self.name, request, limit).await?;
        if needed.is_needed() {
            let renew = Request::Renew(hold.renewal());
            let renewed = handle.send_acknowledged(&self.name, &renew, needed, limit);
            let _: Envelope<Renewed> = renewed.await?;
        }
        Ok(written)
    }

    /// Records that a run that serves that turn begins under that hold.
    pub(super) async fn begin(
        &self,
        hold: &Hold,
        turn: Moment,
        rules: &Rules,
        effort: &Effort,
    ) -> Result<(), Error> {
        let begin = Request::BeginRun {
            owner: hold.state.contender.id.clone(),
            fence: hold.fence(),
            turn,
            memory_ms: rules.memory_ms(),
        };
        let step = |limit| self.write(&hold.state, &begin, limit);
        effort.write(hold, step).await
    }

    /// Forgets the last run, if there is one. A request that is sent again forgets no later run.
    pub(super) async fn forget(&self, effort: &Effort) -> Result<(), Error> {
        let Some(Run { fence, .. }) = self.last(effort).await?.reply else {
            return Ok(());
        };
        let (handle, forget) = (self.inner.handle(), Request::ForgetRun { fence });
        let step = |limit| handle.send(&self.name, &forget, limit);
        let _: Envelope<Written> = effort.repeat(&self.name, step).await?;
        Ok(())
    }

    /// Records the end of the run of that hold. If that fails, an event is logged.
    pub(super) async fn finish(&self, hold: &Hold, ending: Ending<'_>, effort: &Effort) {
        let fence = hold.fence();
        let finish = Request::FinishRun {
            fence,
            outcome: ending.to_line(),
        };
        let step = |limit| self.write(&hold.state, &finish, limit);
        let finished = effort.repeat(&self.name, step).await;
        let cause: Box<dyn StdError + Send + Sync> = match finished {
            Ok(Envelope {
                reply: Written::Written,
                ..
            }) => return,
            Ok(_) => "the store has forgotten it, or remembers a later one".into(),
            Err(error) => error.into(),
        };
        let name = &self.name;
        self.inner
            .events
            .emit(Level::Warn, || Event::EndNotRecorded {
                name: name.into(),
                fence,
                cause: cause.into(),
            });
    }
}

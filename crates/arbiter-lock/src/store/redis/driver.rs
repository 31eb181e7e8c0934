//! Drives a shared connection: it reads and writes for all calls.
//!
//! A caller that is alone drives the connection in its own polls, and so pays for no change of
//! tasks. As soon as there is another call, or a waiter for a message, a task drives for all and
//! gathers their commands into few writes. So a caller that is not polled delays no other: the next
//! call puts the task in charge.
//!
//! A caller that drives does not sleep at once, since a wake-up may take longer than the answer.
//! For a moment it yields to other tasks and polls again. If answers take longer than that, it soon
//! stops doing so.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use tokio::task::AbortHandle;

use super::adaptive_spin::AdaptiveSpin;
use crate::system::process::UnlessForked;

/// The driver of one connection; dropped, it closes it.
pub(super) struct Driver {
    engine: Arc<DriverState>,
    task: AbortHandle,
}

type Driven = Pin<Box<dyn Future<Output = ()> + Send>>;

struct DriverState {
    /// Polled by the task or the call in charge, always with the engine itself as the waker.
    connection: Mutex<Option<Driven>>,
    charge: Mutex<Charge>,
    is_closed: AtomicBool,
}

/// The task or call that is woken when the connection can continue.
#[derive(Default)]
struct Charge {
    task: Option<Waker>,
    /// Calls that have begun and not ended.
    calls: usize,
    /// The number of the call in charge, if one is.
    call: Option<u64>,
    caller: Option<Waker>,
    next_number: u64,
    /// The caller in charge is about to check `is_due`.
    is_spinning: bool,
    /// The connection was woken since it was last polled.
    is_due: bool,
    spin: AdaptiveSpin,
}

impl Driver {
    /// Drives from now on, on the runtime in which this is called.
    pub(super) fn start(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        let engine = Arc::new(DriverState {
            connection: Mutex::new(Some(Box::pin(connection))),
            charge: Mutex::default(),
            is_closed: AtomicBool::new(false),
        });
        let task = Task {
            engine: engine.clone(),
            has_stepped_aside: false,
        };
        let task = UnlessForked::new(task);
        Self {
            engine,
            task: tokio::spawn(task).abort_handle(),
        }
    }

    /// Makes a call and waits for its answer. It may drive if it is alone: if no waiter needs a
    /// message.
    pub(super) async fn call<A: Future>(
        &self,
        is_alone: bool,
        send: impl FnOnce() -> A,
    ) -> A::Output {
        let mut call = DriverCall::begin(&self.engine, is_alone);
        let mut answer = pin!(send());
        std::future::poll_fn(|cx| call.poll(answer.as_mut(), cx)).await
    }
}

impl Driver {
    /// Closes the connection: unanswered calls fail.
    pub(super) fn close(&self) {
        self.engine.close();
        // Only this notifies the call that drives the connection.
        self.engine.wake_by_ref();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
        self.engine.close();
    }
}

impl DriverState {
    fn connection(&self) -> MutexGuard<'_, Option<Driven>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self) -> MutexGuard<'_, Charge> {
        self.charge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the connection, which does all that it can at once.
    fn drive(self: &Arc<Self>) -> Poll<()> {
        self.charge().is_due = false;
        let waker = Waker::from(self.clone());
        let mut connection = self.connection();
        let driven = connection.as_mut().map_or(Poll::Ready(()), |connection| {
            connection.as_mut().poll(&mut Context::from_waker(&waker))
        });
        if driven.is_ready() {
            *connection = None;
        }
        drop(connection);
        if self.is_closed.load(Ordering::SeqCst) {
            self.close();
        }
        driven
    }

    /// Closes the connection. While it is being polled, perhaps by this very thread, `drive` closes
    /// it afterward.
    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        if let Ok(mut connection) = self.connection.try_lock() {
            let closed = connection.take();
            drop(connection);
            drop(closed);
        }
    }

    /// Puts the task in charge, if a call is.
    fn dismiss(&self, mut charge: MutexGuard<'_, Charge>) {
        if charge.call.take().is_none() {
            return;
        }
        charge.is_spinning = false;
        let caller = charge.caller.take();
        let task = charge.task.clone().filter(|_| charge.is_due);
        drop(charge);
        [caller, task].into_iter().flatten().for_each(Waker::wake);
    }
}

impl Wake for DriverState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut charge = self.charge();
        charge.is_due = true;
        let woken = match charge.call {
            Some(_) if charge.is_spinning => None,
            Some(_) => charge.caller.clone(),
            None => charge.task.clone(),
        };
        drop(charge);
        if let Some(waker) = woken {
            waker.wake();
        }
    }
}

/// A call, from before it is sent until it is answered or given up.
struct DriverCall<'a> {
    engine: &'a Arc<DriverState>,
    /// Its number, if it may drive.
    number: Option<u64>,
    /// Until when it polls again instead of sleeping.
    spin_until: Option<Instant>,
}

impl<'a> DriverCall<'a> {
    fn begin(engine: &'a Arc<DriverState>, is_alone: bool) -> Self {
        let mut charge = engine.charge();
        charge.calls += 1;
        if charge.calls == 1 && is_alone {
            charge.next_number += 1;
            charge.call = Some(charge.next_number);
            return Self {
                engine,
                number: charge.call,
                spin_until: charge.spin.begin(),
            };
        }
        engine.dismiss(charge);
        Self {
            engine,
            number: None,
            spin_until: None,
        }
    }

    /// Registers the waker of the call that is in charge; returns whether this one is.
    fn takes_charge(&self, waker: &Waker) -> bool {
        let Some(number) = self.number else {
            return false;
        };
        let mut charge = self.engine.charge();
        if charge.call != Some(number) {
            return false;
        }
        charge.is_spinning = true;
        match &mut charge.caller {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        true
    }

    fn poll<T>(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = T>>,
        cx: &mut Context<'_>,
    ) -> Poll<T> {
        if !self.takes_charge(cx.waker()) {
            return answer.poll(cx);
        }
        // While this call is in charge, only it drives, and so brings the answer. When it is
        // dismissed it is woken, and then polls with its own waker.
        let mut noop = Context::from_waker(Waker::noop());
        if let Poll::Ready(answered) = answer.as_mut().poll(&mut noop) {
            return Poll::Ready(answered);
        }
        let is_over = self.engine.drive().is_ready();
        if let Poll::Ready(answered) = answer.poll(&mut noop) {
            if self.spin_until.is_some() {
                self.engine.charge().spin.has_paid();
            }
            return Poll::Ready(answered);
        }
        let mut charge = self.engine.charge();
        if charge.call == self.number {
            charge.is_spinning = false;
            if charge.is_due || is_over {
                drop(charge);
                cx.waker().wake_by_ref();
            } else if let Some(until) = self.spin_until {
                if Instant::now() < until {
                    drop(charge);
                    // Polled once, it wakes when all others have had their turn.
                    let _ = pin!(tokio::task::yield_now()).poll(cx);
                } else {
                    charge.spin.has_spun_in_vain();
                    self.spin_until = None;
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for DriverCall<'_> {
    fn drop(&mut self) {
        let mut charge = self.engine.charge();
        charge.calls -= 1;
        if self.number.is_some() && charge.call == self.number {
            charge.caller = None;
            self.engine.dismiss(charge);
        }
    }
}

/// Drives for all, unless a caller does.
struct Task {
    engine: Arc<DriverState>,
    has_stepped_aside: bool,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut charge = self.engine.charge();
        match &mut charge.task {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if charge.call.is_some() {
            return Poll::Pending;
        }
        let calls = charge.calls;
        drop(charge);
        // All that other tasks are about to send is gathered into one write.
        if !self.has_stepped_aside && 1 < calls {
            self.has_stepped_aside = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_stepped_aside = false;
        self.engine.drive()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.engine.close();
    }
}

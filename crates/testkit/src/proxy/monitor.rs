//! A value that threads can wait on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let answer = change(&mut self.lock());
        self.changed.notify_all();
        answer
    }

    pub(super) fn wait(&self, until: impl Fn(&T) -> bool) {
        let waited = self.changed.wait_while(self.lock(), |value| !until(value));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits within a limit, and returns whether the condition holds.
    pub(super) fn wait_at_most(&self, limit: Duration, until: impl Fn(&T) -> bool) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, |value| !until(value));
        let (value, _) = waited.unwrap_or_else(PoisonError::into_inner);
        until(&value)
    }

    /// Locks the value. A test that panicked elsewhere leaves it unchanged.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

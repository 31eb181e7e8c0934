//! Limits how many groups of servers a process runs at a time.

use std::sync::{Condvar, Mutex, PoisonError};

/// The groups of a kind. Busy members of too many would replace healthy masters.
#[derive(Debug)]
pub(crate) struct Turns {
    most: usize,
    running: Mutex<usize>,
    ended: Condvar,
}

/// A group that counts as running until drop.
#[derive(Debug)]
pub(crate) struct Turn(&'static Turns);

impl Turns {
    /// Lets at most that many groups run at a time.
    pub(crate) const fn at_most(most: usize) -> Self {
        Self {
            most,
            running: Mutex::new(0),
            ended: Condvar::new(),
        }
    }

    /// Waits until another group may run.
    pub(crate) fn wait(&'static self) -> Turn {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self
            .ended
            .wait_while(running, |running| self.most <= *running);
        *running.unwrap_or_else(PoisonError::into_inner) += 1;
        Turn(self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let running = self.0.running.lock();
        *running.unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}

//! A value that a forked process does not drop.

use std::ops::Deref;

use super::ForkGeneration;

/// A value that only the process that made it drops: a forked process leaks its copy.
///
/// Dropping the copy of a socket removes it from the epoll instance that is shared with the parent.
/// Dropping a handle of a runtime locks a mutex that may stay locked forever.
pub(crate) struct LeakInChild<T> {
    process: ForkGeneration,
    /// Present until it is dropped.
    value: Option<T>,
}

impl<T> LeakInChild<T> {
    /// Makes a value of this process.
    pub(crate) fn new(value: T) -> Self {
        Self::of(&ForkGeneration::current(), value)
    }

    /// Makes a value of that process.
    pub(crate) fn of(process: &ForkGeneration, value: T) -> Self {
        Self {
            process: process.clone(),
            value: Some(value),
        }
    }

    /// Returns the process that made it.
    pub(crate) fn process(&self) -> &ForkGeneration {
        &self.process
    }

    /// Returns the value, or `None` in a forked process.
    pub(crate) fn unless_forked(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.process.is_current())
    }

    /// Returns the value, or `None` in a forked process.
    pub(crate) fn unless_forked_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut().filter(|_| self.process.is_current())
    }

    /// Drops the value now, in the process that made it.
    pub(super) fn end(&mut self) {
        let value = self.value.take();
        if value.is_some() && !self.process.is_current() {
            std::mem::forget(value);
        }
    }
}

impl<T: Default> Default for LeakInChild<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for LeakInChild<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is present until the drop")
    }
}

impl<T> Drop for LeakInChild<T> {
    fn drop(&mut self) {
        self.end();
    }
}

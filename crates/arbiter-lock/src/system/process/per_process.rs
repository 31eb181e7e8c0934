//! A static that each process has on its own.

use once_cell::race::OnceBox;

use super::ForkGeneration;

/// A static value that each process has on its own.
///
/// A forked process does not use its copy of the parent's value, which may stay locked forever.
pub(crate) struct PerProcess<T> {
    own: OnceBox<(ForkGeneration, T)>,
    of_child: OnceBox<Self>,
}

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self {
            own: OnceBox::new(),
            of_child: OnceBox::new(),
        }
    }

    /// Returns the value of this process.
    pub(crate) fn get(&self) -> &T {
        let (process, value) = self
            .own
            .get_or_init(|| Box::new((ForkGeneration::current(), T::default())));
        if process.is_current() {
            return value;
        }
        self.of_child.get_or_init(|| Box::new(Self::new())).get()
    }

    #[cfg(feature = "embedded")]
    /// Returns the copies of the values of the processes from which this one descends.
    pub(crate) fn inherited(&self) -> Vec<&T> {
        match self.own.get() {
            Some((process, value)) if !process.is_current() => {
                let more = self.of_child.get().map(|of_child| of_child.inherited());
                std::iter::once(value)
                    .chain(more.into_iter().flatten())
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

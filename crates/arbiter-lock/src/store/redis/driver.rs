//! Drives a shared connection so that the commands of many tasks go out in one write.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Steps aside once at each wake before it polls the driver: whatever other tasks are about to
/// send is then gathered into one write.
pub(super) struct Gathering<F> {
    driver: Pin<Box<F>>,
    has_stepped_aside: bool,
}

impl<F> Gathering<F> {
    pub(super) fn new(driver: F) -> Self {
        Self {
            driver: Box::pin(driver),
            has_stepped_aside: false,
        }
    }
}

impl<F: Future<Output = ()>> Future for Gathering<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_stepped_aside {
            self.has_stepped_aside = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_stepped_aside = false;
        self.driver.as_mut().poll(cx)
    }
}

//! A static that is computed when it is first used.

use std::ops::Deref;

use once_cell::race::OnceBox;

/// A static value that is computed when it is first used, perhaps by several threads at once.
///
/// In contrast to [`LazyLock`](std::sync::LazyLock) it never waits, so a process that is forked
/// while another thread computes the value can use it.
pub(crate) struct Lazy<T> {
    value: OnceBox<T>,
    compute: fn() -> T,
}

impl<T> Lazy<T> {
    pub(crate) const fn new(compute: fn() -> T) -> Self {
        Self {
            value: OnceBox::new(),
            compute,
        }
    }
}

impl<T> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.get_or_init(|| Box::new((self.compute)()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn value_is_used_while_a_thread_computes_it() {
        const LIMIT: Duration = Duration::from_secs(10);
        type Stall = (mpsc::Sender<()>, mpsc::Receiver<()>);
        static STALL: Mutex<Option<Stall>> = Mutex::new(None);
        static VALUE: Lazy<&str> = Lazy::new(|| {
            let stall = STALL.lock().unwrap().take();
            if let Some((computes, goes_on)) = stall {
                computes.send(()).unwrap();
                goes_on.recv_timeout(LIMIT).unwrap();
            }
            "computed"
        });
        let (computes, is_computing) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel();
        *STALL.lock().unwrap() = Some((computes, goes_on));
        let stalled = thread::spawn(|| *VALUE);
        is_computing.recv_timeout(LIMIT).unwrap();
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || done.send(*VALUE).unwrap());
        assert_eq!(is_done.recv_timeout(LIMIT / 2), Ok("computed"));
        go_on.send(()).unwrap();
        assert_eq!(stalled.join().unwrap(), "computed");
    }
}

//! Work that blocks, on a separate thread. A runtime that ends waits for blocking work on its own
//! threads, such as a query to a name server that does not answer.

use std::io;

use tokio::sync::oneshot;

/// Does the work, which continues if its caller is dropped.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // A dropped caller needs no answer.
        let _ = done.send(work());
    };
    std::thread::Builder::new()
        .name("arbiter-blocking".into())
        .spawn(work)?;
    result.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn ending_runtime_does_not_wait_for_blocking_work() {
        let (begin, begun) = mpsc::channel();
        let (answer, answered) = mpsc::channel::<()>();
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.build().unwrap();
            let work = on_blocking_thread(move || {
                begin.send(()).unwrap();
                answered.recv()
            });
            runtime.spawn(work);
            runtime.block_on(async {
                while begun.try_recv().is_err() {
                    tokio::task::yield_now().await;
                }
            });
            drop(runtime);
            end.send(()).unwrap();
        });
        assert_eq!(ended.recv_timeout(Duration::from_secs(30)), Ok(()));
        drop(answer);
    }
}

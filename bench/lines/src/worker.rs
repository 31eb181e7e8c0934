//! A worker holds one lock after another, each until it receives the release.

use tokio::sync::mpsc::UnboundedReceiver;

use crate::{Failure, Lock, nanos};

pub(crate) enum Order {
    Acquire(String),
    Release,
}

pub(crate) async fn work<L: Lock>(
    lock: L,
    worker: String,
    mut orders: UnboundedReceiver<Order>,
) -> Result<(), Failure> {
    let mut held = None;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Acquire(name) => {
                held = Some(lock.acquire(&name).await?);
                println!("acquired {worker} {}", nanos());
            }
            Order::Release => {
                let held = held
                    .take()
                    .ok_or("a worker that holds nothing is to release")?;
                let begun = nanos();
                lock.release(held).await?;
                println!("released {worker} {begun}");
            }
        }
    }
    Ok(())
}

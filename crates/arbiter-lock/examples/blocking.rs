//! A program without async code: threads that update one file under a lock.
//!
//! Run it with `cargo run -p arbiter-lock --example blocking`. It uses the store that
//! `ARBITER_STORE` names, or one in memory.

use std::time::Duration;
use std::{fs, thread};

use arbiter_lock::{Client, block_on};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = block_on(Client::connect(&store))?;
    let file = std::env::temp_dir().join(format!("arbiter-example-{}", std::process::id()));
    fs::write(&file, "0")?;

    let increment = || {
        let lock = client
            .lock("example:counter")
            .wait_timeout(Duration::from_secs(30));
        let guard = block_on(lock.acquire())?;
        let count: u32 = fs::read_to_string(&file)?.parse()?;
        // Renewals do not need this thread. Before the write, check that it still holds.
        if guard.is_held() {
            fs::write(&file, (count + 1).to_string())?;
        }
        block_on(guard.release())?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..5).for_each(|_| increment().expect("it increments"))))
            .collect();
        for thread in threads {
            thread.join().expect("no thread panics");
        }
    });
    println!(
        "20 increments by 4 threads: the file has {}",
        fs::read_to_string(&file)?
    );
    fs::remove_file(&file)?;
    block_on(client.shutdown(Duration::from_secs(1)));
    Ok(())
}

//! Metrics: what an exporter gets from a client.
//!
//! Run it with `cargo run -p arbiter-lock --features metrics --example metrics`. It uses the store
//! that `ARBITER_STORE` names, or one in memory. A service installs the recorder of an exporter,
//! such as `metrics-exporter-prometheus`, in place of the one here, which only collects.

use std::time::Duration;

use arbiter_lock::Client;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    recorder.install()?; // before the first client is made

    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = Client::builder()
        .store(&store)
        // A label for each group of names: never one for each name.
        .metrics_label(|name| {
            name.split_once(':')
                .map(|(group, _)| group.to_owned().into())
        })
        .connect()
        .await?;
    let lock = client.lock("example:report");
    let guard = lock.acquire().await?;
    let contended = lock
        .clone()
        .wait_timeout(Duration::from_millis(20))
        .acquire()
        .await;
    assert!(contended.is_err());
    guard.release().await?;

    let mut lines = Vec::new();
    for (key, _, _, value) in metrics.snapshot().into_vec() {
        let labels = key.key().labels();
        let labels = labels.map(|label| format!("{}={}", label.key(), label.value()));
        let labels: Vec<_> = labels.collect();
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(level) => level.to_string(),
            DebugValue::Histogram(values) => format!("{} values", values.len()),
        };
        lines.push(format!("{}{labels:?} {value}", key.key().name()));
    }
    lines.sort();
    println!("{}", lines.join("\n"));
    client.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

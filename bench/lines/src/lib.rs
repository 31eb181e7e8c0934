//! The protocol of a participant of the bench, as described in `peers/README.md`. The same code
//! measures Arbiter and its peers.

mod clock;
mod lock;
mod serve;
mod turns;
mod version;
mod worker;

pub use clock::nanos;
pub use lock::Lock;
pub use serve::{lines, serve, time};
pub use turns::{crowd, cycles};
pub use version::version_in;

/// The failure that ends a program.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

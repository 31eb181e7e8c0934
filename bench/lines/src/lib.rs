//! What a participant of the bench hears and says, as `peers/README.md` tells it. The same code
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

/// What ends a program.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

//! A proxy before a server, which reads what passes and breaks it as told.

mod frame;
mod gate;
mod line;
mod rule;
mod traffic;
mod wire;

pub use rule::{Fault, Rule};
pub use traffic::{Pushes, Traffic};
pub use wire::Proxy;

//! Sessions: nested locking, and the detection of deadlocks between sessions.

pub(crate) mod session;
pub(crate) mod session_id;
pub(crate) mod state;
pub(crate) mod wait_graph;

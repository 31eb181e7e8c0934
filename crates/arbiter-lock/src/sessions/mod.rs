//! Sessions: several acquisitions as one logical owner, and circles of such owners.

pub(crate) mod session;
pub(crate) mod session_id;
pub(crate) mod state;
pub(crate) mod wait_graph;

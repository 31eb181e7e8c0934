//! The primitives, and the options that they share.

pub(crate) mod effort;
pub(crate) mod election;
pub(crate) mod hand_off;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod lock_all;
pub(crate) mod once;
pub(crate) mod options;
pub(crate) mod primitive;
pub(crate) mod rw_lock;
pub(crate) mod semaphore;

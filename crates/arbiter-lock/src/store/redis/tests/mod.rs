//! The scripts against the core, and each on its own.

pub(super) mod ask;
mod comparison;
mod driver;
mod failures;
mod hostile;
mod rig;
mod scenes;
mod scripts;
mod seen;
mod slow;
mod steps;
mod walk;

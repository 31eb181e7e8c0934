//! The scripts against the core, and each on its own.

mod comparison;
mod rig;
mod scripts;

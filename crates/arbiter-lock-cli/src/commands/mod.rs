//! One file for each command.

pub(crate) mod r#break;
pub(crate) mod run;
pub(crate) mod status;

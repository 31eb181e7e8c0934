//! One file for each command.

pub(crate) mod r#break;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod exporter;
pub(crate) mod hold;
pub(crate) mod init;
mod kind;
pub(crate) mod list;
pub(crate) mod once;
pub(crate) mod resize;
pub(crate) mod run;
pub(crate) mod status;
mod supervisor;
mod token_file;
mod waiting;

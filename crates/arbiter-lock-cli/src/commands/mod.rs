//! One file for each command.

pub(crate) mod r#break;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod exporter;
pub(crate) mod hold;
pub(crate) mod init;
mod kind;
pub(crate) mod list;
mod mode;
pub(crate) mod once;
pub(crate) mod resize;
mod row;
pub(crate) mod run;
pub(crate) mod status;
mod supervisor;
mod token_file;
pub(crate) mod top;
mod waiting;

//! The command, tested by its output and exit status on real stores.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod commands;
mod doctor;
mod ecosystem;
mod embedded;
mod exporter;
mod helpers;
mod hold;
mod hostile_text;
mod init;
mod list;
mod messages;
mod monitoring;
mod nested;
mod postgres;
mod prefixes;
mod primitives;
mod pty;
mod recipes;
mod run;
mod sentinel;
mod signals;
mod statuses;
mod stderr;
mod terminal;
mod tls;
mod top;
mod usage;
mod waiting;
mod words;

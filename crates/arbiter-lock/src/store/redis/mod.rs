//! The Redis store: scripts that do the core's steps on the server.

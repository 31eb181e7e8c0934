//! Code that tests of several stores share.

pub(super) mod random_requests;

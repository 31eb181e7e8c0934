//! Servers, faults and claims for the tests of Arbiter.

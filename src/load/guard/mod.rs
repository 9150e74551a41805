//! What a run may do: to whom it may send, and how much this machine carries.
//!
//! Lives as long as a scenario is resolved. A load generator that is pointed at somebody else's
//! machine is an attack: only loopback, this machine's own addresses and networks that it made are
//! targets, unless the user takes the responsibility.

pub(super) mod hosts;
pub(super) mod machine;
pub(super) mod roles;
pub(super) mod sources;

//! What every shard of the process is given alike.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use ringmesh_runtime::call::StateKey;
use ringmesh_runtime::limits::Allowed;
use ringmesh_runtime::message::{Address, Inbox};
use ringmesh_runtime::probe::{Transport, Vital};
use ringmesh_runtime::{ShardConfig, ShardId};

use super::error::StartError;
use crate::config::Plan;
use crate::server::Server;
use crate::tools::Pools;

/// See the module.
pub(crate) struct Outfit<'a> {
    server: &'a Server,
    plan: &'a Plan,
    pools: Arc<Pools>,
    addresses: Arc<[Address]>,
    state_key: Arc<StateKey>,
    allowed: Arc<Allowed>,
}

impl<'a> Outfit<'a> {
    /// # Errors
    /// Where the system has no random bytes.
    pub(crate) fn new(
        server: &'a Server,
        plan: &'a Plan,
        pools: &Arc<Pools>,
        addresses: Arc<[Address]>,
    ) -> Result<Self, StartError> {
        let state_key = match &plan.state_secret {
            Some(secret) => StateKey::from_secret(secret.as_bytes()),
            None => StateKey::random().map_err(no_random_bytes)?,
        };
        Ok(Self {
            server,
            plan,
            pools: pools.clone(),
            addresses,
            state_key: Arc::new(state_key),
            allowed: Arc::new(plan.allowed.clone()),
        })
    }

    /// What one shard is made of.
    ///
    /// # Errors
    /// Where the system has no random bytes.
    pub(crate) fn shard(
        &self,
        id: u16,
        inbox: Inbox,
        vital: Arc<Vital>,
        listeners: Vec<Transport>,
    ) -> Result<ShardConfig, StartError> {
        Ok(ShardConfig {
            id: ShardId(id),
            limits: self.plan.limits.clone(),
            allowed: self.allowed.clone(),
            listeners,
            path: self.plan.path.clone(),
            catalog: self.server.published(),
            inbox,
            addresses: self.addresses.clone(),
            pool: self.pools.clone(),
            state_key: self.state_key.clone(),
            vital,
            // Any number that differs: it spreads timers.
            seed: RandomState::new().hash_one(id),
            session_seed: session_seed()?,
        })
    }
}

/// A secret of the system's own generator.
fn session_seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(no_random_bytes)?;
    Ok(seed)
}

fn no_random_bytes(error: getrandom::Error) -> StartError {
    StartError::unavailable(format!("the system has no random bytes: {error}"))
}

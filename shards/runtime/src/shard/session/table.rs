//! The sessions of a shard, by place, by id and by the address of their clients.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use ringmesh_proto::mcp::{PARTITIONS, SessionId};

use super::Session;
use crate::io::Peer;
use crate::shard::ShardId;
use crate::shard::slab::Slab;

/// Addresses that are taken for one client's: an IPv4 address, or an IPv6 network of /64, of which
/// every host may pick addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::shard) enum Block {
    V4(u32),
    V6(u64),
}

impl Block {
    /// The block that a peer's sessions count for, if any does.
    pub(super) fn of(peer: Peer, with_loopback: bool) -> Option<Self> {
        let Peer::Ip(address) = peer else { return None };
        if address.ip().is_loopback() && !with_loopback {
            return None;
        }
        Some(match address.ip() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6(u64::try_from(ip.to_bits() >> 64).expect("64 bits")),
        })
    }
}

/// The sessions of a shard.
pub(in crate::shard) struct Sessions {
    slab: Slab<Session>,
    /// Places of the sessions over HTTP. The keys are the server's own random numbers, so nobody
    /// can make the tree deep.
    by_secret: BTreeMap<u128, u32>,
    by_block: BTreeMap<Block, u32>,
    random: ChaCha12Rng,
}

impl Sessions {
    pub(in crate::shard) fn new(seed: [u8; 32]) -> Self {
        Self {
            slab: Slab::default(),
            by_secret: BTreeMap::new(),
            by_block: BTreeMap::new(),
            random: ChaCha12Rng::from_seed(seed),
        }
    }

    pub(in crate::shard) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn over_http(&self) -> u32 {
        u32::try_from(self.by_secret.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn of_block(&self, block: Block) -> u32 {
        self.by_block.get(&block).copied().unwrap_or(0)
    }

    /// An id that nobody can guess, of a partition that belongs to the shard: those whose number
    /// modulo the shards is its own.
    pub(super) fn mint(&mut self, shard: ShardId, shards: u16) -> SessionId {
        let own = (PARTITIONS - shard.0).div_ceil(shards);
        let pick = u16::try_from(self.random.next_u32() % u32::from(own)).expect("below 2^16");
        let (high, low) = (self.random.next_u64(), self.random.next_u64());
        let secret = u128::from(high) << 64 | u128::from(low);
        SessionId { partition: pick * shards + shard.0, secret }
    }

    pub(super) fn insert(&mut self, session: Session) -> u32 {
        let (id, block) = (session.id, session.block);
        let (place, _) = self.slab.insert(session);
        if let Some(id) = id {
            self.by_secret.insert(id.secret, place);
        }
        if let Some(block) = block {
            *self.by_block.entry(block).or_default() += 1;
        }
        place
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<Session> {
        let session = self.slab.remove(place)?;
        if let Some(id) = session.id {
            self.by_secret.remove(&id.secret);
        }
        if let Some(block) = session.block
            && let Some(count) = self.by_block.get_mut(&block)
        {
            *count -= 1;
            if *count == 0 {
                self.by_block.remove(&block);
            }
        }
        Some(session)
    }

    /// The place of the session with this id.
    pub(super) fn find(&self, id: SessionId) -> Option<u32> {
        let place = *self.by_secret.get(&id.secret)?;
        let (_, session) = self.slab.at(place)?;
        (session.id == Some(id)).then_some(place)
    }

    pub(in crate::shard) fn at(&self, place: u32) -> Option<&Session> {
        self.slab.at(place).map(|(_, session)| session)
    }

    pub(in crate::shard) fn at_mut(&mut self, place: u32) -> Option<&mut Session> {
        self.slab.at_mut(place)
    }

    /// Places and generations in use.
    pub(in crate::shard) fn iter(&self) -> impl Iterator<Item = (u32, u32, &Session)> {
        self.slab.iter()
    }

    /// The generation of a place in use.
    pub(in crate::shard) fn generation(&self, place: u32) -> Option<u32> {
        self.slab.at(place).map(|(generation, _)| generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_the_shard_and_differ() {
        for shards in [1, 2, 3, 17, 1024] {
            for shard in [0, shards / 2, shards - 1] {
                let mut sessions = Sessions::new([7; 32]);
                let ids: Vec<_> = (0..64).map(|_| sessions.mint(ShardId(shard), shards)).collect();
                for id in &ids {
                    assert!(id.partition < PARTITIONS);
                    assert_eq!(id.partition % shards, shard);
                }
                let secrets: std::collections::BTreeSet<_> =
                    ids.iter().map(|id| id.secret).collect();
                assert_eq!(secrets.len(), ids.len());
            }
        }
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let peer = |text: &str| Peer::Ip(text.parse().expect("an address"));
        let block = |text: &str| Block::of(peer(text), false);
        assert_eq!(block("[2001:db8::1]:1"), block("[2001:db8::ffff:2]:9"));
        assert_ne!(block("[2001:db8::1]:1"), block("[2001:db8:0:1::1]:1"));
        assert_ne!(block("192.0.2.1:1"), block("192.0.2.2:1"));
        assert_eq!(block("127.0.0.1:1"), None);
        assert!(Block::of(peer("127.0.0.1:1"), true).is_some());
        assert_eq!(Block::of(Peer::Local, true), None);
    }
}

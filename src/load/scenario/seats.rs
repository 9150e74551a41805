//! Who sits where: how many clients each workload has, in which order they connect, and to which
//! target each one goes.

use ringmesh_runtime::load::script::Seat;

/// Targets that a workload may go to, by index.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Clients of the workload.
    pub(super) clients: u32,
    /// At least one where it has clients.
    pub(super) targets: Vec<u8>,
}

/// Divides `connections`: exact numbers first, the rest by weight, to the largest remainders.
/// `None` where the exact numbers are more than there are, or nobody takes the rest.
pub(super) fn divide(connections: u32, wishes: &[Wish]) -> Option<Vec<u32>> {
    let exact: u64 = wishes.iter().map(Wish::exactly).sum();
    let rest = u64::from(connections).checked_sub(exact)?;
    let weight: u64 = wishes.iter().map(Wish::weight).sum();
    if rest > 0 && weight == 0 {
        return None;
    }
    let part = |wish: &Wish| rest * wish.weight() / weight.max(1);
    let mut clients: Vec<u64> =
        wishes.iter().map(|wish| wish.exact().map_or_else(|| part(wish), u64::from)).collect();
    let left = u64::from(connections) - clients.iter().sum::<u64>();
    let remainder = |at: &usize| rest * wishes[*at].weight() % weight.max(1);
    let mut by_remainder: Vec<usize> =
        (0..wishes.len()).filter(|at| wishes[*at].weight() > 0).collect();
    by_remainder.sort_by_key(|at| std::cmp::Reverse(remainder(at)));
    for at in by_remainder.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        clients[at] += 1;
    }
    let narrow = |clients: u64| u32::try_from(clients).expect("at most all connections");
    Some(clients.into_iter().map(narrow).collect())
}

/// How many clients a workload asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Exactly(u32),
    Weight(u32),
}

impl Wish {
    /// Clients that are named.
    pub(super) fn exactly(&self) -> u64 {
        self.exact().map_or(0, u64::from)
    }

    fn exact(&self) -> Option<u32> {
        match self {
            Self::Exactly(clients) => Some(*clients),
            Self::Weight(_) => None,
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Self::Exactly(_) => 0,
            Self::Weight(weight) => u64::from(*weight),
        }
    }
}

/// The order in which clients connect: any prefix is mixed as the whole is (smooth weighted round
/// robin). Within a workload targets rotate, shifted once in a while so that a role, which has
/// every `shards`-th seat, does not always meet the same one.
pub(super) fn arrange(shares: &[Share], targets: usize, shards: u16) -> Vec<Seat> {
    let total: i64 = shares.iter().map(|share| i64::from(share.clients)).sum();
    let mut credit = vec![0_i64; shares.len()];
    let mut placed = vec![0_usize; shares.len()];
    let mut sources = vec![0_u32; targets];
    let mut seats = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
    for _ in 0..total {
        for (credit, share) in credit.iter_mut().zip(shares) {
            *credit += i64::from(share.clients);
        }
        // The first of those with the most.
        let most = (0..shares.len()).rev().max_by_key(|at| credit[*at]).expect("somebody sits");
        credit[most] -= total;
        let (of, nth) = (&shares[most].targets, placed[most]);
        placed[most] += 1;
        let shift = nth / (of.len() * usize::from(shards).max(1)) + most;
        let target = of[(nth + shift) % of.len()];
        let source = &mut sources[usize::from(target)];
        let workload = u8::try_from(most).expect("at most 256 workloads");
        seats.push(Seat { workload, target, source: *source });
        *source += 1;
    }
    seats
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_are_divided_exactly_first_and_by_weight_after() {
        use Wish::{Exactly, Weight};
        for (connections, wishes, expected) in [
            (10, vec![Weight(1)], Some(vec![10])),
            (10, vec![Weight(1), Weight(1), Weight(1)], Some(vec![4, 3, 3])),
            (1_001, vec![Exactly(1), Weight(5)], Some(vec![1, 1_000])),
            (10, vec![Weight(70), Weight(20), Weight(10)], Some(vec![7, 2, 1])),
            (3, vec![Exactly(3)], Some(vec![3])),
            (3, vec![Exactly(4)], None),
            (5, vec![Exactly(4)], None),
            (5, vec![Exactly(5), Weight(1)], Some(vec![5, 0])),
        ] {
            assert_eq!(divide(connections, &wishes), expected, "{connections} {wishes:?}");
        }
    }

    fn share(clients: u32, targets: &[u8]) -> Share {
        Share { clients, targets: targets.to_vec() }
    }

    #[test]
    fn workloads_are_mixed_and_targets_rotate() {
        let seats = arrange(&[share(4, &[0, 1]), share(2, &[2])], 3, 1);
        let told: Vec<_> =
            seats.iter().map(|seat| (seat.workload, seat.target, seat.source)).collect();
        let expected = [(0, 0, 0), (1, 2, 0), (0, 1, 0), (0, 1, 1), (1, 2, 1), (0, 0, 1)];
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn any_prefix_is_mixed_as_the_whole(
            clients in proptest::collection::vec(0_u32..60, 1..5), shards in 1_u16..5,
        ) {
            let shares: Vec<_> = clients.iter().map(|of| share(*of, &[0, 1, 2])).collect();
            let total: u32 = clients.iter().sum();
            let seats = arrange(&shares, 3, shards);
            prop_assert_eq!(seats.len(), total as usize);
            let mut seen = vec![0_u32; clients.len()];
            for (nth, seat) in seats.iter().enumerate() {
                seen[usize::from(seat.workload)] += 1;
                for (seen, clients) in seen.iter().zip(&clients) {
                    let fair = f64::from(*clients) * (nth + 1) as f64 / f64::from(total);
                    let apart = (f64::from(*seen) - fair).abs();
                    prop_assert!(apart <= shares.len() as f64, "{} of {}", seen, fair);
                }
            }
            prop_assert_eq!(seen, clients);
            for target in 0..3 {
                let mut sources: Vec<_> =
                    seats.iter().filter(|seat| seat.target == target).map(|s| s.source).collect();
                let (first, all) = (sources.first().copied(), sources.len());
                sources.dedup();
                prop_assert!(first.is_none_or(|first| first == 0) && sources.len() == all);
            }
        }
    }
}

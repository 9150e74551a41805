//! Is there still a server? A run whose servers are all gone ends early rather than to count what is
//! missing for the rest of its time.
//!
//! Gone means: clients are wanted, none is ready, none became ready, nothing was answered, and
//! either connections are refused, or all were lost and the script connects none anew; for a few
//! seconds. A client that was lost stays so until the script has it connect again.

use ringmesh_runtime::load::sample::{Fault, WorkloadSample};
use ringmesh_runtime::load::script::{Phase, Script};

use crate::load::record::Second;

/// How long it must last, s.
const GONE_S: f64 = 2.0;

/// Looks at each second. See the module.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    lost: u64,
    gone_s: f64,
}

/// There is no server any more, or there never was one.
#[derive(Debug, PartialEq)]
pub(crate) struct Gone {
    /// Connections that were lost; 0 where none was ever made.
    pub(crate) lost: u64,
    /// When it was noticed first, s of the run.
    pub(crate) since_s: f64,
}

impl Vigil {
    /// Takes a second in; whether the run is to end for it.
    pub(crate) fn note(&mut self, script: &Script, second: &Second) -> Option<Gone> {
        let sum = |of: fn(&WorkloadSample) -> u64| second.workloads.iter().map(of).sum::<u64>();
        let opening = sum(|of| of.opening.into());
        let refused = sum(|of| of.faults[Fault::ConnectRefused.index()]);
        let active = sum(|of| u64::from(of.established) + of.opened + of.answered) > 0;
        self.lost += sum(|of| of.lost);
        let all_lost = self.lost > 0 && opening == 0 && !connects_more(script, second);
        if active || second.wanted == 0 || !(refused > 0 || all_lost) {
            self.gone_s = 0.0;
            return None;
        }
        self.gone_s += second.to_s - second.from_s;
        let since_s = second.to_s - self.gone_s;
        (self.gone_s >= GONE_S).then_some(Gone { lost: self.lost, since_s })
    }
}

/// Whether clients connect after this second, in its phase or later. A phase whose clients connect
/// in steps may have taken the last of them.
fn connects_more(script: &Script, second: &Second) -> bool {
    let rest = |phase: &Phase| phase.connections_to > second.wanted || phase.churn_per_s > 0.0;
    let is_more = |phase: &Phase| {
        let from = phase.connections_from;
        phase.connections_to > from || phase.churn_per_s > 0.0 || phase.reconnect > 0
    };
    let mut phases = script.phases.iter().skip(second.phase);
    phases.next().is_some_and(rest) || phases.any(is_more)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::load::run::fixtures;

    /// Looks at seconds of the last of these phases.
    fn note(
        vigil: &mut Vigil,
        phases: &[(u64, u32, u32)],
        from_s: f64,
        change: impl Fn(&mut WorkloadSample),
    ) -> Option<Gone> {
        let script = Arc::new(fixtures::script(phases));
        let mut second = fixtures::second(from_s);
        let at_ns = Duration::from_secs_f64(second.to_s).as_nanos();
        let at_ns = u64::try_from(at_ns).expect("a short run");
        (second.wanted, second.phase) = (script.connections_at(at_ns), phases.len() - 1);
        change(&mut second.workloads[0]);
        vigil.note(&script, &second)
    }

    const HOLD: &[(u64, u32, u32)] = &[(1_000, 0, 100), (60_000, 100, 100)];
    const RAMP: &[(u64, u32, u32)] = &[(60_000, 0, 100)];

    #[test]
    fn a_server_that_dies_is_noticed_after_two_seconds() {
        let mut vigil = Vigil::default();
        assert_eq!(note(&mut vigil, HOLD, 0.0, |of| of.established = 100), None);
        let dying = |of: &mut WorkloadSample| (of.lost, of.answered) = (100, 7);
        assert_eq!(note(&mut vigil, HOLD, 1.0, dying), None);
        assert_eq!(note(&mut vigil, HOLD, 2.0, |_| {}), None);
        let gone = Gone { lost: 100, since_s: 2.0 };
        assert_eq!(note(&mut vigil, HOLD, 3.0, |_| {}), Some(gone));
    }

    #[test]
    fn who_connected_at_once_does_not_connect_again() {
        let (mut vigil, mut script) = (Vigil::default(), fixtures::script(RAMP));
        script.phases[0].steps = 1;
        let mut second = fixtures::second(0.0);
        (second.wanted, second.workloads[0].lost) = (100, 100);
        assert_eq!(vigil.note(&script, &second), None, "not for long yet");
        second.workloads[0].lost = 0;
        assert!(vigil.note(&script, &second).is_some(), "all that are wanted were there");
    }

    #[test]
    fn while_clients_are_to_connect_it_may_come_back() {
        let mut vigil = Vigil::default();
        let dead = |of: &mut WorkloadSample| of.lost = 1;
        for from_s in [0.0, 1.0, 2.0, 3.0, 4.0] {
            assert_eq!(note(&mut vigil, RAMP, from_s, dead), None, "nobody was refused");
        }
        let refused = |of: &mut WorkloadSample| {
            (of.faults[Fault::ConnectRefused.index()], of.opening) = (30, 4);
        };
        assert_eq!(note(&mut vigil, RAMP, 5.0, refused), None);
        assert_eq!(note(&mut vigil, RAMP, 6.0, |of| of.opened = 1), None, "it did come back");
        assert_eq!(note(&mut vigil, RAMP, 7.0, refused), None);
        let gone = Gone { lost: 5, since_s: 7.0 };
        assert_eq!(note(&mut vigil, RAMP, 8.0, refused), Some(gone));
    }

    #[test]
    fn slow_or_not_wanted_is_not_gone() {
        let mut vigil = Vigil::default();
        for from_s in [0.0, 1.0, 2.0, 3.0] {
            assert_eq!(
                note(&mut vigil, HOLD, from_s, |of| of.opening = 100),
                None,
                "no answer yet"
            );
        }
        let script = fixtures::script(HOLD);
        for from_s in [4.0, 5.0, 6.0, 7.0] {
            let mut second = fixtures::second(from_s);
            (second.workloads[0].lost, second.phase) = (1, 1);
            assert_eq!(vigil.note(&script, &second), None, "nobody is wanted, as after the end");
        }
    }
}

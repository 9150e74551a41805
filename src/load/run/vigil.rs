//! Is there still a server? A run whose servers are all gone ends early rather than to count
//! refusals for the rest of its time.
//!
//! Gone means: clients are wanted, none is ready, none became ready, nothing was answered, and
//! connections are refused or none is even tried after some were lost; for a few seconds.

use ringmesh_runtime::load::sample::{Fault, WorkloadSample};

use crate::load::record::Second;

/// How long it must last, s.
const GONE_S: f64 = 2.0;

/// Looks at each second. See the module.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    established: u64,
    lost: u64,
    gone_s: f64,
}

impl Vigil {
    /// Takes a second in; one line why the run is to end, if it is.
    pub(crate) fn note(&mut self, second: &Second) -> Option<String> {
        let sum = |of: fn(&WorkloadSample) -> u64| second.workloads.iter().map(of).sum::<u64>();
        let established = sum(|of| of.established.into());
        let opening = sum(|of| of.opening.into());
        let lost = sum(|of| of.lost);
        let refused = sum(|of| of.faults[Fault::ConnectRefused.index()]);
        let active = established + sum(|of| of.opened) + sum(|of| of.answered) > 0;
        self.established = self.established.max(established).max(sum(|of| of.opened));
        self.lost += lost;
        let hopeless = refused > 0 || (opening == 0 && self.lost > 0);
        if active || second.wanted == 0 || !hopeless {
            self.gone_s = 0.0;
            return None;
        }
        self.gone_s += second.to_s - second.from_s;
        if self.gone_s < GONE_S {
            return None;
        }
        Some(match self.established {
            0 => "no server accepts connections: all of them are refused".to_owned(),
            _ => format!(
                "the server is gone: {} connections were lost and new ones are refused, since \
                 about {:.0} s of the run",
                self.lost,
                second.to_s - self.gone_s,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::run::fixtures::second;

    fn note(vigil: &mut Vigil, from_s: f64, change: impl Fn(&mut Second)) -> Option<String> {
        let mut second = second(from_s);
        second.wanted = 100;
        change(&mut second);
        vigil.note(&second)
    }

    #[test]
    fn a_server_that_dies_is_noticed_after_two_seconds() {
        let mut vigil = Vigil::default();
        let healthy = |second: &mut Second| second.workloads[0].established = 100;
        assert_eq!(note(&mut vigil, 0.0, healthy), None);
        let dying = |second: &mut Second| {
            second.workloads[0].lost = 100;
            second.workloads[0].answered = 7;
        };
        assert_eq!(note(&mut vigil, 1.0, dying), None);
        let refused = |second: &mut Second| {
            second.workloads[0].faults[Fault::ConnectRefused.index()] = 30;
            second.workloads[0].opening = 4;
        };
        assert_eq!(note(&mut vigil, 2.0, refused), None);
        let why = note(&mut vigil, 3.0, refused).expect("it is gone");
        let told = "the server is gone: 100 connections were lost and new ones are refused, since \
                    about 2 s of the run";
        assert_eq!(why, told);
    }

    #[test]
    fn one_that_comes_back_or_is_not_wanted_is_not_gone() {
        let mut vigil = Vigil::default();
        let dead = |second: &mut Second| second.workloads[0].lost = 1;
        for round in 0..20 {
            let from_s = f64::from(round) * 2.0;
            assert_eq!(note(&mut vigil, from_s, dead), None);
            let back = note(&mut vigil, from_s + 1.0, |second| second.workloads[0].opened = 1);
            assert_eq!(back, None);
        }
        for from_s in [40.0, 41.0, 42.0, 43.0] {
            assert_eq!(note(&mut vigil, from_s, |second| second.wanted = 0), None);
        }
    }

    #[test]
    fn slow_is_not_gone_and_never_there_is_told_so() {
        let mut vigil = Vigil::default();
        for from_s in [0.0, 1.0, 2.0, 3.0] {
            let slow = |second: &mut Second| second.workloads[0].opening = 100;
            assert_eq!(note(&mut vigil, from_s, slow), None, "no answer yet");
        }
        let refused =
            |second: &mut Second| second.workloads[0].faults[Fault::ConnectRefused.index()] = 9;
        assert_eq!(note(&mut vigil, 4.0, refused), None);
        let why = note(&mut vigil, 5.0, refused).expect("nobody is there");
        assert!(why.starts_with("no server accepts connections"), "{why}");
    }
}

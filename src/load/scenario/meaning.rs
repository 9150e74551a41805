//! What could be done and makes no sense: an error where nothing of it would work, else a warning.

use ringmesh_runtime::load::script::{Kind, Phase, Workload};

use super::Resolver;
use super::{calls, phases};
use crate::boot::StartError;

impl Resolver<'_> {
    /// What is possible and makes no sense.
    pub(super) fn check_meaning(
        &mut self,
        workloads: &[Workload],
        all: &[Phase],
    ) -> Result<(), StartError> {
        let listeners: Vec<&Vec<String>> = workloads
            .iter()
            .filter_map(|workload| match &workload.kind {
                Kind::Listen { uris } => Some(uris),
                _ => None,
            })
            .collect();
        let triggered = all.iter().position(|phase| phase.trigger.is_some());
        if let Some(at) = triggered {
            let wrong = |what: &str| {
                self.wrong_in("phase", &self.scenario.phase[at].span(), what.to_owned())
            };
            if listeners.is_empty() {
                return Err(wrong("trigger: no workload of kind = \"listen\" is there to hear it"));
            }
            if listeners.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(wrong("trigger: all listeners have to have the same uris"));
            }
            let tools = all.iter().filter_map(|phase| phase.trigger.as_ref());
            let counts = tools.into_iter().any(|trigger| trigger.tool == phases::COUNT);
            let in_order = |(at, uri): (usize, &String)| *uri == calls::counter_uri(at);
            if counts && !listeners[0].iter().enumerate().all(in_order) {
                return Err(wrong(
                    "trigger: count changes ringmesh://counters/N for the N-th of the uris: name \
                     them from 0 on, in order",
                ));
            }
        }
        let open = workloads.iter().any(|workload| workload.rate_share > 0.0);
        for phase in all.iter().filter(|phase| phase.rate_per_s > 0.0 && !open) {
            let name = &phase.name;
            self.warnings.push(format!(
                "phase {name}: its rate says nothing, since no workload with clients is loop = \
                 \"open\" and calls"
            ));
        }
        let rated = all.iter().any(|phase| phase.rate_per_s > 0.0);
        let calls = |workload: &&Workload| !matches!(workload.kind, Kind::Listen { .. });
        let idle = workloads.iter().filter(calls).all(|workload| !workload.closed) && !rated;
        let first = self.scenario.first_call.unwrap_or(false);
        if idle && !first && workloads.iter().any(|workload| calls(&workload)) {
            self.warnings.push("nobody calls: no phase has a rate, no loop is closed".to_owned());
        }
        Ok(())
    }
}

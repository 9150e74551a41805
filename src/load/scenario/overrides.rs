//! Flags over keys: what the command line says takes the scenario's place in it.

use toml::Spanned;

use super::text::{Clients, Phase, Scenario, Speech, Stage};
use crate::boot::StartError;
use crate::config::Count;
use crate::load::options::Options;

/// Applies the flags. `declared` is how many clients the scenario has by itself.
///
/// # Errors
/// 64 where a flag finds nothing to change.
pub(super) fn apply(
    options: &Options,
    declared: u32,
    scenario: &mut Scenario,
) -> Result<(), StartError> {
    if let Some(Count(connections)) = options.connections {
        scenario.connections = Some(Count(connections));
        for phase in &mut scenario.phase {
            scale(phase.get_mut(), declared, connections);
        }
    }
    let measured = |flag: &str, scenario: &Scenario| match measured(scenario) {
        phases if phases.is_empty() => Err(StartError::usage(format!(
            "{flag}: the scenario has no phase of kind hold, burst or churn: change its file"
        ))),
        phases => Ok(phases),
    };
    if let Some(rate) = options.rate {
        for at in measured("--rate", scenario)? {
            scenario.phase[at].get_mut().rate = Some(rate);
        }
    }
    if let Some(duration) = options.duration {
        for at in measured("--duration", scenario)? {
            scenario.phase[at].get_mut().duration = duration;
        }
    }
    if let Some(depth) = options.depth {
        let calling = |workload: &&mut Spanned<_>| {
            let workload: &super::text::Workload = workload.get_ref();
            workload.kind != Speech::Listen
        };
        for workload in scenario.workload.iter_mut().filter(calling) {
            workload.get_mut().depth = Some(depth);
        }
    }
    if !options.target.is_empty() {
        scenario.targets = Some(options.target.clone());
    }
    if !options.assert.is_empty() {
        let texts = options.assert.iter().map(|check| check.text.clone());
        scenario.assert = Some(texts.collect());
    }
    scenario.shards = options.shards.or(scenario.shards);
    scenario.cpus = options.cpus.clone().or(scenario.cpus.take());
    scenario.seed = options.seed.or(scenario.seed);
    if let Some(sources) = &options.sources {
        scenario.sources = Some(sources.text.clone());
    }
    Ok(())
}

/// The phases that are measured and have a rate and a length to change.
fn measured(scenario: &Scenario) -> Vec<usize> {
    let of = |kinds: &[Stage]| -> Vec<usize> {
        let kind = |at: &usize| scenario.phase[*at].get_ref().kind;
        (0..scenario.phase.len()).filter(|at| kinds.contains(&kind(at))).collect()
    };
    let hold = of(&[Stage::Hold]);
    if hold.is_empty() { of(&[Stage::Burst, Stage::Churn]) } else { hold }
}

/// Keeps a phase's numbers of clients in proportion.
fn scale(phase: &mut Phase, from: u32, to: u32) {
    let scaled = |number: u32| {
        let scaled = (u64::from(number) * u64::from(to)).div_ceil(u64::from(from.max(1)));
        u32::try_from(scaled).unwrap_or(u32::MAX)
    };
    if let Some(Count(connections)) = &mut phase.connections {
        *connections = scaled(*connections);
    }
    if let Some(Clients::Number(number)) = &mut phase.reconnect {
        *number = scaled(*number);
    }
}

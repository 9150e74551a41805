//! What happens when: phases with absolute times and numbers.

use ringmesh_runtime::load::script::{Phase, RUN_S_MAX, Trigger};

use super::text::{Clients, Phase as Written, Spread, Stage};

/// The tool that changes resources, unless another is named: it counts up counters.
pub(super) const COUNT: &str = "count";
/// Shortest time between two changes, ms.
const TRIGGER_MS_MIN: u64 = 10;
const STEPS_MAX: u32 = 100_000;
const MS: u64 = 1_000_000;

/// What a phase begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) start_ns: u64,
    pub(super) connections: u32,
}

/// Resolves one phase; what is wrong is told without the place.
pub(super) fn phase(
    name: String,
    written: &Written,
    before: Before,
    seats: u32,
    spread: Option<Spread>,
) -> Result<Phase, String> {
    let ms = written.duration.ms;
    if ms == 0 || ms > RUN_S_MAX * 1_000 || before.start_ns / MS + ms > RUN_S_MAX * 1_000 {
        return Err("duration: use more than nothing, and a week for the run at most".into());
    }
    let to = match (written.connections, written.kind) {
        (Some(named), _) => named.0,
        (None, Stage::Ramp) => seats,
        (None, Stage::Drain) => 0,
        // A run that begins with what it measures has its clients at once.
        (None, _) if before.start_ns == 0 => seats,
        (None, _) => before.connections,
    };
    if to > seats {
        return Err(format!("connections = {to}: there are {seats} in all"));
    }
    let gradual = matches!(written.kind, Stage::Ramp | Stage::Drain);
    let steps = written.steps.map_or(u32::from(!gradual), |steps| steps.0);
    if steps > STEPS_MAX {
        return Err(format!("steps = {steps}: use 0 to {STEPS_MAX}"));
    }
    let reconnect = match written.reconnect {
        None => 0,
        Some(Clients::All) => before.connections,
        Some(Clients::Number(number)) if number <= before.connections => number,
        Some(Clients::Number(number)) => {
            let there = before.connections;
            return Err(format!("reconnect = {number}: {there} are connected when it begins"));
        }
    };
    Ok(Phase {
        name,
        kind: written.kind.kind(),
        start_ns: before.start_ns,
        duration_ns: ms * MS,
        connections_from: before.connections,
        connections_to: to,
        steps,
        rate_per_s: written.rate.map_or(0.0, |rate| rate.0),
        arrivals: written.arrivals.or(spread).unwrap_or(Spread::Poisson).arrivals(),
        churn_per_s: written.churn.map_or(0.0, |churn| churn.0),
        reconnect,
        trigger: trigger(written)?,
    })
}

fn trigger(written: &Written) -> Result<Option<Trigger>, String> {
    let Some(trigger) = &written.trigger else { return Ok(None) };
    if trigger.every.ms < TRIGGER_MS_MIN {
        return Err(format!("trigger.every: use {TRIGGER_MS_MIN}ms or more"));
    }
    let tool = trigger.tool.clone().unwrap_or_else(|| COUNT.to_owned());
    Ok(Some(Trigger { every_ns: trigger.every.ms * MS, tool }))
}

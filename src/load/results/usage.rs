//! CPU time and memory of the run's phases, from readings that come about each second.
//!
//! A reading never comes at the very moment in which a phase begins: CPU time between two readings
//! is shared out by time.

use std::sync::Arc;

use ringmesh_runtime::load::script::Script;

use super::tally::{is_measured, within};
use super::{float, ratio};
use crate::load::record::Resources;

/// CPU time of a phase, as far as readings cover it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) covered_s: f64,
    pub(super) generator_s: f64,
    pub(super) server_s: f64,
    /// Of the whole machine.
    pub(super) machine_s: f64,
}

impl Cpu {
    /// Cores that were busy on average: of the generator, of the server, of the machine.
    pub(super) fn generator_cores(&self) -> f64 {
        ratio(self.generator_s, self.covered_s)
    }

    pub(super) fn server_cores(&self) -> f64 {
        ratio(self.server_s, self.covered_s)
    }

    pub(super) fn machine_cores(&self) -> f64 {
        ratio(self.machine_s, self.covered_s)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Usage {
    script: Arc<Script>,
    phases: Vec<Cpu>,
    last: Option<Resources>,
    /// The server's memory before the run, bytes, and with most clients.
    rest_bytes: Option<u64>,
    peak_bytes: u64,
    peak_clients: u64,
    pub(super) server_rss_max_bytes: Option<u64>,
}

impl Usage {
    pub(super) fn new(script: Arc<Script>) -> Self {
        Self {
            phases: vec![Cpu::default(); script.phases.len()],
            script,
            last: None,
            rest_bytes: None,
            peak_bytes: 0,
            peak_clients: 0,
            server_rss_max_bytes: None,
        }
    }

    /// `clients` are ready about then.
    pub(super) fn add(&mut self, now: &Resources, clients: u64) {
        if let Some(rss_bytes) = now.server_rss_bytes {
            self.rest_bytes.get_or_insert(rss_bytes);
            self.server_rss_max_bytes = self.server_rss_max_bytes.max(Some(rss_bytes));
            if clients > self.peak_clients {
                (self.peak_clients, self.peak_bytes) = (clients, rss_bytes);
            } else if clients == self.peak_clients {
                self.peak_bytes = self.peak_bytes.max(rss_bytes);
            }
        }
        if let Some(last) = self.last {
            self.share_out(&last, now);
        }
        self.last = Some(*now);
    }

    fn share_out(&mut self, last: &Resources, now: &Resources) {
        let between_s = now.at_s - last.at_s;
        if between_s <= 0.0 {
            return;
        }
        // A process that ended takes its time with it.
        let server_s = match (last.server_cpu_s, now.server_cpu_s) {
            (Some(last_s), Some(now_s)) => (now_s - last_s).max(0.0),
            _ => 0.0,
        };
        for (phase, cpu) in self.phases.iter_mut().enumerate() {
            let inside_s = within(&self.script, phase, last.at_s, now.at_s);
            let share = inside_s / between_s;
            cpu.covered_s += inside_s;
            cpu.generator_s += share * (now.generator_cpu_s - last.generator_cpu_s).max(0.0);
            cpu.server_s += share * server_s;
            cpu.machine_s += share * (now.machine_busy_s - last.machine_busy_s).max(0.0);
        }
    }

    pub(super) fn phase(&self, phase: usize) -> Cpu {
        self.phases.get(phase).copied().unwrap_or_default()
    }

    /// Of all measured phases together.
    pub(super) fn measured(&self) -> Cpu {
        let all = self.phases.iter().enumerate();
        let measured = all.filter(|(phase, _)| is_measured(&self.script, *phase));
        measured.fold(Cpu::default(), |sum, (_, cpu)| Cpu {
            covered_s: sum.covered_s + cpu.covered_s,
            generator_s: sum.generator_s + cpu.generator_s,
            server_s: sum.server_s + cpu.server_s,
            machine_s: sum.machine_s + cpu.machine_s,
        })
    }

    /// Bytes that the server's memory grew by for each client.
    pub(super) fn server_bytes_per_client(&self) -> f64 {
        let grown = self.peak_bytes.saturating_sub(self.rest_bytes.unwrap_or(self.peak_bytes));
        ratio(float(grown), float(self.peak_clients))
    }
}

//! What the kernel offers, tried on a small ring at the start of the process.

use std::fmt;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::{Probe, opcode};
use nix::errno::Errno;
use ringmesh_runtime::io::{Completion, ConnId, Io, IoError};

use crate::buffers::offers_incremental;
use crate::config::{RingConfig, SetupError};
use crate::refusal::{Host, Refusal, Stage, release, releases_late};
use crate::ring::{Ring, errno_of};

/// How long a byte may take through a socket pair.
const TRIAL_NS: u64 = 5_000_000_000;

/// A part of io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As the manual pages or the kernel's changelog call it.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// Whether this one does.
    pub offered: bool,
    /// Whether rings make use of it.
    pub used: bool,
}

/// What this kernel offers. The text is one line for the log of the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// What uname(2) calls the kernel.
    pub release: String,
    /// The parts that are used or noticed.
    pub parts: Vec<Feature>,
}

/// Tries everything that a ring needs, and notices what else there is.
///
/// # Errors
/// The first thing that is refused, with its mend.
pub fn probe() -> Result<Features, Refusal> {
    let config = RingConfig {
        sq_entries: 8,
        cq_entries: 16,
        table: 4,
        buffers: 4,
        buffer_bytes: 64,
        ..RingConfig::default()
    };
    let mut ring = Ring::new(&config).map_err(|error| match error {
        SetupError::Refused(refusal) => refusal,
        SetupError::Config(error) => unreachable!("sizes given above: {error}"),
    })?;
    // A filter may allow the set-up and refuse the rest.
    ring.uring.submit().map_err(|error| diagnose(Stage::Enter, errno_of(&error)))?;
    let mut operations = Probe::new();
    ring.uring
        .submitter()
        .register_probe(&mut operations)
        .map_err(|error| diagnose(Stage::Probe, errno_of(&error)))?;
    try_multishot_receive(&mut ring)?;
    Ok(Features { release: release(), parts: parts(&ring, &operations) })
}

fn parts(ring: &Ring, operations: &Probe) -> Vec<Feature> {
    let part = |name, since, offered, used| Feature { name, since, offered, used };
    let parameters = ring.uring.params();
    let no_iowait = parameters.is_feature_no_iowait();
    vec![
        part("direct accept", "5.19", true, true),
        part("provided-buffer rings", "5.19", true, true),
        part("multishot receive", "6.0", true, true),
        part("DEFER_TASKRUN", "6.1", true, true),
        part("waits without iowait", "6.15", no_iowait, no_iowait),
        // The workaround is for its absence.
        part("prompt release of direct descriptors", "6.13", !releases_late(), !releases_late()),
        part("zero-copy send", "6.0", operations.is_supported(opcode::SendZc::CODE), false),
        part("bundles", "6.10", parameters.is_feature_recvsend_bundle(), false),
        part("incremental buffers", "6.12", offers_incremental(&ring.uring), false),
        part("min-wait", "6.12", parameters.is_feature_min_timeout(), false),
    ]
}

/// There is no flag that tells whether receives can be multishot: so one receives a byte.
fn try_multishot_receive(ring: &mut Ring) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| diagnose(Stage::Probe, errno_of(&error));
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    ring.uring.submitter().register_files_update(0, &[theirs.as_raw_fd()]).map_err(failed)?;
    ring.submit_recv(ConnId { slot: 0, generation: 0 });
    ours.write_all(b"?").map_err(failed)?;
    let deadline_ns = ring.clock.mono_ns() + TRIAL_NS;
    let mut completions = Vec::new();
    while ring.clock.mono_ns() < deadline_ns {
        ring.wait(Some(deadline_ns));
        ring.reap(&mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Received { result: Ok(Some(buffer)), more: true, .. } => {
                    ring.recycle(buffer);
                    return Ok(());
                }
                Completion::Received { result: Err(IoError::Other(errno)), .. } => {
                    return Err(diagnose(Stage::Enter, Errno::from_raw(errno)));
                }
                _ => {}
            }
        }
    }
    Err(diagnose(Stage::Enter, Errno::ETIME))
}

fn diagnose(stage: Stage, errno: Errno) -> Refusal {
    Refusal::diagnose(stage, errno, &Host::look())
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}: ", self.release)?;
        self.list(f, "uses ", |part| part.used)?;
        self.list(f, "; offers too ", |part| part.offered && !part.used)?;
        self.list(f, "; lacks ", |part| !part.offered)
    }
}

impl Features {
    /// Whether the kernel has a part of this name.
    pub fn offers(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.name == name && part.offered)
    }

    fn list(
        &self,
        f: &mut fmt::Formatter<'_>,
        lead: &str,
        belongs: impl Fn(&Feature) -> bool,
    ) -> fmt::Result {
        let mut separator = lead;
        for part in self.parts.iter().filter(|part| belongs(part)) {
            write!(f, "{separator}{}", part.name)?;
            if !part.offered {
                write!(f, " ({})", part.since)?;
            }
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_line_tells_what_is_used_offered_and_lacking() {
        let part = |name, offered, used| Feature { name, since: "6.99", offered, used };
        let parts = vec![part("a", true, true), part("b", true, true), part("c", true, false)];
        let mut features = Features { release: "6.1.0".to_owned(), parts };
        assert_eq!(features.to_string(), "Linux 6.1.0: uses a, b; offers too c");
        features.parts.push(part("d", false, false));
        assert_eq!(features.to_string(), "Linux 6.1.0: uses a, b; offers too c; lacks d (6.99)");
        assert!(features.offers("c") && !features.offers("d"));
    }

    #[test]
    fn this_kernel_has_what_is_needed() {
        let features = probe().expect("tests need io_uring");
        assert!(features.offers("multishot receive"), "{features}");
        assert!(!features.to_string().contains('\n'));
    }
}

//! Which processors the process may use, and how a shard's thread stays on one.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that the calling thread may run on, ascending (`taskset`, cpusets of containers).
///
/// # Errors
/// What sched_getaffinity(2) reports.
pub fn allowed_cpus() -> Result<Vec<usize>, Errno> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// Keeps the calling thread on one processor.
///
/// # Errors
/// What sched_setaffinity(2) reports: EINVAL when the processor is not there or not allowed.
pub fn pin_to_cpu(cpu: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_is_allowed_one_cpu() {
        let last = *allowed_cpus().expect("affinity").last().expect("at least one cpu");
        std::thread::spawn(move || {
            pin_to_cpu(last).expect("an allowed cpu");
            assert_eq!(allowed_cpus(), Ok(vec![last]));
            assert_eq!(pin_to_cpu(CpuSet::count()), Err(Errno::EINVAL));
        })
        .join()
        .expect("the pinned thread");
    }
}

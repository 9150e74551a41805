//! What the kernel says about this process, from `/proc` (proc(5)).

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use std::fs;

/// Ticks of `/proc/self/stat` in a second: USER_HZ is 100 on every architecture with io_uring
/// but alpha.
const USER_HZ: f64 = 100.0;

/// Use of resources. What cannot be read is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessUse {
    /// Resident memory, bytes.
    pub(super) resident_bytes: Option<u64>,
    /// Address space, bytes.
    pub(super) virtual_bytes: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// User and system time, seconds.
    pub(super) cpu_s: Option<f64>,
    /// Open descriptors; those of io_uring's direct tables are not among them.
    pub(super) open_fds: Option<usize>,
    /// Bound of open descriptors.
    pub(super) max_fds: Option<u64>,
}

impl ProcessUse {
    /// Reads it now.
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |name| number_after(&status, name).map(|kib| kib * 1024);
        Self {
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            threads: number_after(&status, "Threads:"),
            cpu_s: getrusage(UsageWho::RUSAGE_SELF)
                .ok()
                .map(|usage| seconds(usage.user_time()) + seconds(usage.system_time())),
            // One of them reads the folder.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() - 1),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        }
    }
}

/// When the kernel started the process, in seconds since 1970.
pub(super) fn start_time_s() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let boot = number_after(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    started_after_boot_s(&stat).map(|after| boot as f64 + after)
}

/// Field 22. The name in field 2 may hold spaces and parentheses, so fields count from the last.
fn started_after_boot_s(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks as f64 / USER_HZ)
}

/// The first number of the line that begins with `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn this_process_is_seen() {
        let seen = ProcessUse::read();
        assert!(seen.resident_bytes.unwrap() > 1 << 20);
        assert!(seen.virtual_bytes >= seen.resident_bytes);
        assert!(seen.threads.unwrap() >= 1);
        assert!(seen.cpu_s.unwrap() >= 0.0);
        assert!(seen.open_fds.unwrap() >= 3);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let start = start_time_s().unwrap();
        assert!(start <= now + 2.0 && start > now - 86_400.0, "{start} at {now}");
    }

    #[test]
    fn a_name_with_parentheses_confuses_nobody() {
        let fields = "S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 12345 99";
        assert_eq!(started_after_boot_s(&format!("7 (a) b) {fields}")), Some(123.45));
    }
}

//! What the whole machine does: CPU, slab, memory of TCP, files (proc(5)).

use std::fs;

use super::process::page_bytes;

/// Ticks of `/proc/stat` in a second, see `process`.
const USER_HZ: f64 = 100.0;

/// What the kernel says at a time. What cannot be read is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    /// Busy time of all processors so far.
    pub(crate) busy_s: f64,
    pub(crate) slab_bytes: u64,
    pub(crate) available_bytes: u64,
    pub(crate) tcp_bytes: u64,
    pub(crate) tcp_sockets: u64,
    pub(crate) files: u64,
}

impl Machine {
    /// Reads it now.
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = text("/proc/meminfo");
        let sockets = text("/proc/net/sockstat");
        let sockets6 = text("/proc/net/sockstat6");
        let kib = |name| number_after(&memory, name).unwrap_or(0) * 1024;
        Self {
            busy_s: busy_s(&text("/proc/stat")).unwrap_or(0.0),
            slab_bytes: kib("Slab:"),
            available_bytes: kib("MemAvailable:"),
            tcp_bytes: of_protocol(&sockets, "TCP:", "mem").unwrap_or(0) * page_bytes(),
            tcp_sockets: of_protocol(&sockets, "TCP:", "inuse").unwrap_or(0)
                + of_protocol(&sockets6, "TCP6:", "inuse").unwrap_or(0),
            files: text("/proc/sys/fs/file-nr")
                .split_ascii_whitespace()
                .next()
                .and_then(|files| files.parse().ok())
                .unwrap_or(0),
        }
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and
/// guests' time, which user has in it. What another machine of the host stole is not this one's.
fn busy_s(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().flat_map(str::parse).collect();
    let busy: u64 = [0, 1, 2, 5, 6].into_iter().filter_map(|field| ticks.get(field)).sum();
    (ticks.len() >= 7).then_some(busy as f64 / USER_HZ)
}

/// A number of `/proc/net/sockstat`: `TCP: inuse 27 orphan 0 tw 9 alloc 30 mem 3`.
fn of_protocol(sockstat: &str, protocol: &str, name: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix(protocol))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|&word| word == name)?;
    words.next()?.parse().ok()
}

/// The first number of the line that begins with `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_leaves_idle_iowait_steal_and_guests_out() {
        let stat = "cpu  100 20 30 5000 600 7 8 900 40 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 1\n";
        assert_eq!(busy_s(stat), Some(1.65));
        assert_eq!(busy_s("cpu  1 2 3\n"), None);
        assert_eq!(busy_s(""), None);
    }

    #[test]
    fn sockstat_is_read_by_name() {
        let text = "sockets: used 318\nTCP: inuse 27 orphan 0 tw 2094 alloc 30 mem 3\n\
                    UDP: inuse 2 mem 1\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";
        assert_eq!(of_protocol(text, "TCP:", "inuse"), Some(27));
        assert_eq!(of_protocol(text, "TCP:", "mem"), Some(3));
        assert_eq!(of_protocol(text, "UDP:", "mem"), Some(1));
        assert_eq!(of_protocol(text, "TCP6:", "inuse"), None);
        assert_eq!(of_protocol(text, "TCP:", "absent"), None);
    }

    #[test]
    fn meminfo_is_read_by_name() {
        let text = "MemTotal:       24659160 kB\nMemAvailable:   23810640 kB\nSlab:    92344 kB\n\
                    SReclaimable:      50000 kB\n";
        assert_eq!(number_after(text, "Slab:"), Some(92_344));
        assert_eq!(number_after(text, "MemAvailable:"), Some(23_810_640));
        assert_eq!(number_after(text, "Absent:"), None);
    }

    #[test]
    fn this_machine_says_something_sensible() {
        let machine = Machine::read();
        assert!(machine.busy_s > 0.0 && machine.files > 0, "{machine:?}");
        assert!(machine.available_bytes > 1 << 20 && machine.slab_bytes > 0, "{machine:?}");
    }
}

//! Memory limits as the kernel writes them: `/proc` and both versions of control groups.
//!
//! Pure functions over text, and the walks that read the files.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted everywhere that systemd or a container engine runs.
const MOUNT: &str = "sys/fs/cgroup";

/// Version 1 writes "no limit" as the largest multiple of a page; nobody owns half as much.
const UNLIMITED_MIN: u64 = 1 << 62;

/// The control groups of this process, and where they are mounted.
pub(crate) struct Groups {
    own: String,
    mount: PathBuf,
}

impl Groups {
    /// Those of the system whose root is `root`: `/`, but for tests.
    pub(crate) fn read(root: &Path) -> Option<Self> {
        let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        Some(Self { own, mount: root.join(MOUNT) })
    }

    /// The memory limits of this process's control groups and their ancestors, in bytes, with the
    /// files that say so.
    pub(crate) fn memory_limits(&self) -> Vec<(u64, PathBuf)> {
        let names =
            (["memory.max", "memory.high"].as_slice(), ["memory.limit_in_bytes"].as_slice());
        self.limits("memory", names)
    }

    /// The limits of threads and processes, with the files that say so.
    pub(crate) fn pids_limits(&self) -> Vec<(u64, PathBuf)> {
        self.limits("pids", (&["pids.max"], &["pids.max"]))
    }

    /// Whole processors' worth of time that the groups allow, at least one; `None` where none
    /// bounds it. What std's `available_parallelism` makes of them.
    pub(crate) fn cpu_quota(&self) -> Option<usize> {
        let files = files(&self.own, &self.mount, "cpu", (&["cpu.max"], &["cpu.cfs_quota_us"]));
        let quotas = files.into_iter().filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            // Version 1 has the period in a file beside.
            let period = fs::read_to_string(path.with_file_name("cpu.cfs_period_us"));
            quota(&text, period.ok().as_deref())
        });
        quotas.min()
    }

    fn limits(&self, controller: &str, names: Names<'_>) -> Vec<(u64, PathBuf)> {
        let candidates = files(&self.own, &self.mount, controller, names);
        let limits = candidates.into_iter().filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            Some((limit(&text)?, path))
        });
        limits.collect()
    }
}

/// The lowest memory limit of this process's control groups and their ancestors, in bytes, with the
/// file that says so.
pub(crate) fn memory_limit() -> Option<(u64, PathBuf)> {
    let limits = Groups::read(Path::new("/"))?.memory_limits();
    limits.into_iter().min_by_key(|(bytes, _)| *bytes)
}

/// Names of a controller's files in version 2 and in version 1.
type Names<'a> = (&'a [&'a str], &'a [&'a str]);

/// The files that may hold a limit, given the text of `/proc/self/cgroup`.
///
/// The roots are always among them: inside a container the path may be that of the host, which is
/// not mounted, while the container's own group is.
fn files(own: &str, mount: &Path, controller: &str, (v2, v1): Names<'_>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, names) = if controllers.is_empty() {
            (mount.to_path_buf(), v2)
        } else if controllers.split(',').any(|name| name == controller) {
            (mount.join(controller), v1)
        } else {
            continue;
        };
        let relative = Path::new(path.trim_start_matches('/'));
        for ancestor in relative.ancestors() {
            files.extend(names.iter().map(|name| root.join(ancestor).join(name)));
        }
    }
    files
}

/// From `cpu.max` ("QUOTA PERIOD"), or from the files of version 1, one number each.
fn quota(text: &str, period: Option<&str>) -> Option<usize> {
    let mut words = text.split_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next().or(period)?.trim().parse().ok()?;
    usize::try_from(quota.checked_div(period)?.max(1)).ok()
}

fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes| bytes < UNLIMITED_MIN)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
pub(crate) fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        assert_eq!(limit(""), None);
        let meminfo = "MemTotal:       24684092 kB\nMemFree:        21943292 kB\n";
        assert_eq!(mem_total(meminfo), Some(24_684_092 * 1024));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn version_2_is_looked_for_up_to_the_root() {
        let names: Names<'_> = (&["memory.max", "memory.high"], &["memory.limit_in_bytes"]);
        let own = "0::/system.slice/ringmesh.service\n";
        let files = files(own, Path::new("/m"), "memory", names);
        let named = |name: &str| files.contains(&PathBuf::from(name));
        assert!(named("/m/system.slice/ringmesh.service/memory.max"));
        assert!(named("/m/system.slice/memory.high"));
        assert!(named("/m/memory.max"));
        assert_eq!(files.len(), 6);
    }

    #[test]
    fn version_1_has_its_own_mount_and_may_be_mixed_with_2() {
        let own = "9:name=systemd:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/\n0::/\n";
        let names: Names<'_> = (&["memory.max", "memory.high"], &["memory.limit_in_bytes"]);
        let files = files(own, Path::new("/m"), "memory", names);
        let named = |name: &str| files.contains(&PathBuf::from(name));
        assert!(named("/m/memory/docker/abc/memory.limit_in_bytes"));
        assert!(named("/m/memory/memory.limit_in_bytes"));
        assert!(named("/m/memory.max"));
        assert_eq!(files.len(), 5);
    }

    #[test]
    fn quotas_are_whole_processors() {
        assert_eq!(quota("max 100000\n", None), None);
        assert_eq!(quota("250000 100000\n", None), Some(2));
        assert_eq!(quota("50000 100000\n", None), Some(1));
        assert_eq!(quota("-1\n", Some("100000\n")), None);
        assert_eq!(quota("400000\n", Some("100000\n")), Some(4));
        assert_eq!(quota("400000\n", None), None);
        assert_eq!(quota("1 0\n", None), None);
    }
}

//! Memory limits as the kernel writes them: `/proc` and both versions of control groups.
//!
//! Pure functions over text, and one walk that reads the files.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted everywhere that systemd or a container engine runs.
const MOUNT: &str = "/sys/fs/cgroup";

/// Version 1 writes "no limit" as the largest multiple of a page; nobody owns half as much.
const UNLIMITED_MIN: u64 = 1 << 62;

/// The lowest memory limit of this process's control groups and their ancestors, in bytes, with the
/// file that says so.
pub(crate) fn memory_limit() -> Option<(u64, PathBuf)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mount = Path::new(MOUNT);
    let candidates = files(&own, mount);
    let limits = candidates.into_iter().filter_map(|path| {
        let text = fs::read_to_string(&path).ok()?;
        Some((limit(&text)?, path))
    });
    limits.min_by_key(|(bytes, _)| *bytes)
}

/// The files that may hold a limit, given the text of `/proc/self/cgroup`.
///
/// The roots are always among them: inside a container the path may be that of the host, which is
/// not mounted, while the container's own group is.
fn files(own: &str, mount: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, names): (PathBuf, &[&str]) = if controllers.is_empty() {
            (mount.to_path_buf(), &["memory.max", "memory.high"])
        } else if controllers.split(',').any(|name| name == "memory") {
            (mount.join("memory"), &["memory.limit_in_bytes"])
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
        let files = files("0::/system.slice/ringmesh.service\n", Path::new("/m"));
        let named = |name: &str| files.contains(&PathBuf::from(name));
        assert!(named("/m/system.slice/ringmesh.service/memory.max"));
        assert!(named("/m/system.slice/memory.high"));
        assert!(named("/m/memory.max"));
        assert_eq!(files.len(), 6);
    }

    #[test]
    fn version_1_has_its_own_mount_and_may_be_mixed_with_2() {
        let own = "9:name=systemd:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/\n0::/\n";
        let files = files(own, Path::new("/m"));
        let named = |name: &str| files.contains(&PathBuf::from(name));
        assert!(named("/m/memory/docker/abc/memory.limit_in_bytes"));
        assert!(named("/m/memory/memory.limit_in_bytes"));
        assert!(named("/m/memory.max"));
        assert_eq!(files.len(), 5);
    }
}

//! Why the system refuses io_uring, told apart, each with its mend in one line.

use std::{fmt, fs};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::utsname::uname;

/// The oldest kernel that a ring works on.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// The first kernel that releases a closed direct descriptor at once.
const KERNEL_PROMPT_RELEASE: (u32, u32) = (6, 13);
/// The first kernel with io_uring.
const KERNEL_FIRST: (u32, u32) = (5, 1);
/// `CAP_SYS_ADMIN` in the bit sets of /proc/PID/status.
const CAP_SYS_ADMIN: u32 = 21;
/// The seccomp mode of a filter, as /proc/PID/status has it.
const SECCOMP_FILTER: u32 = 2;

/// Why io_uring cannot be used. The text is one line: what is wrong, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A seccomp filter, usually the container engine's default profile.
    Seccomp {
        /// The system call that it refuses.
        call: &'static str,
        /// How it does: EPERM (docker), ENOSYS (podman).
        errno: Errno,
    },
    /// The sysctl `kernel.io_uring_disabled`: 1 (privileged processes only) or 2 (none).
    Disabled {
        /// The sysctl's value.
        value: u32,
    },
    /// A security module, as far as can be told.
    Denied {
        /// The system call that it refuses.
        call: &'static str,
        /// EPERM or EACCES.
        errno: Errno,
    },
    /// The kernel is older than 6.1.
    OldKernel {
        /// What uname(2) calls it.
        release: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// The kernel was built without io_uring.
    NotBuilt {
        /// What uname(2) calls it.
        release: String,
    },
    /// Memory that must be locked is more than RLIMIT_MEMLOCK.
    Memlock {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The kernel has no memory, or the cgroup.
    Memory,
    /// A table of direct descriptors may have no more slots than RLIMIT_NOFILE.
    Table {
        /// Slots asked for.
        wanted: u32,
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    },
    /// The process has no descriptor left.
    Descriptors {
        /// The soft limit.
        soft: u64,
    },
    /// The system has no file left (`fs.file-max`).
    Files,
    /// Anything else.
    Other {
        /// The system call that failed.
        call: &'static str,
        /// What it says.
        errno: Errno,
        /// What uname(2) calls the kernel.
        release: String,
    },
}

/// What was asked of the system when it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Doorbell,
    Setup,
    Table(u32),
    Buffers,
    Probe,
    Enter,
}

/// What is known of the system, to tell causes apart.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    release: String,
    disabled: Option<u32>,
    seccomp: u32,
    admin: bool,
    memlock_bytes: u64,
    nofile: (u64, u64),
}

impl Refusal {
    pub(crate) fn diagnose(stage: Stage, errno: Errno, host: &Host) -> Self {
        let call = stage.call();
        let release = host.release.clone();
        let filtered = host.seccomp == SECCOMP_FILTER;
        match errno {
            Errno::EPERM | Errno::EACCES => match host.disabled {
                Some(2) => Self::Disabled { value: 2 },
                Some(value) if value != 0 && !host.admin => Self::Disabled { value },
                _ if filtered => Self::Seccomp { call, errno },
                _ => Self::Denied { call, errno },
            },
            Errno::ENOSYS if filtered && version(&release) >= KERNEL_FIRST => {
                Self::Seccomp { call, errno }
            }
            Errno::ENOSYS | Errno::EINVAL if version(&release) < KERNEL_MIN => {
                Self::OldKernel { release, missing: stage.feature() }
            }
            Errno::ENOSYS => Self::NotBuilt { release },
            Errno::ENOMEM if host.memlock_bytes == u64::MAX => Self::Memory,
            Errno::ENOMEM => Self::Memlock { limit_bytes: host.memlock_bytes },
            Errno::EMFILE => match stage {
                Stage::Table(wanted) => {
                    Self::Table { wanted, soft: host.nofile.0, hard: host.nofile.1 }
                }
                _ => Self::Descriptors { soft: host.nofile.0 },
            },
            Errno::ENFILE => Self::Files,
            errno => Self::Other { call, errno, release },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seccomp { call, errno } => write!(
                f,
                "a seccomp filter refuses {call} ({errno:?}): allow io_uring_setup, io_uring_enter \
                 and io_uring_register in the container's profile (--security-opt seccomp=FILE)"
            ),
            Self::Disabled { value: 1 } => f.write_str(
                "kernel.io_uring_disabled is 1, which keeps io_uring from unprivileged users: run \
                 on the host: sysctl -w kernel.io_uring_disabled=0 (or join kernel.io_uring_group)",
            ),
            Self::Disabled { value } => write!(
                f,
                "kernel.io_uring_disabled is {value}, which keeps io_uring from everybody: run on \
                 the host: sysctl -w kernel.io_uring_disabled=0"
            ),
            Self::Denied { call, errno } => write!(
                f,
                "{call} is denied ({errno:?}) by neither a seccomp filter nor \
                 kernel.io_uring_disabled: allow io_uring in the security module (SELinux, \
                 AppArmor; see: journalctl -k --grep=denied)"
            ),
            Self::OldKernel { release, missing } => write!(
                f,
                "Linux {release} lacks {missing} of io_uring: use Linux 6.1 or newer (Debian 12, \
                 Ubuntu 24.04)"
            ),
            Self::NotBuilt { release } => write!(
                f,
                "Linux {release} was built without io_uring: use a kernel with CONFIG_IO_URING=y"
            ),
            Self::Memlock { limit_bytes } => write!(
                f,
                "io_uring needs more locked memory than RLIMIT_MEMLOCK allows ({} KiB): raise it \
                 with: ulimit -l unlimited (systemd: LimitMEMLOCK=infinity; docker: --ulimit \
                 memlock=-1)",
                limit_bytes / 1024
            ),
            Self::Memory => f.write_str(
                "the kernel has no memory for an io_uring: free some, raise the container's memory \
                 limit, or run fewer shards",
            ),
            _ => self.fmt_limit(f),
        }
    }
}

impl Refusal {
    fn fmt_limit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { wanted, soft, hard } => write!(
                f,
                "a table of {wanted} connections is more than the descriptor limit of {soft}: ask \
                 for {soft} or fewer for each shard and run more shards, or raise it with: ulimit \
                 -n {wanted} (the hard limit is {hard})"
            ),
            Self::Descriptors { soft } => write!(
                f,
                "no descriptor is left of {soft} (RLIMIT_NOFILE) for an io_uring: raise it with: \
                 ulimit -n N (systemd: LimitNOFILE; docker: --ulimit nofile=N)"
            ),
            Self::Files => f.write_str(
                "the system has no file left for an io_uring (ENFILE): raise it with: sysctl -w \
                 fs.file-max=N",
            ),
            Self::Other { call, errno, release } => write!(
                f,
                "{call} failed on Linux {release} with {errno:?} ({}): see man 2 {call}",
                errno.desc()
            ),
            _ => unreachable!("the other causes are written by their caller"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Stage {
    fn call(self) -> &'static str {
        match self {
            Self::Doorbell => "eventfd2",
            Self::Setup => "io_uring_setup",
            Self::Table(_) | Self::Buffers | Self::Probe => "io_uring_register",
            Self::Enter => "io_uring_enter",
        }
    }

    fn feature(self) -> &'static str {
        match self {
            Self::Setup => "DEFER_TASKRUN",
            Self::Table(_) => "sparse tables of direct descriptors",
            Self::Buffers => "provided-buffer rings",
            Self::Enter => "multishot receive",
            Self::Doorbell | Self::Probe => "a part",
        }
    }
}

impl Host {
    /// Looks at the calling thread and its system.
    pub(crate) fn look() -> Self {
        // The calling thread's, not the process's: filters are installed on threads.
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let capabilities = field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        Self {
            release: release(),
            disabled: disabled.and_then(|text| text.trim().parse().ok()),
            seccomp: field("Seccomp:").and_then(|mode| mode.parse().ok()).unwrap_or(0),
            admin: capabilities.is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1),
            memlock_bytes: getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |limits| limits.0),
            nofile: getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0)),
        }
    }
}

/// What uname(2) calls the kernel.
pub(crate) fn release() -> String {
    uname().map_or_else(
        |_| "of unknown release".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// Whether this kernel releases closed direct descriptors late: see `receives`.
pub(crate) fn releases_late() -> bool {
    version(&release()) < KERNEL_PROMPT_RELEASE
}

/// Major and minor of a release; 0 where it says none.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            release: "6.8.0-31-generic".to_owned(),
            disabled: Some(0),
            seccomp: 0,
            admin: false,
            memlock_bytes: 8 << 20,
            nofile: (1024, 20_000),
        }
    }

    #[test]
    fn releases_are_read() {
        assert_eq!(version("6.1.0-28-amd64"), (6, 1));
        assert_eq!(version("6.18.44-fc-v657"), (6, 18));
        assert_eq!(version("6.13"), (6, 13));
        assert_eq!(version("weird"), (0, 0));
    }

    #[test]
    fn each_cause_is_told_apart_in_one_line_with_its_mend() {
        let old = || Host { release: "5.10.0-33-amd64".to_owned(), ..host() };
        let filtered = || Host { seccomp: SECCOMP_FILTER, ..host() };
        let disabled = |value| Host { disabled: Some(value), ..filtered() };
        let before_sysctl = || Host { disabled: None, ..filtered() };
        let root = || Host { admin: true, ..disabled(1) };
        let unlimited = || Host { memlock_bytes: u64::MAX, ..host() };
        let setup = Stage::Setup;
        let table = [
            (setup, Errno::EPERM, filtered(), "seccomp filter refuses io_uring_setup (EPERM)"),
            (setup, Errno::EPERM, before_sysctl(), "seccomp filter refuses io_uring_setup"),
            (setup, Errno::ENOSYS, filtered(), "seccomp filter refuses io_uring_setup (ENOSYS)"),
            (Stage::Table(9), Errno::EPERM, filtered(), "filter refuses io_uring_register"),
            (Stage::Enter, Errno::EPERM, filtered(), "filter refuses io_uring_enter"),
            (setup, Errno::EPERM, root(), "seccomp filter"),
            (setup, Errno::EPERM, disabled(1), "sysctl -w kernel.io_uring_disabled=0 (or join"),
            (setup, Errno::EPERM, disabled(2), "from everybody: run on the host: sysctl"),
            (setup, Errno::EPERM, host(), "security module"),
            (setup, Errno::EACCES, host(), "security module"),
            (setup, Errno::EINVAL, old(), "Linux 5.10.0-33-amd64 lacks DEFER_TASKRUN"),
            (setup, Errno::ENOSYS, old(), "use Linux 6.1 or newer"),
            (Stage::Buffers, Errno::EINVAL, old(), "lacks provided-buffer rings"),
            (setup, Errno::ENOSYS, host(), "CONFIG_IO_URING=y"),
            (setup, Errno::ENOMEM, host(), "RLIMIT_MEMLOCK allows (8192 KiB)"),
            (setup, Errno::ENOMEM, unlimited(), "no memory"),
            (Stage::Table(30_000), Errno::EMFILE, host(), "ulimit -n 30000 (the hard limit is 200"),
            (setup, Errno::EMFILE, host(), "no descriptor is left of 1024"),
            (setup, Errno::ENFILE, host(), "fs.file-max"),
            (setup, Errno::EINVAL, host(), "6.8.0-31-generic with EINVAL"),
        ];
        for (stage, errno, host, expected) in table {
            let text = Refusal::diagnose(stage, errno, &host).to_string();
            assert!(text.contains(expected), "{stage:?} {errno:?}: {text}");
            assert!(text.contains(": ") && !text.contains('\n'), "{text}");
        }
    }
}

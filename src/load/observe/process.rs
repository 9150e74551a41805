//! CPU time and memory of processes and threads.
//!
//! CPU time is read from CPU clocks (clock_getcpuclockid(3)): exact to the nanosecond, up to now,
//! threads that have ended included. `utime` and `stime` of `/proc/PID/stat` say the same in ticks
//! of 10 ms, which is what is read where another's clock is refused; the sum of
//! `/proc/PID/task/*/schedstat` would be fine as well, but forgets threads that end.

use std::fs;

use nix::libc::{clockid_t, pid_t};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Ticks of `/proc/PID/stat` in a second: USER_HZ is 100 on every architecture with io_uring but
/// alpha.
const USER_HZ: f64 = 100.0;
/// Where the system does not tell.
const PAGE_BYTES_USUAL: u64 = 4096;

/// A process, told apart from a later one of the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// The name of its program, at most 15 bytes (`comm` of proc(5)).
    pub(crate) name: String,
    /// Ticks from the machine's start to its own.
    started: u64,
}

/// What a process used, and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Use {
    pub(crate) cpu_s: f64,
    pub(crate) rss_bytes: u64,
}

impl Process {
    /// The process of a number, if there is one.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let stat = Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some(Self { pid, name: stat.name, started: stat.started })
    }

    /// The processors that its main thread may run on: of a server that pins its threads it is
    /// what it was given.
    pub(crate) fn cpus(&self) -> Option<Vec<usize>> {
        let pid = pid_t::try_from(self.pid).ok()?;
        let set = sched_getaffinity(Pid::from_raw(pid)).ok()?;
        Some((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
    }

    /// What it uses now; `None` once it is gone.
    pub(crate) fn read(&self) -> Option<Use> {
        let stat = Stat::parse(&fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?)?;
        if stat.started != self.started || stat.is_dead() {
            return None;
        }
        let pid = pid_t::try_from(self.pid).ok()?;
        let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok();
        let exact_s = clock.and_then(seconds_of);
        let cpu_s = exact_s.unwrap_or(stat.ticks as f64 / USER_HZ);
        Some(Use { cpu_s, rss_bytes: stat.rss_pages * page_bytes() })
    }
}

/// What this process uses.
pub(crate) fn own() -> Use {
    let cpu_s = seconds_of(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0.0);
    let text = fs::read_to_string("/proc/self/stat").ok();
    let pages = text.and_then(|text| Stat::parse(&text)).map_or(0, |stat| stat.rss_pages);
    Use { cpu_s, rss_bytes: pages * page_bytes() }
}

/// CPU time of a thread of this process so far, s; `None` once it has ended.
pub(crate) fn thread_cpu_s(tid: pid_t) -> Option<f64> {
    seconds_of(ClockId::from_raw(thread_clock(tid)))
}

/// What pthread_getcpuclockid(3) gives for a thread: the complement of its number, and that it is
/// a thread's (4) and of the scheduler's time (2).
const fn thread_clock(tid: pid_t) -> clockid_t {
    (!tid << 3) | 4 | 2
}

fn seconds_of(clock: ClockId) -> Option<f64> {
    let time = clock_gettime(clock).ok()?;
    Some(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// Bytes of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    let told = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    told.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(PAGE_BYTES_USUAL)
}

/// Fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    /// User and system time.
    ticks: u64,
    started: u64,
    rss_pages: u64,
}

impl Stat {
    /// The name may hold spaces and parentheses, so the fields after it count from the last one.
    fn parse(text: &str) -> Option<Self> {
        let (name, fields) = text.rsplit_once(')')?;
        let name = name.split_once('(')?.1.to_owned();
        // The state is field 3.
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            name,
            state: fields.first()?.chars().next()?,
            ticks: number(14)? + number(15)?,
            started: number(22)?,
            rss_pages: number(24)?,
        })
    }

    /// Whether only its number is left, which its parent has not taken notice of.
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};
    use std::thread;

    use nix::unistd::gettid;

    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let text = "4242 (a) (b c) S 1 4242 4242 0 -1 4194560 2150 0 3 0 117 45 0 0 20 0 9 0 \
                    76543 321654784 5120 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 \
                    0 0 0 0 0 0 0 0 0 0 0\n";
        let stat = Stat::parse(text).expect("a stat");
        let Stat { name, state, ticks, started, rss_pages } = &stat;
        assert_eq!((name.as_str(), *state, *ticks), ("a) (b c", 'S', 162));
        assert_eq!((*started, *rss_pages), (76_543, 5_120));
        assert!(!stat.is_dead());
        for cut in ["", "4242 (name", "4242 (name) S 1 2 3"] {
            assert_eq!(Stat::parse(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn work_shows_in_the_time_of_its_thread_and_of_the_process() {
        let before = own();
        let worker = thread::spawn(|| {
            let tid = gettid().as_raw();
            let start_s = thread_cpu_s(tid).expect("a thread that runs");
            let mut sum = 0_u64;
            while thread_cpu_s(tid).expect("a thread that runs") < start_s + 0.02 {
                sum = sum.wrapping_mul(31).wrapping_add(7);
            }
            (tid, sum)
        });
        let (tid, _) = worker.join().expect("a worker");
        let after = own();
        assert!(after.cpu_s >= before.cpu_s + 0.02, "{before:?} {after:?}");
        assert!(after.rss_bytes > 1 << 20, "{after:?}");
        // The number may be another thread's by now, but seldom.
        assert!(thread_cpu_s(tid).is_none_or(|s| s < 60.0));
    }

    #[test]
    fn another_process_is_read_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("coreutils");
        let process = Process::find(child.id()).expect("it runs");
        assert!(process.read().is_some_and(|used| used.cpu_s < 10.0));
        let other = Process { started: process.started + 1, ..process.clone() };
        assert_eq!(other.read(), None, "a later process of the same number");
        child.kill().expect("our own child");
        // Before it is waited for, its number is still there.
        while process.read().is_some() {
            thread::yield_now();
        }
        child.wait().expect("our own child");
        assert_eq!(Process::find(id()).expect("this one").pid, id());
    }
}

//! Machines of files, and what is said of them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use ringmesh_ring::{Feature, Features, Refusal};

use super::capacity::Kind;
use super::check::State;
use super::host::Trials;
use super::*;

/// A tree of files, removed when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let tree = Self(std::env::temp_dir().join(format!("ringmesh-doctor-{pid}-{number}")));
        for (path, text) in files {
            tree.write(path, text);
        }
        tree
    }

    /// A later text for the same file wins.
    fn with(
        mut files: Vec<(&'static str, &'static str)>,
        more: &[(&'static str, &'static str)],
    ) -> Self {
        files.extend(more);
        Self::new(&files)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn host(&self, trials: Trials) -> Host {
        Host::read(&self.0, trials)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

const STATUS: &str = "Name:\tringmesh\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0\n\
                      Cpus_allowed_list:\t0-7\n";

/// A host that somebody tuned for a million connections: 8 cpus, 64 GiB, control groups version 2.
fn tuned() -> Vec<(&'static str, &'static str)> {
    vec![
        ("proc/sys/kernel/osrelease", "6.14.0-1-generic\n"),
        (
            "proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max processes             250000               250000               processes \n\
             Max open files            1048576              1048576              files     \n\
             Max locked memory         unlimited            unlimited            bytes     \n",
        ),
        ("proc/self/status", STATUS),
        ("proc/self/cgroup", "0::/system.slice/ringmesh.service\n"),
        ("proc/meminfo", "MemTotal: 67108864 kB\nMemFree: 1 kB\nMemAvailable: 62914560 kB\n"),
        ("sys/fs/cgroup/system.slice/ringmesh.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/ringmesh.service/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/system.slice/ringmesh.service/pids.max", "max\n"),
        ("proc/sys/fs/file-nr", "2000\t0\t9223372036854775807\n"),
        ("proc/sys/fs/nr_open", "1073741816\n"),
        ("proc/sys/net/core/somaxconn", "65535\n"),
        ("proc/sys/net/core/netdev_max_backlog", "5000\n"),
        ("proc/sys/net/ipv4/tcp_max_syn_backlog", "8192\n"),
        ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
        ("proc/sys/net/ipv4/tcp_migrate_req", "1\n"),
        ("proc/sys/net/ipv4/tcp_mem", "1000000\t1500000\t2000000\n"),
        ("proc/sys/net/ipv4/tcp_rmem", "4096 131072 6291456\n"),
        ("proc/sys/net/ipv4/tcp_wmem", "4096 16384 4194304\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ]
}

/// A container whose limit of files cannot be raised: 2 cpus, 24 GiB, control groups version 1.
fn contained() -> Vec<(&'static str, &'static str)> {
    let mut files = tuned();
    files.extend([
        (".dockerenv", ""),
        (
            "proc/self/limits",
            "Max processes             96365                96365                processes \n\
             Max open files            1024                 20000                files     \n\
             Max locked memory         8388608              8388608              bytes     \n",
        ),
        (
            "proc/self/status",
            "CapEff:\t000001fffeffffff\nSeccomp:\t2\nNoNewPrivs:\t1\nCpus_allowed_list:\t0-1\n",
        ),
        ("proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/\n1:pids:/\n0::/\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("proc/meminfo", "MemTotal: 24684092 kB\nMemAvailable: 24257496 kB\n"),
        ("proc/sys/fs/file-nr", "525\t0\t2466177\n"),
        ("proc/sys/fs/nr_open", "1048576\n"),
        ("proc/sys/net/core/somaxconn", "4096\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "0\n"),
    ]);
    files
}

fn works() -> Trials {
    let part = |name, offered, used| Feature { name, since: "6.0", offered, used };
    let parts = vec![part("multishot receive", true, true), part("bundles", true, false)];
    Trials { ring: Ok(Features { release: "6.14.0".into(), parts }), tracks: Some(false) }
}

fn tracks() -> Trials {
    Trials { tracks: Some(true), ..works() }
}

fn refused(refusal: Refusal) -> Trials {
    Trials { ring: Err(refusal), tracks: None }
}

/// What a check of a machine is expected to say.
struct Expected {
    machine: Tree,
    trials: Trials,
    asked: Option<u64>,
    name: &'static str,
    state: State,
    found: &'static str,
    means: &'static str,
    mend: Option<&'static str>,
}

fn expected(machine: Tree, trials: Trials, name: &'static str, state: State) -> Expected {
    Expected { machine, trials, asked: None, name, state, found: "", means: "", mend: None }
}

fn assert_told(expectations: Vec<Expected>) {
    for e in expectations {
        let host = e.machine.host(e.trials);
        let report = examine(&host, e.asked);
        let check = report.check(e.name);
        assert_eq!(check.state, e.state, "{check:?}");
        assert!(check.found.contains(e.found), "{}: {check:?}", e.found);
        assert!(check.means.contains(e.means), "{}: {check:?}", e.means);
        match (e.mend, &check.mend) {
            (None, None) => {}
            (Some(part), Some(mend)) => assert!(mend.contains(part), "{part}: {check:?}"),
            (wanted, _) => panic!("{wanted:?}: {check:?}"),
        }
    }
}

#[test]
fn a_tuned_host_has_nothing_to_mend() {
    let host = Tree::new(&tuned()).host(works());
    let report = examine(&host, None);
    assert!(report.is_good());
    let states = report.states();
    assert!(states.iter().all(|(_, state)| *state <= State::Ok), "{states:?}");
    // A shard a core: eight of them hold a million.
    let fit = report.target(1_000_000);
    assert!(fit.fits());
    assert_eq!((fit.shards, fit.clients.as_deref()), (8, None));
    assert_eq!((fit.flags.as_str(), fit.connections_max), ("", 130_816));
    assert!(report.check("system files").found.contains("fs.file-max unlimited"));
    assert!(Capacity::of(&host).limits.iter().all(|limit| limit.kind != Kind::Files));
    let more = examine(&host, Some(2_000_000));
    assert!(more.is_good());
    assert_eq!(more.target(2_000_000).flags, "--shards 8 --connections-max 253006");
}

#[test]
fn where_no_server_starts_without_flags_all_is_not_well() {
    let small = [("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable: 4096 kB\n")];
    let report = examine(&Tree::with(tuned(), &small).host(works()), None);
    let states = report.states();
    assert!(states.iter().all(|(_, state)| *state < State::Fail), "{states:?}");
    assert!(!report.is_good());
    assert!(report.text(Style { colour: false }).contains("\nfail  by default "));
}

#[test]
fn the_soft_limit_of_threads_binds_whom_no_capability_frees() {
    let limits = "Max processes 70 250000 processes\nMax open files 1048576 1048576 files\n";
    let freed = "CapEff:\t0000000001000000\nCpus_allowed_list:\t0-7\n";
    let machine =
        |status| Tree::with(tuned(), &[("proc/self/limits", limits), ("proc/self/status", status)]);
    assert_told(vec![
        Expected {
            found: "RLIMIT_NPROC 70",
            mend: Some("ulimit -u 72"),
            ..expected(machine(STATUS), works(), "threads", State::Fail)
        },
        expected(machine(freed), works(), "threads", State::Ok),
    ]);
    let bound = |status| {
        let host = machine(status).host(works());
        Capacity::of(&host).limits.iter().any(|limit| limit.kind == Kind::Threads)
    };
    assert!(bound(STATUS) && !bound(freed));
}

#[test]
fn io_uring_refused_is_told_apart() {
    let machine = || Tree::new(&contained());
    let seccomp = Refusal::Seccomp { call: "io_uring_setup", errno: Errno::EPERM };
    let table = [
        (Refusal::Disabled { value: 2 }, "disabled by sysctl", "io_uring_disabled=0"),
        (Refusal::Disabled { value: 1 }, "disabled by sysctl", "io_uring_disabled=0"),
        (seccomp, "refused by seccomp", "--security-opt seccomp=FILE"),
        (Refusal::NotBuilt { release: "6.1".into() }, "not built in", "CONFIG_IO_URING=y"),
    ];
    for (refusal, found, mend) in table {
        let line = refusal.to_string();
        let host = machine().host(refused(refusal));
        let report = examine(&host, Some(10));
        let check = report.check("io_uring");
        assert_eq!((check.state, check.found.as_str()), (State::Fail, found));
        assert!(check.mend.as_deref().is_some_and(|m| m.contains(mend)), "{check:?}");
        assert!(!report.is_good() && !report.target(10).fits());
        assert_eq!(report.target(10).refusal.as_deref(), Some(line.as_str()));
        assert_eq!(Capacity::of(&host).most(), 0);
    }
}

#[test]
fn each_group_tells_what_was_found_what_it_means_and_what_mends_it() {
    let old = Tree::with(tuned(), &[("proc/sys/kernel/osrelease", "5.10.0-33-amd64\n")]);
    let late = Tree::with(tuned(), &[("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n")]);
    let queue = Tree::with(tuned(), &[("proc/sys/net/core/somaxconn", "128\n")]);
    let locked = Tree::with(
        tuned(),
        &[(
            "proc/self/limits",
            "Max open files 1024 1048576 files\nMax locked memory 65536 65536 bytes\n",
        )],
    );
    let tiny = Tree::with(tuned(), &[("proc/self/limits", "Max open files 200 200 files\n")]);
    let files = Tree::with(tuned(), &[("proc/sys/fs/file-nr", "1000 0 50000\n")]);
    let slow = Tree::with(
        tuned(),
        &[("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")],
    );
    let huge = Tree::with(
        tuned(),
        &[("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")],
    );
    let saving = Tree::with(
        tuned(),
        &[("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")],
    );
    let quota = Tree::with(
        tuned(),
        &[("sys/fs/cgroup/system.slice/ringmesh.service/cpu.max", "250000 100000\n")],
    );
    let threads = Tree::with(
        tuned(),
        &[
            ("sys/fs/cgroup/system.slice/ringmesh.service/pids.max", "70\n"),
            ("sys/fs/cgroup/system.slice/ringmesh.service/pids.current", "5\n"),
        ],
    );
    let mend = |mend, e: Expected| Expected { mend: Some(mend), ..e };
    let found = |found, e: Expected| Expected { found, ..e };
    use State::{Fail, Info, Ok, Warn};
    assert_told(vec![
        mend("Linux 6.1 or newer", expected(old, works(), "kernel", Fail)),
        expected(late, works(), "kernel", Info),
        mend("somaxconn=65535", found("128", expected(queue, works(), "accept queue", Warn))),
        mend("ulimit -l", found("64 KiB", expected(locked, works(), "locked memory", Fail))),
        mend("ulimit -Hn", expected(tiny, works(), "open files", Fail)),
        mend("fs.file-max=105096", expected(files, works(), "system files", Warn)),
        mend("clocksource=tsc", found("hpet", expected(slow, works(), "clock", Warn))),
        mend("echo madvise", found("always", expected(huge, works(), "huge pages", Warn))),
        mend("performance", found("powersave", expected(saving, works(), "frequency", Warn))),
        mend("cpuset", found("allows 2", expected(quota, works(), "cpus", Warn))),
        mend("allow 72", found("5 of 70", expected(threads, works(), "threads", Fail))),
        found("not loaded", expected(Tree::new(&tuned()), works(), "conntrack", Ok)),
    ]);
}

#[test]
fn a_container_with_few_files_needs_more_shards() {
    let machine = || Tree::new(&contained());
    assert_told(vec![
        Expected {
            found: "20,000 hard; fs.nr_open 1,048,576",
            means: "each shard holds 19,744 connections",
            mend: Some("more --shards (see below), or ulimit -Hn 65536"),
            ..expected(machine(), works(), "open files", State::Warn)
        },
        Expected { found: "/.dockerenv", ..expected(machine(), works(), "container", State::Info) },
        Expected {
            found: "filter, no new privileges",
            means: "lets io_uring through",
            ..expected(machine(), works(), "seccomp", State::Info)
        },
        Expected { found: "8,192 KiB", ..expected(machine(), works(), "locked memory", State::Ok) },
    ]);
    let host = machine().host(works());
    let capacity = Capacity::of(&host);
    assert_eq!(capacity.by_default(), Ok((2, 39_488, 37_796)));
    assert_eq!(capacity.limits[0].kind, Kind::Files);
    assert_eq!(capacity.most(), 2_466_177 - 525 - 4_096);
    let report = examine(&host, None);
    let (hundred, million) = (report.target(100_000), report.target(1_000_000));
    assert_eq!((hundred.shards, million.shards), (6, 54));
    assert!(hundred.fits() && million.fits());
}

#[test]
fn conntrack_binds_where_it_tracks() {
    let machine = || Tree::new(&contained());
    let million = |e: Expected| Expected { asked: Some(1_000_000), ..e };
    let mend = Some("nf_conntrack_max=1250304");
    assert_told(vec![
        expected(machine(), works(), "conntrack", State::Ok),
        expected(machine(), tracks(), "conntrack", State::Info),
        Expected {
            means: "one NAT rule",
            mend,
            ..million(expected(machine(), works(), "conntrack", State::Warn))
        },
        Expected {
            means: "262,144 more fit",
            mend,
            ..million(expected(machine(), tracks(), "conntrack", State::Fail))
        },
    ]);
    let host = machine().host(tracks());
    let capacity = Capacity::of(&host);
    assert_eq!((capacity.most(), capacity.limits[0].kind), (262_144, Kind::Conntrack));
    assert!(!examine(&host, Some(262_145)).is_good());
    assert!(examine(&host, Some(262_144)).is_good());
    assert!(examine(&host, None).target(1_000_000).short[0].1.contains("NOTRACK"));
}

#[test]
fn a_tiny_control_group_binds_first() {
    let group = [
        ("sys/fs/cgroup/system.slice/ringmesh.service/memory.max", "67108864\n"),
        ("sys/fs/cgroup/system.slice/ringmesh.service/memory.current", "12582912\n"),
        (
            "sys/fs/cgroup/system.slice/ringmesh.service/memory.stat",
            "anon 1\ninactive_file 2097152\n",
        ),
    ];
    let host = Tree::with(tuned(), &group).host(works());
    assert_eq!(host.memory.bytes, 64 << 20);
    assert_eq!(host.memory_free, 54 << 20);
    let capacity = Capacity::of(&host);
    assert_eq!(capacity.limits[0].kind, Kind::Memory);
    let most = capacity.most();
    assert!((1_000..9_000).contains(&most), "{most}");
    assert!(examine(&host, Some(most)).is_good());
    let report = examine(&host, Some(most + 1));
    assert!(!report.is_good());
    assert!(report.target(most + 1).short[0].1.contains("docker: --memory"));
    let look = report.check("memory limit");
    assert!(look.found.contains("memory.max"), "{look:?}");
}

#[test]
fn what_fits_is_what_the_configuration_takes() {
    let few = [("proc/self/limits", "Max open files 1024 4096 files\n")];
    for files in [tuned(), contained(), [tuned(), few.to_vec()].concat()] {
        let host = Tree::new(&files).host(works());
        let (capacity, machine) = (Capacity::of(&host), host.machine());
        let most = capacity.most();
        assert!(capacity.fit(most).fits() && !capacity.fit(most + 1).fits());
        for connections in [1, 1_000, 30_000, 37_797, 100_000, 500_000, 1_000_000, most] {
            let fit = capacity.fit(connections);
            assert!(fit.fits(), "{connections}: {fit:?}");
            let plan = planned(&machine, fit.shards, fit.connections_max).expect("a plan");
            assert!(fit.shards * fit.connections_max >= connections);
            // The plan has room for an uneven spread, and never needs less.
            assert!(plan.memory.resident() + plan.memory.kernel >= fit.memory_idle);
        }
        let places = crate::config::places_of(machine.nofile);
        assert!(planned(&machine, 2, places).is_ok());
        let refusal = planned(&machine, 2, places + 1).expect_err("one too many").to_string();
        assert!(refusal.contains("--shards"), "{refusal}");
        let shards = crate::config::shards_most(&machine);
        assert!(planned(&machine, shards, 1_000).is_ok());
        assert!(planned(&machine, shards + 1, 1_000).is_err());
    }
}

fn planned(
    machine: &crate::config::Machine,
    shards: u64,
    connections: u64,
) -> Result<crate::Plan, crate::config::ConfigError> {
    use crate::config::{Count, Settings, Source, resolve};
    let count = |n: u64| Some(Count(u32::try_from(n).expect("a number")));
    let flags = Settings {
        shards: count(shards),
        connections_max: count(connections),
        ..Settings::default()
    };
    resolve(&Source { flags, ..Source::default() }, machine)
}

#[test]
fn an_empty_tree_is_no_reason_to_fall() {
    let host = Tree::new(&[("proc/nothing", "")]).host(works());
    let report = examine(&host, None);
    assert!(!report.text(Style { colour: true }).is_empty());
    assert!(serde_json::from_str::<serde_json::Value>(&report.json()).is_ok());
}

#[test]
fn the_table_is_narrow_and_the_document_whole() {
    let host = Tree::new(&contained()).host(tracks());
    let report = examine(&host, Some(3_000_000));
    let text = report.text(Style { colour: false });
    let wide = text.lines().find(|line| line.chars().count() > 100);
    assert!(wide.is_none() && !text.contains('\x1b'), "{wide:?}");
    let document: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
    assert_eq!(document["ok"], false);
    assert_eq!(document["asked"][0]["fits"], false);
    assert_eq!(document["asked"][0]["short"][0]["name"], "by conntrack");
    let states = document["checks"].as_array().expect("checks").iter().map(|c| &c["state"]);
    let known = ["ok", "info", "warn", "fail"];
    assert!(states.clone().count() > 20);
    assert!(states.clone().all(|state| known.contains(&state.as_str().unwrap_or_default())));
}

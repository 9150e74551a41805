//! Text in, a plan or one line out.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args as _, Command, FromArgMatches as _};
use ringmesh_runtime::limits::Limits;

use super::*;

const GIB: u64 = 1 << 30;

fn machine() -> Machine {
    Machine {
        nofile: 20_000,
        memory: MemoryLimit { bytes: 16 * GIB, source: "MemTotal".into() },
        cpus: vec![0, 1, 2, 3],
        cpu_quota: None,
    }
}

fn flags(line: &str) -> Settings {
    let command = Settings::augment_args(Command::new("ringmesh").no_binary_name(true));
    let matches = command.try_get_matches_from(line.split(' ').filter(|word| !word.is_empty()));
    Settings::from_arg_matches(&matches.expect("flags that clap takes")).expect("settings")
}

fn plan(line: &str, file: Option<&str>, machine: &Machine) -> Result<Plan, ConfigError> {
    let file = file.map(|text| File::parse(Path::new("ringmesh.toml"), text)).transpose()?;
    resolve(&Source { flags: flags(line), file, stdio: false }, machine)
}

fn stdio(line: &str, file: Option<&str>, machine: &Machine) -> Result<Plan, ConfigError> {
    let file = file.map(|text| File::parse(Path::new("ringmesh.toml"), text)).transpose()?;
    resolve(&Source { flags: flags(line), file, stdio: true }, machine)
}

fn good(line: &str) -> Plan {
    plan(line, None, &machine()).expect("a good plan")
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ringmesh.example.toml");
    fs::read_to_string(path).expect("the example")
}

/// The example with its commented keys brought to life.
fn whole_example() -> String {
    let live = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    example().lines().map(|line| live(line) + "\n").collect()
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let plan = good("");
    assert_eq!(plan.http, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(plan.admin, "127.0.0.1:9180".parse().unwrap());
    assert_eq!((plan.path.as_str(), plan.log.as_str()), ("/mcp", "info"));
    assert_eq!((plan.shards, plan.cpus.as_slice()), (4, &[0, 1, 2, 3][..]));
    assert_eq!((plan.threads.for_async, plan.threads.for_blocking), (4, 16));
    assert_eq!(plan.grace_ms, 25_000);
    let budget_bytes = usize::try_from(GIB).unwrap();
    let limits = Limits {
        connections_max: 19_744,
        streams_max: 19_744,
        sessions_max: 19_744,
        sessions_per_address_max: 4_936,
        budget_bytes,
        ..Limits::default()
    };
    assert_eq!(plan.limits, limits);
    assert_eq!(plan.limits.head_timeout_ms, 10_000);
    assert_eq!(plan.limits.idle_timeout_ms, 120_000);
    assert_eq!(plan.limits.tool_timeout_ms, 60_000);
    assert_eq!(plan.ring().table, 20_000);
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert!(plan.memory.total() > 4 * GIB && plan.memory.total() < 6 * GIB);
}

#[test]
fn the_example_is_the_default() {
    let mut from_example = plan("", Some(&example()), &machine()).expect("the example");
    assert_eq!(from_example.file.take(), Some(PathBuf::from("ringmesh.toml")));
    assert_eq!(from_example, good(""));
}

#[test]
fn the_example_shows_every_setting() {
    let text = whole_example();
    let file = File::parse(Path::new("example"), &text).expect("the example's comments");
    let command = Settings::augment_args(Command::new("ringmesh"));
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        let line = format!("\n{flag} = ");
        assert!(text.contains(&line), "{flag} is missing");
        assert_ne!(file.place_of(flag), "example:1:1", "{flag} has no place");
    }
}

#[test]
fn flags_override_the_file_which_overrides_defaults() {
    let file = "grace = '5s'\nshards = 7\nhttp = ['127.0.0.1:1', '[::1]:2']\n";
    let plan = plan("--shards 9 --allow-host a --allow-host b", Some(file), &machine()).unwrap();
    assert_eq!((plan.shards, plan.grace_ms), (9, 5_000));
    assert_eq!(plan.http, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    assert_eq!(plan.allowed.hosts, ["a", "b"]);
    assert_eq!(plan.path, "/mcp");
}

#[test]
fn shards_follow_the_cpus_and_may_exceed_them() {
    assert_eq!(good("--cpus 1,3").shards, 2);
    let many = good("--cpus 1,3 --shards 5");
    assert_eq!((many.shards, many.cpus.as_slice()), (5, &[1, 3][..]));
    let quota = Machine { cpu_quota: Some(2), ..machine() };
    let unpinned = plan("", None, &quota).expect("a good plan");
    assert_eq!((unpinned.shards, unpinned.cpus.len()), (2, 0));
    assert!(unpinned.notes[0].starts_with("shards 2, not pinned: "), "{:?}", unpinned.notes);
    let pinned = plan("--cpus 0-3", None, &quota).expect("a good plan");
    assert_eq!((pinned.shards, pinned.cpus.len()), (4, 4));
}

#[test]
fn defaults_fit_the_machine_and_say_so() {
    let notes = good("").notes;
    assert_eq!(
        notes,
        [
            "connections-max 19744: what RLIMIT_NOFILE of 20000 holds less 256 (more: ulimit -n)",
            "memory-max 4 GiB: a quarter of 16 GiB (MemTotal)",
        ]
    );
    let tuned = Machine { nofile: 1 << 30, ..machine() };
    assert_eq!(plan("", None, &tuned).unwrap().limits.connections_max, 131_072 - 256);
    let source = "/sys/fs/cgroup/memory.max".to_owned();
    let small =
        Machine { nofile: 1 << 30, memory: MemoryLimit { bytes: 16 << 20, source }, ..machine() };
    let plan = plan("", None, &small).unwrap();
    assert!(plan.limits.connections_max < 500, "{}", plan.limits.connections_max);
    assert_eq!(plan.limits.budget_bytes, 1 << 20);
    assert_eq!(plan.limits.body_bytes_max, 512 << 10);
    assert_eq!(plan.limits.send_bytes_max, 1 << 20);
    assert_eq!(plan.notes.len(), 4, "{:?}", plan.notes);
    assert!(plan.warnings[0].contains("the plan needs"), "{:?}", plan.warnings);
}

/// Flags, exit code, line.
type Refused<'a> = (&'a str, u8, &'a str);

fn assert_refused(table: &[Refused<'_>]) {
    for &(line, code, expected) in table {
        let error = plan(line, None, &machine()).expect_err(line);
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.exit_code(), code, "{line}");
    }
}

#[test]
fn wrong_flags_get_one_line() {
    assert_refused(&[
        ("--shards 0", 64, "--shards 0: use 1 to 1024"),
        ("--shards 1025", 64, "--shards 1025: use 1 to 1024"),
        ("--cpus 7", 78, "--cpus 7: cpu 7 is not this process's: choose from 0-3"),
        ("--calls-max 0", 64, "--calls-max 0: use 1 to 65536"),
        ("--buffers 100", 64, "--buffers 100: use a power of two from 8 to 32768"),
        ("--buffers 65536", 64, "--buffers 65536: use a power of two from 8 to 32768"),
        ("--buffer-bytes 64", 64, "--buffer-bytes 64 B: use 512 B to 1 MiB"),
        ("--head-timeout 0s", 64, "--head-timeout 0s: use 1ms to 24h"),
        ("--grace 25h", 64, "--grace 25h: use 0s to 24h"),
        ("--keep-alive 1ms", 64, "--keep-alive 1ms: use 1s to 24h"),
        ("--path mcp", 64, "--path \"mcp\": write a plain path such as /mcp"),
        ("--path /a?b", 64, "--path \"/a?b\": write a plain path such as /mcp"),
        (
            "--http 127.0.0.1:1 --http 127.0.0.1:1",
            64,
            "--http 127.0.0.1:1: it is named twice: name it once",
        ),
        (
            "--http 127.0.0.1:1 --admin 127.0.0.1:1",
            64,
            "--admin 127.0.0.1:1: HTTP is served there: choose another port for one of them",
        ),
        (
            "--allow-host https://a",
            64,
            "--allow-host \"https://a\": write a host such as mcp.example, without scheme and path",
        ),
        (
            "--allow-origin a.example",
            64,
            "--allow-origin \"a.example\": write scheme and host such as https://app.example, \
             without a path",
        ),
        (
            "--allow-origin https://a.example/",
            64,
            "--allow-origin \"https://a.example/\": write scheme and host such as \
             https://app.example, without a path",
        ),
        (
            "--log inof",
            64,
            "--log \"inof\": use error, warn, info, debug, trace, or a filter such as \
             info,ringmesh=debug",
        ),
        (
            "--state-key-file /nowhere/key",
            78,
            "--state-key-file /nowhere/key: No such file or directory (os error 2)",
        ),
    ]);
}

#[test]
fn wrong_flags_of_lines_and_sessions_get_one_line() {
    assert_refused(&[
        (
            "--tcp 127.0.0.1:1 --tcp 127.0.0.1:1",
            64,
            "--tcp 127.0.0.1:1: it is named twice: name it once",
        ),
        (
            "--http 127.0.0.1:1 --tcp 127.0.0.1:1",
            64,
            "--tcp 127.0.0.1:1: HTTP is served there: choose another port for one of them",
        ),
        (
            "--tcp 127.0.0.1:9180",
            64,
            "--admin 127.0.0.1:9180 (the default): lines over TCP are served there: choose another \
             port for one of them",
        ),
        ("--unix /a --unix /a", 64, "--unix /a: it is named twice: name it once"),
        ("--sessions-per-address-max 0", 64, "--sessions-per-address-max 0: use 1 to 4294967295"),
        ("--session-timeout 0s", 64, "--session-timeout 0s: use 1ms to 24h"),
        ("--session-events-max 2000000", 64, "--session-events-max 2000000: use 0 to 1048576"),
        ("--session-event-bytes 2GiB", 64, "--session-event-bytes 2 GiB: use 0 B to 1 GiB"),
    ]);
}

#[test]
fn limits_that_are_too_low_for_a_flag_get_one_line() {
    assert_refused(&[
        ("--connections-max 0", 64, "--connections-max 0: use 1 to 19744"),
        (
            "--connections-max 19745",
            78,
            "--connections-max 19745: RLIMIT_NOFILE is 20000 and 256 entries answer refusals, so \
             19744 fit each shard: raise it with ulimit -n 20001 (LimitNOFILE=20001 in a unit), or \
             use more --shards",
        ),
        (
            "--connections-max 2000000",
            78,
            "--connections-max 2000000: a shard holds at most 1048320: use more --shards",
        ),
        (
            "--memory-max 17GiB",
            78,
            "--memory-max 17 GiB: the memory is 16 GiB (MemTotal): use less",
        ),
        (
            "--memory-max 1MiB --shards 5",
            64,
            "--memory-max 1 MiB: 5 shards need 1.3 MiB or more, or use fewer --shards",
        ),
        (
            "--memory-max 16MiB --body-max 5MiB",
            78,
            "--body-max 5 MiB: the byte budget of a shard is 4 MiB: use less, raise --memory-max, \
             or use fewer --shards",
        ),
        ("--send-max 1", 64, "--send-max 1 B: use 1 KiB or more"),
    ]);
}

#[test]
fn wrong_files_get_one_line_with_the_place() {
    const HELP: &str = "`ringmesh --help` lists the settings, a flag and a key sharing each name";
    let unknown = format!("ringmesh.toml:2:1: unknown key `shard`: {HELP}");
    for (text, expected) in [
        ("grace = '1s'\nshard = 2\n", unknown.as_str()),
        ("\n\nshards = 0\n", "ringmesh.toml:3:10: shards = 0: use 1 to 1024"),
        (
            "shards = 'two'",
            "ringmesh.toml:1:10: invalid type: string \"two\", write a whole number from 0 to \
             4294967295",
        ),
        (
            "shards = -1",
            "ringmesh.toml:1:10: invalid value: integer `-1`, write a whole number from 0 to \
             4294967295",
        ),
        ("grace = 25", "ringmesh.toml:1:9: invalid type: integer `25`, expected a string"),
        (
            "grace = '25'",
            "ringmesh.toml:1:9: `25`: write a whole number with ms, s, m or h, such as 500ms or \
             10s",
        ),
        (
            "body-max = '4MB'",
            "ringmesh.toml:1:12: `4MB`: write a whole number of bytes, or one with KiB, MiB or \
             GiB, such as 64MiB",
        ),
        (
            "http = ['127.0.0.1:80', 'localhost:80']",
            "ringmesh.toml:1:8: `localhost:80`: write ADDR:PORT, such as 127.0.0.1:8080 or \
             [::1]:8080",
        ),
        ("http = []", "ringmesh.toml:1:8: http = []: name at least one address"),
        (
            "cpus = '3-1'",
            "ringmesh.toml:1:8: `3-1`: write a list of cpus from 0 to 1023, such as 0,2-3",
        ),
        (
            "# ä\nconnections-max = 30000",
            "ringmesh.toml:2:19: connections-max = 30000: RLIMIT_NOFILE is 20000 and 256 entries \
             answer refusals, so 19744 fit each shard: raise it with ulimit -n 30256 \
             (LimitNOFILE=30256 in a unit), or use more --shards",
        ),
        ("grace = '1s'\ngrace = '2s'\n", "ringmesh.toml:2:1: duplicate key"),
        ("grace = \n", "ringmesh.toml:1:9: string values must be quoted, expected literal string"),
    ] {
        let error = plan("", Some(text), &machine()).expect_err(text);
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.exit_code(), 78, "{text}");
    }
    let missing = File::read(Path::new("/nowhere/ringmesh.toml")).expect_err("no such file");
    assert_eq!(
        missing.to_string(),
        "/nowhere/ringmesh.toml: cannot read the configuration: No such file or directory (os \
         error 2)"
    );
}

#[test]
fn limits_that_are_too_low_for_any_server_get_one_line() {
    let files = Machine { nofile: 256, ..machine() };
    let error = plan("--shards 100", None, &files).expect_err("too few files");
    assert_eq!(
        error.to_string(),
        "100 shards need 428 open files and RLIMIT_NOFILE is 256: raise it with ulimit -n 428 \
         (LimitNOFILE=428 in a unit), or use fewer --shards"
    );
    let none = plan("--shards 1", None, &files).expect_err("no place for a connection");
    assert_eq!(
        none.to_string(),
        "RLIMIT_NOFILE is 256 and 256 entries of each shard's table answer refusals: raise it with \
         ulimit -n 4096 (LimitNOFILE=4096 in a unit)"
    );
    let memory = MemoryLimit { bytes: 2 << 20, source: "MemTotal".into() };
    let error = plan("", None, &Machine { memory, ..machine() }).expect_err("too little memory");
    assert_eq!(
        error.to_string(),
        "4 shards need a byte budget of 1 MiB and a quarter of 2 MiB (MemTotal) is less: use fewer \
         --shards, or raise the limit"
    );
    for error in [error, none] {
        assert_eq!(error.exit_code(), 78);
    }
}

#[test]
fn secrets_are_read_whole_and_never_shown() {
    let path = std::env::temp_dir().join(format!("ringmesh-secret-{}", std::process::id()));
    let flag = format!("--state-key-file {}", path.display());
    let write = |bytes: &[u8], mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write(&[b'\n'; 32], 0o600);
    let private = good(&flag);
    assert_eq!(private.state_secret.as_ref().unwrap().as_bytes(), [b'\n'; 32]);
    assert!(private.warnings.is_empty());
    assert!(format!("{private:?}").contains("Secret(..)"));
    write(&[b'k'; 33], 0o644);
    let exposed = good(&flag);
    assert!(exposed.warnings[0].contains("chmod o= "), "{:?}", exposed.warnings);
    write(&[b'k'; 31], 0o600);
    let short = plan(&flag, None, &machine()).expect_err("too short");
    assert!(short.to_string().contains("31 bytes are too few"), "{short}");
    fs::remove_file(&path).unwrap();
}

#[test]
fn lines_are_served_where_it_is_said_and_nowhere_else() {
    let alone = plan("", Some("http = []\nunix = ['/a']"), &machine()).expect("a good plan");
    assert_eq!(alone.http, []);
    let plan = good("--tcp 127.0.0.1:1 --tcp [::1]:0 --tcp [::1]:0 --unix /a --unix b/c");
    assert_eq!(plan.http.len(), 1, "the default stays");
    assert_eq!(plan.tcp.len(), 3);
    assert_eq!(plan.unix, [Path::new("/a"), Path::new("b/c")]);
    assert_eq!(plan.warnings, Vec::<String>::new());
    let text = plan.to_string();
    assert!(text.contains("\ntcp          127.0.0.1:1, [::1]:0, [::1]:0\nunix         /a\n"));
    let exposed = good("--tcp 0.0.0.0:1").warnings;
    assert_eq!(
        exposed,
        ["0.0.0.0:1 serves lines to whoever reaches it: there is no authentication and no check \
          of Host and Origin as over HTTP (loopback: --tcp 127.0.0.1:1)"]
    );
    assert!(good("").tcp.is_empty() && good("").unix.is_empty());
}

#[test]
fn sessions_follow_connections_and_loopback_is_bound_where_it_is_said() {
    let limits = good("--connections-max 1000").limits;
    assert_eq!((limits.sessions_max, limits.sessions_per_address_max), (1_000, 250));
    assert!(!limits.bounds_loopback_sessions);
    let limits = good("--sessions-max 3").limits;
    assert_eq!((limits.sessions_max, limits.sessions_per_address_max), (3, 1));
    let flags = "--sessions-max 0 --sessions-per-address-max 7 --session-timeout 1m \
                 --input-timeout 2m --session-events-max 3 --session-event-bytes 4KiB \
                 --session-event-age 5m";
    let limits = good(flags).limits;
    assert_eq!((limits.sessions_max, limits.sessions_per_address_max), (0, 7));
    assert!(limits.bounds_loopback_sessions);
    assert_eq!((limits.session_timeout_ms, limits.input_timeout_ms), (60_000, 120_000));
    assert_eq!((limits.session_events_max, limits.session_event_bytes_max), (3, 4_096));
    assert_eq!(limits.session_event_age_ms, 300_000);
}

#[test]
fn listeners_need_places_for_what_they_accept() {
    let paths: String = (0..11).map(|n| format!(" --unix /{n}")).collect();
    let error = plan(&format!("--connections-max 100{paths}"), None, &machine()).expect_err("12");
    assert_eq!(error.exit_code(), 78);
    assert_eq!(
        error.to_string(),
        "12 listeners take 384 places of a shard that has 356: use --connections-max 128 or more, \
         or fewer listeners"
    );
    good(&format!("--connections-max 128{paths}"));
}

#[test]
fn stdio_is_alone_and_needs_little_of_the_machine() {
    let file = "http = ['127.0.0.1:1']\nadmin = '127.0.0.1:1'\nshards = 7\ngrace = '3s'\n";
    // Even fewer files than a ring's table keeps for refusals are enough.
    let machine = Machine { nofile: 64, cpu_quota: Some(3), ..machine() };
    let plan = stdio("", Some(file), &machine).expect("the file's listeners are for another one");
    assert!(plan.stdio && plan.http.is_empty() && plan.tcp.is_empty() && plan.unix.is_empty());
    assert_eq!((plan.shards, plan.cpus.len(), plan.grace_ms), (1, 0, 3_000));
    assert_eq!((plan.limits.connections_max, plan.limits.streams_max), (1, 1_024));
    assert!(plan.limits.idle_timeout_ms > 100 * 24 * 60 * 60 * 1_000, "silence is no end");
    let text = plan.to_string();
    assert!(text.contains("stdio        one client; no listener, no io_uring, no admin\n"));
    assert!(!text.contains("127.0.0.1"), "{text}");
    for flag in ["http 127.0.0.1:1", "tcp 127.0.0.1:1", "unix /a", "admin [::1]:1", "shards 1"] {
        let error = stdio(&format!("--{flag}"), None, &machine).expect_err(flag);
        let name = flag.split(' ').next().expect("a name");
        assert_eq!(error.exit_code(), 64);
        assert_eq!(
            error.to_string(),
            format!(
                "--stdio serves the client that started it and nobody else: leave --{name} out"
            )
        );
    }
}

#[test]
fn a_plan_tells_where_names_will_not_be_answered() {
    assert!(good("--http 0.0.0.0:8080").warnings[0].contains("add --allow-host NAME"));
    assert!(good("--http 0.0.0.0:8080 --allow-host *").warnings.is_empty());
}

#[test]
fn the_report_names_everything_that_counts() {
    let text = good("--allow-host mcp.example --grace 3s").to_string();
    for part in [
        "http         127.0.0.1:8080 path /mcp",
        "hosts        loopback, mcp.example",
        "shards       4 on cpus 0-3",
        "connections  19744 a shard (78976 in all; 256 more places answer refusals), 19744 streams",
        "sessions     19744 a shard, 4936 of one address (loopback: no bound); each keeps 256 events \
         of 1 MiB for 300s",
        "time-outs    head 10s, body 30s, idle 120s, send 30s, tool 60s, session 1800s, input \
         600s; keep-alive every 25s; grace 3s",
        "memory       ",
        "note         connections-max 19744: ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.ends_with('\n'));
}

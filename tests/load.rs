//! `ringmesh load` with the real program on both ends: what runs come to, and what it says where
//! they cannot.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::server::ringmesh;
use support::{Server, wait_for};

/// What a folder holds whose run is complete.
const FILES: [&str; 13] = [
    "connections.csv",
    "latency.csv",
    "latency.hgrm",
    "latency.hlog",
    "manifest.json",
    "node-metrics.csv",
    "report.html",
    "resource-usage.csv",
    "scenario.toml",
    "shards.csv",
    "summary.json",
    "summary.txt",
    "targets.csv",
];
/// What marks a folder as no result.
const INCOMPLETE: &str = "INCOMPLETE";

/// Ten clients that call for a second.
const SMALL: &str = "
connections = 10
[[workload]]
kind = \"http\"
[[phase]]
kind = \"hold\"
duration = \"1s\"
rate = 100
";

/// A folder of one test's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ringmesh-load-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn scenario(&self, text: &str) -> PathBuf {
        let path = self.0.join("scenario.toml");
        fs::write(&path, text).expect("a file");
        path
    }

    fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    /// A run of this scenario, whose results go to [`Self::out`].
    fn load(&self, scenario: &str, flags: &[&str]) -> Command {
        let mut command = ringmesh("load");
        command.arg(self.scenario(scenario)).args(["--plain", "--out"]).arg(self.out());
        command.args(flags);
        command
    }

    fn summary(&self) -> Value {
        let text = fs::read_to_string(self.out().join("summary.json")).expect("a summary");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Asserts that nobody takes what is there for a whole result; gives the reason.
    fn assert_marked(&self) -> String {
        fs::read_to_string(self.out().join(INCOMPLETE)).expect("a mark")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn http(server: &Server) -> String {
    format!("http://{}/mcp", server.http)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs to the end, whole and as expected; gives the summary.
fn completes(folder: &Folder, command: Command) -> Value {
    let summary = completes_with_cuts(folder, command);
    assert_eq!(summary["requests"], summary["answered"], "{summary:#}");
    summary
}

/// The same of a run whose scenario cuts clients, perhaps while they call.
fn completes_with_cuts(folder: &Folder, mut command: Command) -> Value {
    let output = command.output().expect("the program");
    let (told, log) = (text_of(&output.stdout), text_of(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}\n{log}");
    for file in FILES {
        let about = fs::metadata(folder.out().join(file));
        assert!(about.is_ok_and(|about| about.len() > 0), "{file}");
    }
    assert!(!folder.out().join(INCOMPLETE).exists());
    let summary = folder.summary();
    assert_eq!(summary["ended"]["state"], "complete", "{summary:#}");
    assert_eq!(summary["errors"], 0, "{summary:#}");
    assert_eq!(summary["connections"]["failed"], 0, "{summary:#}");
    assert_eq!(summary["connections"]["lost"], 0, "{summary:#}");
    summary
}

/// Asserts the exit code and that one line says all of this, and that nothing looks like a result.
fn assert_refused(folder: &Folder, output: &Output, code: i32, parts: &[&str]) {
    let log = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("ringmesh: "), "{log}");
    assert!(parts.iter().all(|part| log.contains(part)), "{log} says {parts:?}");
    assert!(output.stdout.is_empty(), "nothing was run");
    assert!(!folder.out().join("summary.json").exists());
}

fn refuses(folder: &Folder, scenario: &str, flags: &[&str], code: i32, parts: &[&str]) {
    let output = folder.load(scenario, flags).output().expect("the program");
    assert_refused(folder, &output, code, parts);
}

fn by_name<'s>(summary: &'s Value, what: &str, name: &str) -> &'s Value {
    let parts = summary[what].as_array().expect("a list");
    parts.iter().find(|part| part["name"] == name).unwrap_or_else(|| panic!("{name}: {summary:#}"))
}

const EVERY_KIND: &str = "
title = \"Every kind\"
connections = 24
first_call = true

[[workload]]
kind = \"http\"

[[workload]]
name = \"greedy\"
kind = \"http\"
connections = 1
loop = \"closed\"
depth = 4

[[workload]]
kind = \"http-session\"
version = \"2025-06-18\"

[[workload]]
name = \"polling\"
kind = \"http-session\"
stream = false

[[workload]]
kind = \"listen\"
uris = [\"ringmesh://counters/0\", \"ringmesh://counters/1\"]

[[workload]]
kind = \"tcp\"
payload = \"1KiB\"

[[workload]]
kind = \"tcp-session\"
version = \"2025-03-26\"

[[phase]]
kind = \"ramp\"
duration = \"500ms\"
steps = 2

[[phase]]
kind = \"hold\"
duration = \"1500ms\"
rate = 300
trigger = { every = \"500ms\" }

[[phase]]
kind = \"burst\"
duration = \"500ms\"
rate = 1_000
arrivals = \"constant\"

[[phase]]
kind = \"churn\"
duration = \"1s\"
rate = 100
churn = 20

[[phase]]
kind = \"drain\"
duration = \"500ms\"
";

#[test]
fn every_kind_of_client_does_its_work_and_is_counted() {
    let server = Server::start("--tcp 127.0.0.1:0 --shards 2");
    let folder = Folder::new("every");
    let tcp = format!("tcp://{}", server.tcp[0]);
    let admin = format!("http://{}", server.admin);
    let http = http(&server);
    let flags = ["--target", &*http, "--target", &*tcp, "--admin", &*admin];
    let mut command = folder.load(EVERY_KIND, &flags);
    command.args(["--shards", "2", "--assert", "errors=0", "--assert", "delivery.max<30s"]);
    let summary = completes_with_cuts(&folder, command);
    assert_eq!(summary["title"], "Every kind");
    let count = |what: &str| summary[what].as_u64().expect("a count");
    // Whoever leaves may have a few calls in flight.
    assert!(count("requests") - count("answered") <= 200, "{summary:#}");
    assert_eq!(summary["connections"]["wanted"], 24);
    assert_eq!(summary["connections"]["established"], 24);
    let names = ["http", "greedy", "http-session", "polling", "tcp", "tcp-session"];
    for name in names {
        let answered = by_name(&summary, "workloads", name)["answered"].as_u64().expect("a count");
        let clients = by_name(&summary, "workloads", name)["connections"]["wanted"].as_u64();
        assert!(answered >= clients.expect("a count"), "{name}: {summary:#}");
    }
    // 3 changes reach each of the listeners, unless a churn takes it away just then.
    let listen = by_name(&summary, "workloads", "listen");
    let (clients, updates) = (listen["connections"]["wanted"].as_u64(), listen["updates"].as_u64());
    assert!(updates >= clients.map(|clients| 2 * clients), "{listen:#}");
    assert_eq!(listen["requests"], 0, "{listen:#}");
    for phase in ["hold", "burst", "churn"] {
        assert!(by_name(&summary, "phases", phase)["answered"].as_u64() > Some(50), "{summary:#}");
    }
    assert!(summary["latency_ms"]["p99"].as_f64() > Some(0.0), "{summary:#}");
    assert!(summary["first_call_ms"]["count"].as_u64() >= Some(20), "{summary:#}");
    assert_eq!(summary["server"]["pids"], 1, "found by its port: {summary:#}");
    let nodes = fs::read_to_string(folder.out().join("node-metrics.csv")).expect("a file");
    assert!(nodes.lines().count() > 2, "{nodes}");
    // What was run can be run again.
    let again = fs::read_to_string(folder.out().join("scenario.toml")).expect("a scenario");
    let check = ringmesh("load --check").arg(folder.scenario(&again)).output();
    let check = check.expect("the program");
    assert_eq!(check.status.code(), Some(0), "{}", text_of(&check.stderr));
    assert!(text_of(&check.stdout).contains(&http), "{}", text_of(&check.stdout));
    drop(folder);
    server.assert_clean();
}

#[test]
fn clients_on_pipes_have_a_server_each() {
    let folder = Folder::new("pipes");
    let target = format!("stdio:'{}' --stdio", env!("CARGO_BIN_EXE_ringmesh"));
    let text = SMALL.replace("connections = 10", "connections = 4");
    let text = text.replace("kind = \"http\"", "kind = \"stdio\"");
    let text = text.replace("[[phase]]", "[[workload]]\nkind = \"stdio-session\"\n[[phase]]");
    let command = folder.load(&text, &["--target", &target, "--assert", "answered>=40"]);
    let summary = completes(&folder, command);
    assert_eq!(summary["connections"]["established"], 4);
    assert_eq!(summary["targets"].as_array().map(Vec::len), Some(4), "{summary:#}");
    for name in ["stdio", "stdio-session"] {
        let answered = by_name(&summary, "workloads", name)["answered"].as_u64();
        assert!(answered > Some(10), "{summary:#}");
    }
    let folder = Folder::new("no-program");
    refuses(&folder, &text, &["--target", "stdio:/nowhere/at/all"], 69, &["/nowhere/at/all"]);
    assert!(!folder.out().exists(), "nothing began");
}

#[test]
fn clients_that_are_cut_come_back_and_call() {
    let server = Server::start("");
    let folder = Folder::new("storm");
    let text = "
connections = 50
first_call = true
[[workload]]
kind = \"http\"
[[phase]]
kind = \"ramp\"
duration = \"1s\"
steps = 1
[[phase]]
kind = \"churn\"
duration = \"1s\"
reconnect = \"all\"
";
    let summary = completes(&folder, folder.load(text, &["--target", &http(&server)]));
    assert_eq!(summary["connections"]["established"], 50, "{summary:#}");
    assert_eq!(summary["first_call_ms"]["count"], 100, "before and after: {summary:#}");
    assert_eq!(summary["answered"], 100, "{summary:#}");
    server.assert_clean();
}

#[test]
fn a_stuck_listener_slows_nobody() {
    let server = Server::start("");
    let folder = Folder::new("stuck");
    let text = "
connections = 20
[[workload]]
name = \"readers\"
kind = \"listen\"
[[workload]]
name = \"stuck\"
kind = \"listen\"
connections = 2
reads = false
[[phase]]
kind = \"ramp\"
duration = \"500ms\"
[[phase]]
kind = \"hold\"
duration = \"2s\"
trigger = { every = \"500ms\" }
";
    let summary = completes(&folder, folder.load(text, &["--target", &http(&server)]));
    let readers = by_name(&summary, "workloads", "readers");
    assert!(readers["updates"].as_u64() >= Some(3 * 18), "{summary:#}");
    assert_eq!(readers["delivery_ms"]["count"], readers["updates"], "{summary:#}");
    assert_eq!(by_name(&summary, "workloads", "stuck")["updates"], 0, "{summary:#}");
}

#[test]
fn what_goes_wrong_is_counted() {
    let server = Server::start("");
    let folder = Folder::new("wrong");
    let text = SMALL.replace("[[phase]]", "tool = \"nothing\"\n[[phase]]");
    let flags = ["--target", &*http(&server), "--assert", "errors=0"];
    let output = folder.load(&text, &flags).output().expect("the program");
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output.stderr));
    let summary = folder.summary();
    let errors = summary["errors"].as_u64().expect("a count");
    assert!(errors > 10 && summary["answered"] == 0, "{summary:#}");
    assert_eq!(summary["requests"], errors, "{summary:#}");
    assert_eq!(summary["ended"]["state"], "complete", "what was measured is whole: {summary:#}");
    assert!(!summary["examples"].as_array().expect("a list").is_empty(), "{summary:#}");
}

#[test]
fn a_check_that_fails_is_an_exit_code() {
    let server = Server::start("");
    let folder = Folder::new("check");
    let target = http(&server);
    let flags = ["--target", &target, "--assert", "errors=0", "--assert", "p50<1ns"];
    let output = folder.load(SMALL, &flags).output().expect("the program");
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output.stderr));
    let told = text_of(&output.stdout);
    assert!(
        told.lines().any(|line| line.contains("p50<1ns") && line.to_lowercase().contains("failed")),
        "{told}"
    );
    let summary = folder.summary();
    assert_eq!(summary["ended"]["state"], "complete", "{summary:#}");
    let passed: Vec<_> = summary["assertions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|check| check["passed"].as_bool())
        .collect();
    assert_eq!(passed, [Some(true), Some(false)]);
    assert!(!folder.out().join(INCOMPLETE).exists());
    // A folder with results is not written over.
    refuses(&folder_beside(&folder), SMALL, &["--target", &target], 73, &["out"]);
}

/// Another name for a folder that has results, whose summary is moved away.
fn folder_beside(folder: &Folder) -> Folder {
    let other = Folder::new("beside");
    fs::create_dir_all(other.out()).expect("a folder");
    fs::copy(folder.out().join("summary.txt"), other.out().join("summary.txt")).expect("a copy");
    other
}

#[test]
fn what_cannot_be_run_is_one_line() {
    let server = Server::start("");
    let (folder, target) = (Folder::new("refused"), http(&server));
    let flags = ["--target", &*target];
    let with = |from: &str, to: &str| SMALL.replace(from, to);
    for (text, parts) in [
        (with("rate", "rat"), [":8:1: unknown key `rat`", "did you mean `rate`?"]),
        (with("rate = 100", "rate = -100"), [":8:8: rate: -100: ", "from 0 to 1e9"]),
        (with("[[workload]]", "[[workload"), [":3:", "scenario.toml"]),
        (with("\"http\"", "\"udp\""), [":4:8: kind = `udp`", "http-session"]),
    ] {
        refuses(&folder, &text, &flags, 65, &parts);
    }
    refuses(&folder, SMALL, &[], 64, &["no target", "--target http://HOST:PORT/mcp"]);
    for remote in ["http://198.51.100.7/mcp", "http://[2001:db8::1]:80/mcp"] {
        refuses(&folder, SMALL, &["--target", remote], 64, &[remote, "--allow-remote"]);
    }
    let wrong = ["--target", &*target, "--assert", "p98<1s"];
    refuses(&folder, SMALL, &wrong, 64, &["--assert", "did you mean"]);
    let admin = ["--target", &*target, "--admin", "http://198.51.100.7:9180"];
    refuses(&folder, SMALL, &admin, 64, &["--admin", "--allow-remote"]);
    let missing = ringmesh("load /nowhere/at/all.toml").args(flags).output().expect("the program");
    assert_refused(&folder, &missing, 66, &["/nowhere/at/all.toml"]);
    assert!(!folder.out().exists(), "nothing began");
    let status = server.status();
    assert_eq!(status["totals"]["requests"], 0, "nothing was sent: {status:#}");
}

#[test]
fn a_target_that_refuses_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let folder = Folder::new("nobody");
    let target = format!("http://{address}/mcp");
    refuses(&folder, SMALL, &["--target", &target], 69, &[&target]);
    assert!(!folder.out().exists(), "nothing began");
}

#[test]
fn too_few_descriptors_are_told_with_what_fits() {
    let server = Server::start("");
    let folder = Folder::new("descriptors");
    let flags = ["--target", &*http(&server), "--connections", "10000"];
    let output = limited("ulimit -n 100", folder.load(SMALL, &flags));
    let fit = "675 connections fit and 10000 are wanted";
    assert_refused(&folder, &output, 78, &[fit, "ulimit -Hn", "--connections 675"]);
    // What is said to fit does.
    let flags = ["--target", &*http(&server), "--connections", "675", "--assert", "errors=0"];
    let output = limited("ulimit -n 100", folder.load(SMALL, &flags));
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    assert_eq!(folder.summary()["connections"]["established"], 675);
}

/// Runs a command in a shell that sets a limit first.
fn limited(limit: &str, command: Command) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null()).output().expect("a shell")
}

/// A run of half a minute, as soon as it has clients that made 150 calls.
fn begun(folder: &Folder, server: &Server, rate: &str) -> Child {
    let text = SMALL.replace("1s", "30s").replace("rate = 100", rate);
    let requests = |status: &Value| status["totals"]["requests"].as_u64().expect("a count");
    let before = requests(&server.status());
    let mut command = folder.load(&text, &["--target", &http(server)]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    server.wait_for("clients that call", |status| {
        status["totals"]["connections"].as_u64() >= Some(10) && requests(status) >= before + 150
    });
    child
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().expect("our child");
    (output.status.code(), text_of(&output.stdout), text_of(&output.stderr))
}

#[test]
fn an_interrupted_run_tells_what_it_measured_and_says_so() {
    let server = Server::start("");
    // The last is usually cut before its first second is over.
    let runs = [
        (Signal::SIGINT, "rate = 100"),
        (Signal::SIGTERM, "rate = 100"),
        (Signal::SIGINT, "rate = 5_000"),
    ];
    for (signal, rate) in runs {
        let folder = Folder::new("interrupted");
        let child = begun(&folder, &server, rate);
        kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
        let (code, told, log) = ended(child);
        assert_eq!(code, Some(130), "{told}\n{log}");
        assert!(told.to_lowercase().contains("interrupted"), "{told}");
        let summary = folder.summary();
        assert_eq!(summary["ended"]["state"], "interrupted", "{summary:#}");
        assert!(summary["answered"].as_u64() >= Some(140), "{summary:#}");
        assert_eq!(summary["errors"], 0, "{summary:#}");
        assert_eq!(summary["connections"]["established"], 10, "{summary:#}");
        assert!(summary["run_s"].as_f64() < Some(29.0), "{summary:#}");
        assert!(folder.assert_marked().contains("interrupted"));
        let page = fs::read_to_string(folder.out().join("report.html")).expect("a page");
        assert!(page.to_lowercase().contains("interrupted"));
    }
    server.assert_clean();
}

#[test]
fn a_server_that_dies_ends_the_run() {
    let mut server = Server::start("");
    let folder = Folder::new("dies");
    let child = begun(&folder, &server, "rate = 100");
    server.signal(Signal::SIGKILL);
    server.ended();
    let (code, told, log) = ended(child);
    assert_eq!(code, Some(1), "{told}\n{log}");
    let summary = folder.summary();
    assert_eq!(summary["ended"]["state"], "failed", "{summary:#}");
    let why = summary["ended"]["why"].as_str().expect("a reason");
    assert!(why.contains("the server is gone"), "{why}");
    assert_eq!(summary["connections"]["lost"], 10, "{summary:#}");
    assert!(summary["run_s"].as_f64() < Some(29.0), "{summary:#}");
    assert!(folder.assert_marked().contains(why));
}

/// A file system of so few bytes over the folder, in a mount namespace of the run's own; says
/// afterwards what is there. Not everybody may mount.
fn on_a_small_disk(folder: &Folder, size: &str, command: &Command) -> Option<Output> {
    fs::create_dir_all(folder.out()).expect("a folder");
    let out = folder.out().display().to_string();
    let script = "mount -t tmpfs -o size=$1 none \"$2\" || exit 99; out=$2; shift 2; \"$@\"; code=$?; \
                  ls \"$out\"; cat \"$out/INCOMPLETE\"; exit $code";
    let mut shell = Command::new("unshare");
    shell.args(["-rm", "sh", "-c", script, "sh", size, &out]);
    shell.arg(command.get_program()).args(command.get_args());
    let output = shell.stdin(Stdio::null()).output().ok()?;
    let refused = output.status.code() == Some(99) || text_of(&output.stderr).contains("unshare:");
    (!refused).then_some(output)
}

#[test]
fn a_full_disk_leaves_nothing_that_looks_whole() {
    let server = Server::start("");
    for (size, code) in [("4k", [73, 74]), ("64k", [74, 1])] {
        let folder = Folder::new("full");
        let command = folder.load(SMALL, &["--target", &http(&server)]);
        let Some(output) = on_a_small_disk(&folder, size, &command) else {
            eprintln!("skipped: this user may not mount a file system of its own");
            return;
        };
        let (told, log) = (text_of(&output.stdout), text_of(&output.stderr));
        let ended = output.status.code();
        assert!(code.iter().any(|&code| ended == Some(code)), "{ended:?} {told}\n{log}");
        let line = log.lines().find(|line| line.starts_with("ringmesh: ")).unwrap_or_default();
        assert!(line.contains("No space left"), "{told}\n{log}");
        assert!(!told.lines().any(|line| line == "summary.json"), "{told}");
        assert!(told.lines().any(|line| line == INCOMPLETE), "{told}");
    }
}

#[test]
fn check_tells_the_plan_and_sends_nothing() {
    let server = Server::start("");
    let folder = Folder::new("plan");
    let before = server.status()["totals"]["requests"].clone();
    let mut command = ringmesh("load");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/scenarios/calls_256.toml"));
    command.args(["--check", "--target", &http(&server), "--out"]).arg(folder.out());
    let output = command.output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    let told = text_of(&output.stdout);
    for part in ["256", "50000 calls/s", "descriptors", "fs.file-max", "ports"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!folder.out().exists());
    assert_eq!(server.status()["totals"]["requests"], before);
}

#[test]
fn results_lie_side_by_side() {
    let server = Server::start("");
    let (one, other) = (Folder::new("one"), Folder::new("other"));
    for folder in [&one, &other] {
        completes(folder, folder.load(SMALL, &["--target", &http(&server)]));
    }
    let page = one.0.join("both.html");
    let mut command = ringmesh("report");
    command.args([one.out(), other.out()]).arg("--html").arg(&page);
    let output = command.output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    let told = text_of(&output.stdout);
    for part in ["p99", "errors", &one.out().display().to_string()] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("<html") && page.contains("p99"), "{page}");
    let nothing = ringmesh("report").arg(one.0.join("nothing")).output().expect("the program");
    let log = text_of(&nothing.stderr);
    assert_eq!((nothing.status.code(), log.lines().count()), (Some(65), 1), "{log}");
}

/// One that answers nothing is a time-out, not a run without end.
#[test]
fn a_server_that_never_answers_is_timed_out() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("http://{}/mcp", silent.local_addr().expect("its address"));
    thread::spawn(move || {
        let held: Vec<_> = silent.incoming().take(100).collect();
        thread::sleep(Duration::from_secs(60));
        drop(held);
    });
    let folder = Folder::new("silent");
    let text = format!("timeout = \"500ms\"\nlinger = \"1s\"\n{SMALL}");
    let mut child = folder
        .load(&text, &["--target", &target])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program");
    wait_for("the end", || child.try_wait().expect("our child"));
    let summary = folder.summary();
    assert_eq!(summary["answered"], 0, "{summary:#}");
    assert!(summary["faults"]["timeout"].as_u64() > Some(0), "{summary:#}");
}

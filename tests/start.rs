//! Starts and ends of the real program: what it says, where, and its exit codes.

mod support;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::json;
use support::server::ringmesh;
use support::{Server, call, wait_for};

fn ends(flags: &str) -> Output {
    ringmesh(flags).output().expect("the program")
}

/// Asserts the one line and the exit code of a start that fails.
fn assert_refused(flags: &str, code: i32, starts_with: &str) {
    assert_one_line(&ends(flags), code, &[starts_with]);
}

/// Asserts the exit code and one line that starts with the first of `parts` and holds the others.
fn assert_one_line(output: &Output, code: i32, parts: &[&str]) {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with(&format!("ringmesh: {}", parts[0])), "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty(), "nothing listens");
}

fn assert_serves(server: &Server) {
    let answer = server.connect().ask(&call("add", json!({"a": 1, "b": 2})));
    assert_eq!(answer.text(), "3");
}

/// A folder of this test's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmesh-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn a_port_in_use_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("its address");
    let in_use = |flag: &str| format!("--{flag}: {taken} is in use");
    let http = format!("--http {taken} --admin 127.0.0.1:0");
    assert_refused(&http, 69, &in_use("http"));
    let admin = format!("--http 127.0.0.1:0 --admin {taken}");
    assert_refused(&admin, 69, &in_use("admin"));
}

#[test]
fn a_second_server_on_the_same_port_is_refused_and_the_first_serves_on() {
    let first = Server::start("--shards 2");
    let second = format!("--http {} --admin 127.0.0.1:0 --shards 2", first.http);
    assert_refused(&second, 69, &format!("--http: {} is in use", first.http));
    assert_serves(&first);
}

#[test]
fn wrong_flags_and_limits_get_one_line() {
    assert_refused("--zzz", 64, "unexpected argument '--zzz' found: ");
    assert_refused("--shards 0", 64, "--shards 0: use 1 to 1024");
    assert_refused("--connections-max 4000000000", 78, "--connections-max 4000000000: ");
    assert_refused("--config /nowhere/ringmesh.toml", 78, "/nowhere/ringmesh.toml: ");
}

#[test]
fn a_wrong_file_is_told_with_line_and_column() {
    let folder = Folder::new("config");
    for (text, code, place) in [
        ("shards = 2\nconections-max = 5\n", 78, ":2:1: "),
        ("shards = 2\n\ngrace = 25\n", 78, ":3:9: "),
        ("shards = 0\n", 78, ":1:10: shards = 0: "),
        ("shards = \n", 78, ":1:10: "),
        ("connections-max = 4000000000\n", 78, ":1:19: connections-max = 4000000000: "),
        ("http = ['127.0.0.1']\n", 78, ":1:"),
    ] {
        let file = folder.write("ringmesh.toml", text);
        let file = file.to_str().expect("text");
        for check in ["", "--check"] {
            let flags = format!("--config {file} {check}");
            assert_refused(&flags, code, &format!("{file}{place}"));
        }
    }
    let file = folder.write("good.toml", "shards = 3\ngrace = '1s'\n");
    let output = ends(&format!("--check --config {}", file.display()));
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("shards       3 on cpus "));
}

#[test]
fn limits_that_are_too_low_are_told_with_what_mends_them() {
    let limited = |limits: &str, flags: &str| {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_ringmesh");
        let listeners = "--http 127.0.0.1:0 --admin 127.0.0.1:0";
        command.arg("-c").arg(format!("{limits} && exec {program} {listeners} {flags}"));
        command.env_remove("RINGMESH_CONFIG").stdin(Stdio::null()).output().expect("a shell")
    };
    let output = limited("ulimit -n 256", "");
    assert_one_line(&output, 78, &["RLIMIT_NOFILE is 256", "ulimit -n 4096"]);
    let output = limited("ulimit -n 1000", "--connections-max 1000");
    assert_one_line(&output, 78, &["--connections-max 1000: ", "ulimit -n 1256"]);
    let output = limited("ulimit -n 260", "--shards 64");
    assert_one_line(&output, 78, &["64 shards need 320 open files", "ulimit -n 320"]);
    let output = limited("ulimit -l 64", "");
    assert_one_line(&output, 78, &["the control plane needs RLIMIT_MEMLOCK", "ulimit -l"]);
}

/// Runs the program on a thread whose system calls are filtered, which binds the children of that
/// thread too.
fn ends_filtered(call: i64, errno: i32) -> Output {
    let filtered = move || {
        let arch = std::env::consts::ARCH.try_into().expect("an architecture with filters");
        let refuse = SeccompAction::Errno(errno.unsigned_abs());
        let rules = [(call, vec![])].into_iter().collect();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).expect("rules");
        let program: BpfProgram = filter.try_into().expect("a program");
        seccompiler::apply_filter(&program).expect("the kernel takes it");
        ends("--http 127.0.0.1:0 --admin 127.0.0.1:0")
    };
    thread::spawn(filtered).join().expect("the filtered thread")
}

#[test]
fn a_seccomp_filter_that_refuses_io_uring_is_told() {
    let calls = [
        (nix::libc::SYS_io_uring_setup, "io_uring_setup"),
        (nix::libc::SYS_io_uring_enter, "io_uring_enter"),
        (nix::libc::SYS_io_uring_register, "io_uring_register"),
    ];
    for (number, name) in calls {
        // As docker's default profile does, and as podman's.
        for (errno, text) in [(nix::libc::EPERM, "EPERM"), (nix::libc::ENOSYS, "ENOSYS")] {
            let line = format!("a seccomp filter refuses {name} ({text})");
            assert_one_line(&ends_filtered(number, errno), 69, &[&line, "profile"]);
        }
    }
}

/// Puts a sysctl back when dropped.
struct Sysctl {
    path: &'static str,
    before: String,
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        fs::write(self.path, &self.before).expect("it was writable before");
    }
}

#[test]
fn a_sysctl_that_refuses_io_uring_is_told() {
    const NOBODY: u32 = 65_534;
    let path = "/proc/sys/kernel/io_uring_disabled";
    let before = fs::read_to_string(path).unwrap_or_default();
    // 1 refuses processes without privilege alone: whoever else runs as root notices nothing.
    let lasting = before.trim() == "0" && fs::write(path, "1").is_ok();
    if !lasting {
        eprintln!("left out: {path} cannot be changed here; try as root, without a container");
        return;
    }
    let sysctl = Sysctl { path, before };
    let folder = Folder::new("nobody");
    let program = folder.0.join("ringmesh");
    fs::copy(Path::new(env!("CARGO_BIN_EXE_ringmesh")), &program).expect("a copy");
    let mut command = Command::new(&program);
    command.args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env_remove("RINGMESH_CONFIG").current_dir("/").stdin(Stdio::null());
    command.uid(NOBODY).gid(NOBODY);
    let output = wait_for("a copy that nobody has open", || match command.output() {
        // A child that another test starts meanwhile holds it open, until it is a program itself.
        Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
        output => Some(output.expect("the program")),
    });
    drop(sysctl);
    assert_one_line(&output, 69, &["", "kernel.io_uring_disabled", "sysctl -w"]);
}

#[test]
fn check_binds_nothing_and_tells_the_plan() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("its address");
    let output = ends(&format!("--check --http {taken} --shards 3"));
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0));
    for part in ["shards       3 on cpus ", "\nmemory       "] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn health_tells_a_server_that_is_ready_from_one_that_is_gone() {
    let mut server = Server::start("");
    let health = format!("health --admin {}", server.admin);
    assert_eq!(ends(&health).status.code(), Some(0));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().0, Some(0));
    assert_eq!(ends(&health).status.code(), Some(1));
}

#[test]
fn nobody_needs_to_read_what_it_writes() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    for (stdout, stderr) in [(Stdio::from(writer), Stdio::null()), (full.into(), Stdio::null())] {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let admin = free.local_addr().expect("its address");
        drop(free);
        let mut child = ringmesh(&format!("--http 127.0.0.1:0 --admin {admin}"))
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("the program");
        wait_for("a server that is ready", || {
            assert_eq!(child.try_wait().expect("our child"), None, "it ended");
            let health = ends(&format!("health --admin {admin}"));
            (health.status.code() == Some(0)).then_some(())
        });
        child.kill().expect("it runs");
        child.wait().expect("our child");
    }
}

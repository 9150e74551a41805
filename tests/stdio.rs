//! MCP on standard input and output: both eras, ends of every kind, and nothing beside it.

mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use support::lines::{
    assert_answers_before_the_end, assert_refuses_long_lines, assert_shakes_hands,
    assert_speaks_legacy, assert_speaks_modern, assert_survives_garbage, message,
};
use support::piped::rest;
use support::server::ringmesh;
use support::{Piped, call, wait_for};

/// Far less than the default grace period.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_modern_era_is_served_until_the_input_ends() {
    let (mut server, mut lines) = Piped::start("");
    assert_speaks_modern(&mut lines);
    assert_answers_before_the_end(&mut lines);
    assert_eq!(server.ended().0, Some(0));
}

#[test]
fn the_legacy_era_is_served_until_the_input_ends() {
    let (mut server, mut lines) = Piped::start("");
    assert_speaks_legacy(&mut lines);
    lines.finish_sending().assert_ends();
    assert_eq!(server.ended().0, Some(0));
}

#[test]
fn garbage_is_answered_and_long_lines_end_it() {
    let (mut server, mut lines) = Piped::start("");
    assert_survives_garbage(&mut lines);
    assert_refuses_long_lines(&mut lines);
    assert_eq!(server.ended().0, Some(76));
    server.wait_for_log("ringmesh: standard input was no MCP");
}

#[test]
fn a_first_line_that_is_no_object_ends_it_without_a_word() {
    for first in ["GET / HTTP/1.1\r\n", "hello\n", "[]\n", "\u{7f}\n"] {
        let (mut server, mut lines) = Piped::start("");
        lines.send(first).assert_ends();
        assert_eq!(server.ended().0, Some(76), "{first:?}");
        server.wait_for_log("ringmesh: standard input was no MCP");
    }
}

#[test]
fn an_input_that_ends_at_once_is_no_error() {
    let (mut server, mut lines) = Piped::start("");
    lines.finish_sending().assert_ends();
    assert_eq!(server.ended().0, Some(0));
    let output = ringmesh("serve --stdio").stdin(Stdio::null()).output().expect("the program");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

#[test]
fn signals_end_it_at_once_though_nothing_comes() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut server, stdout) = Piped::start_unread("");
        let _open = server.stdin();
        server.wait_until_up();
        server.signal(signal);
        let (code, took) = server.ended();
        assert_eq!(code, Some(0));
        assert!(took < SOON, "{took:?}");
        assert!(rest(stdout).is_empty(), "not a byte");
    }
}

#[test]
fn a_signal_lets_calls_finish() {
    let (mut server, mut lines) = Piped::start("");
    assert_shakes_hands(&mut lines);
    lines.say(&message(&call("sleep_ms", json!({"ms": 1_000})).id("c")));
    lines.say(&message(&call("echo", json!({"text": "taken"})).id("e")));
    assert_eq!(lines.next().expect("an answer")["id"], "e");
    server.signal(Signal::SIGTERM);
    let answer = lines.next().expect("the call's answer");
    assert_eq!(answer["result"]["content"][0]["text"], "slept 1000 ms", "{answer}");
    lines.assert_ends();
    let (code, took) = server.ended();
    assert_eq!(code, Some(0));
    assert!(took < SOON, "{took:?}");
}

#[test]
fn an_output_that_nobody_reads_any_more_is_told() {
    let (mut server, stdout) = Piped::start_unread("");
    drop(stdout);
    let mut stdin = server.stdin();
    let echo = message(&call("echo", json!({"text": "x"})));
    writeln!(stdin, "{echo}").expect("it reads");
    assert_eq!(server.ended().0, Some(74));
    server.wait_for_log("ringmesh: standard output cannot be written (EPIPE");
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let requests = requests("full", 3);
    let output = ringmesh("serve --stdio")
        .stdin(File::open(&requests).expect("it was written"))
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("the program");
    fs::remove_file(requests).expect("ours");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(74), "{log}");
    assert!(log.contains("standard output cannot be written (ENOSPC"), "{log}");
}

#[test]
fn a_reader_that_stops_holds_up_the_writer_and_costs_little() {
    let (mut server, stdout) = Piped::start_unread("--send-timeout 3s --send-max 1MiB");
    let mut stdin = server.stdin();
    let echo = message(&call("echo", json!({"text": "x".repeat(100_000)})));
    let flood = thread::spawn(move || {
        let mut sent = 0_u64;
        while writeln!(stdin, "{echo}").is_ok() {
            sent += 1;
        }
        sent
    });
    server.wait_until_up();
    thread::sleep(Duration::from_secs(1));
    let resident = resident_kib(server.id());
    assert!(resident < 200 * 1024, "{resident} KiB");
    assert_eq!(server.ended().0, Some(74));
    server.wait_for_log("ringmesh: standard output was not read in time");
    drop(stdout);
    let sent = flood.join().expect("the flood ends");
    assert!(sent < 1_000, "{sent} requests were taken");
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A file of requests that call `add`.
fn requests(name: &str, count: usize) -> std::path::PathBuf {
    let name = format!("ringmesh-requests-{name}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let lines: String = (0..count)
        .map(|id| format!("{}\n", message(&call("add", json!({"a": id, "b": 1})).id(id))))
        .collect();
    fs::write(&path, lines).expect("a file");
    path
}

#[test]
fn files_are_served_from_and_to() {
    const COUNT: usize = 5_000;
    let (input, output) = (requests("in", COUNT), requests("out", 0));
    let status = ringmesh("serve --stdio")
        .stdin(File::open(&input).expect("it was written"))
        .stdout(File::create(&output).expect("a file"))
        .stderr(Stdio::null())
        .status()
        .expect("the program");
    assert_eq!(status.code(), Some(0));
    let answers = fs::read_to_string(&output).expect("text");
    assert_eq!(answers.lines().count(), COUNT);
    for (id, line) in answers.lines().enumerate() {
        let answer: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&answer["id"], answers.ends_with('\n')), (&json!(id), true));
        assert_eq!(answer["result"]["content"][0]["text"], (id + 1).to_string());
    }
    for path in [input, output] {
        fs::remove_file(path).expect("ours");
    }
}

#[test]
fn a_socket_is_served_on_both_descriptors() {
    let (mut client, server) = UnixStream::pair().expect("sockets");
    let mut child = ringmesh("serve --stdio")
        .stdin(std::os::fd::OwnedFd::from(server.try_clone().expect("a socket")))
        .stdout(std::os::fd::OwnedFd::from(server))
        .stderr(Stdio::null())
        .spawn()
        .expect("the program");
    let echo = message(&call("echo", json!({"text": "over a socket"})));
    writeln!(client, "{echo}").expect("it reads");
    client.shutdown(std::net::Shutdown::Write).expect("it is open");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer and an end");
    assert!(answer.contains("over a socket"), "{answer}");
    let status = wait_for("the end", || child.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn it_has_no_io_uring_and_nothing_that_listens() {
    let (server, mut lines) = Piped::start("");
    server.wait_until_up();
    let id = server.id();
    let links: Vec<String> = fs::read_dir(format!("/proc/{id}/fd"))
        .expect("it runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    assert!(links.len() > 3, "{links:?}");
    assert!(!links.iter().any(|link| link.contains("io_uring")), "{links:?}");
    let listening = listening_inodes(id);
    for link in &links {
        let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        assert!(inode.is_none_or(|inode| !listening.iter().any(|other| other == inode)), "{link}");
    }
    // Nobody else reads from the client, or writes to it by accident.
    assert_eq!(
        fs::read_link(format!("/proc/{id}/fd/0")).expect("open").to_str(),
        Some("/dev/null")
    );
    let stdout = fs::read_link(format!("/proc/{id}/fd/1")).expect("open");
    assert_eq!(stdout, fs::read_link(format!("/proc/{id}/fd/2")).expect("open"));
    lines.finish_sending().assert_ends();
}

/// Inodes of the sockets that listen in the process's network namespace.
fn listening_inodes(pid: u32) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}"));
    let mut inodes = Vec::new();
    for name in ["tcp", "tcp6"] {
        // State 0A is LISTEN, proc(5).
        for line in read(name).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(3) == Some(&"0A") {
                inodes.push(fields[9].to_owned());
            }
        }
    }
    // The flag 00010000 is __SO_ACCEPTCON.
    for line in read("unix").expect("Linux has it").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(3) == Some(&"00010000") {
            inodes.push(fields[6].to_owned());
        }
    }
    inodes
}

#[test]
fn it_is_alone() {
    for flag in ["--http 127.0.0.1:0", "--tcp 127.0.0.1:0", "--unix /x", "--shards 2"] {
        let output = ringmesh(&format!("serve --stdio {flag}")).output().expect("the program");
        assert_eq!(output.status.code(), Some(64));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.starts_with("ringmesh: --stdio serves the client that started it"), "{text}");
        assert!(output.stdout.is_empty());
    }
}

//! `ringmesh doctor`, beside what the server itself says of this machine, and `ringmesh top`, beside
//! what a real server did.

mod support;

use std::process::Output;
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::{Value, json};
use support::server::ringmesh;
use support::{Server, call};

fn run(flags: &str) -> Output {
    ringmesh(flags).output().expect("the program")
}

fn doctor(flags: &str) -> (Value, Option<i32>) {
    let output = run(&format!("doctor --json {flags}"));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).expect("JSON"), output.status.code())
}

#[test]
fn the_doctor_and_the_server_agree_on_what_fits() {
    let (all, code) = doctor("");
    assert_eq!(code, Some(if all["ok"] == true { 0 } else { 1 }));
    let most = all["connections"]["most"].as_u64().expect("a number");
    assert!(most > 0, "{all:#}");
    for connections in [1, most / 2, most.min(100_000)] {
        let (told, code) = doctor(&format!("--connections {connections}"));
        let asked = &told["asked"][0];
        assert_eq!((&asked["fits"], code), (&Value::Bool(true), Some(0)), "{told:#}");
        let check = run(&format!("--check {}", asked["flags"].as_str().expect("flags")));
        assert_eq!(check.status.code(), Some(0), "{asked}");
        let plan = String::from_utf8(check.stdout).expect("text");
        // connections  17447 a shard (104682 in all; …
        let in_all = plan.split_once(" a shard (").and_then(|(_, rest)| rest.split_once(" in all"));
        let in_all: u64 = in_all.and_then(|(n, _)| n.parse().ok()).expect("the number in all");
        assert!(in_all >= connections, "{plan}");
        let each = asked["connections_max"].as_u64().expect("a number");
        assert!(plan.contains(&format!("connections  {each} a shard ({in_all} in all")), "{plan}");
    }
    let (told, code) = doctor(&format!("--connections {}", most * 2));
    assert_eq!((&told["ok"], code), (&Value::Bool(false), Some(1)));
    assert!(told["asked"][0]["short"][0]["mend"].is_string(), "{told:#}");
}

#[test]
fn the_doctor_prints_a_plain_table_where_there_is_no_terminal() {
    let output = run("doctor");
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["io_uring\n", "open files ", "\nconnections\n", "\n1,000,000 connections\n"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'));
    let wrong = run("doctor --connections 0");
    assert_eq!(wrong.status.code(), Some(64));
    assert_eq!(String::from_utf8_lossy(&wrong.stderr).lines().count(), 1);
}

#[test]
fn the_doctor_tells_a_filter_from_a_working_ring() {
    let filtered = || {
        let arch = std::env::consts::ARCH.try_into().expect("an architecture with filters");
        let refuse = SeccompAction::Errno(nix::libc::EPERM.unsigned_abs());
        let rules = [(nix::libc::SYS_io_uring_setup, vec![])].into_iter().collect();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).expect("rules");
        let program: BpfProgram = filter.try_into().expect("a program");
        seccompiler::apply_filter(&program).expect("the kernel takes it");
        run("doctor")
    };
    // The filter binds the thread and its children.
    let output = thread::spawn(filtered).join().expect("the filtered thread");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with("fail  io_uring ")).expect("a check");
    assert!(line.contains("refused by seccomp"), "{text}");
    assert!(text.contains("--security-opt seccomp=FILE"), "{text}");
}

/// The cells of the line of `top` that begins with a word, by their titles.
fn row<'t>(text: &'t str, first: &str) -> Vec<(&'t str, &'t str)> {
    let cells = |line: &'t str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    let find = |first: &str| text.lines().find(|line| cells(line).next() == Some(first));
    let (titles, line) = (find("shard").expect("titles"), find(first).expect("a row"));
    cells(titles).zip(cells(line)).collect()
}

fn cell<'t>(row: &[(&'t str, &'t str)], title: &str) -> &'t str {
    row.iter().find(|(name, _)| *name == title).expect(title).1
}

#[test]
fn top_prints_one_table_of_a_running_server() {
    let mut server = Server::start("--shards 2 --connections-max 64");
    let top = || run(&format!("top --once --interval 200ms --admin {}", server.admin));
    let mut clients = [server.connect(), server.connect(), server.connect()];
    let asking = thread::scope(|scope| {
        let table = scope.spawn(top);
        while !table.is_finished() {
            for client in &mut clients {
                assert_eq!(client.ask(&call("add", json!({"a": 1, "b": 2}))).text(), "3");
            }
        }
        table.join().expect("the table")
    });
    assert_eq!(asking.status.code(), Some(0), "{}", String::from_utf8_lossy(&asking.stderr));
    let text = String::from_utf8(asking.stdout).expect("text");
    assert!(!text.contains('\x1b'), "{text}");
    let all = row(&text, "all");
    assert_eq!((cell(&all, "conns"), cell(&all, "refused")), ("3", "0"), "{text}");
    assert!(cell(&all, "req/s").parse::<f64>().expect("a rate") > 0.0, "{text}");
    assert!(cell(&all, "tick max").ends_with('s'), "{text}");
    let shards: Vec<_> = ["0", "1"].map(|id| row(&text, id)).into();
    let conns = |row: &Vec<_>| cell(row, "conns").parse::<u64>().expect("a number");
    assert_eq!(shards.iter().map(conns).sum::<u64>(), 3, "{text}");
    let slowest = text.split_once("slowest ticks of the last minute\n").expect("a list").1;
    assert!(slowest.lines().count() >= 2 && slowest.contains(" answered"), "{text}");

    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.ended();
    let gone = run(&format!("top --once --admin {}", server.admin));
    let line = String::from_utf8(gone.stderr).expect("text");
    assert_eq!((gone.status.code(), line.lines().count()), (Some(69), 1), "{line}");
    assert!(line.contains("nothing listens there") && line.contains("--admin"), "{line}");
}

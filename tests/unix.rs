//! Unix sockets: both eras, who may open them, and what becomes of their files.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;
use support::lines::{
    assert_refuses_long_lines, assert_speaks_to_many, assert_survives_garbage, message,
};
use support::server::ringmesh;
use support::{Lines, Server, call};

/// A path of a test's own; what is there is removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("ringmesh-{name}-{}.sock", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn flag(&self) -> String {
        format!("--unix {}", self.0.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

fn assert_serves(place: &Place) {
    let mut lines = Lines::unix(&place.0);
    let answer = lines.ask(&message(&call("add", json!({"a": 1, "b": 2}))));
    assert_eq!(answer["result"]["content"][0]["text"], "3", "{answer}");
}

fn assert_refused(flags: &str, code: i32, starts_with: &str) {
    let flags = format!("--http 127.0.0.1:0 --admin 127.0.0.1:0 {flags}");
    let output = ringmesh(&flags).output().expect("the program");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with(&format!("ringmesh: {starts_with}")), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn both_eras_are_served_to_clients_of_all_shards() {
    let place = Place::new("eras");
    let server = Server::start(&format!("--shards 3 {}", place.flag()));
    assert_eq!(fs::metadata(&place.0).expect("the file").permissions().mode() & 0o777, 0o600);
    assert_speaks_to_many((0..12).map(|_| Lines::unix(&place.0)).collect());
    server.assert_clean();
}

#[test]
fn garbage_harms_its_sender_alone() {
    let place = Place::new("garbage");
    let server = Server::start(&place.flag());
    for first in ["POST / HTTP/1.1\r\n", "hello\n", "[]\n"] {
        Lines::unix(&place.0).send(first).assert_ends();
    }
    assert_survives_garbage(&mut Lines::unix(&place.0));
    assert_refuses_long_lines(&mut Lines::unix(&place.0));
    assert_serves(&place);
    server.assert_clean();
}

#[test]
fn the_file_goes_with_the_server_and_one_left_behind_is_replaced() {
    let place = Place::new("file");
    let mut server = Server::start(&format!("--shards 2 {}", place.flag()));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().0, Some(0));
    assert!(!place.0.exists());
    let mut killed = Server::start(&place.flag());
    killed.signal(Signal::SIGKILL);
    killed.ended();
    assert!(place.0.exists(), "nobody could remove it");
    let _server = Server::start(&place.flag());
    assert_serves(&place);
}

#[test]
fn what_is_in_the_way_is_told_and_stays() {
    let place = Place::new("way");
    let flag = place.flag();
    let shown = place.0.display();
    fs::write(&place.0, "precious").expect("a file");
    assert_refused(&flag, 69, &format!("--unix: {shown} is there and is no socket"));
    assert_eq!(fs::read_to_string(&place.0).expect("it is there"), "precious");
    fs::remove_file(&place.0).expect("ours");
    let first = Server::start(&flag);
    assert_refused(&flag, 69, &format!("--unix: {shown} is in use by a server that runs"));
    drop(first);
    assert_refused("--unix /nowhere/s", 69, "--unix: /nowhere/s is in no folder that exists");
    let long = format!("/tmp/{}", "x".repeat(200));
    assert_refused(&format!("--unix {long}"), 69, &format!("--unix: {long} has 205 bytes"));
    assert_refused("--unix /a --unix /a", 64, "--unix /a: it is named twice");
}

#[test]
fn a_file_that_another_put_there_stays_at_the_end() {
    let place = Place::new("theirs");
    let mut server = Server::start(&place.flag());
    fs::remove_file(&place.0).expect("it is there");
    let _theirs = UnixListener::bind(&place.0).expect("the path is free");
    let inode = fs::metadata(&place.0).expect("theirs").ino();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().0, Some(0));
    assert_eq!(fs::metadata(&place.0).expect("it stays").ino(), inode);
}

#[test]
fn calls_finish_when_the_server_stops() {
    let place = Place::new("stop");
    let mut server = Server::start(&format!("--shards 2 {}", place.flag()));
    let mut clients: Vec<Lines> = (0..6).map(|_| Lines::unix(&place.0)).collect();
    for lines in &mut clients {
        lines.say(&message(&call("sleep_ms", json!({"ms": 1_000})).id("c")));
    }
    server.wait_for("six calls", |status| status["totals"]["calls_in_flight"] == 6);
    server.signal(Signal::SIGTERM);
    for lines in &mut clients {
        let answer = lines.next().expect("an answer");
        assert_eq!(answer["result"]["content"][0]["text"], "slept 1000 ms");
        lines.assert_ends();
    }
    assert_eq!(server.ended().0, Some(0));
}

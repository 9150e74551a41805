//! Scenarios from text to plan.

use std::fs;
use std::path::Path;

use ringmesh_runtime::load::script::Endpoint;

use super::*;
use crate::config::Span;

const LEAST: &str = "connections = 10\n[[workload]]\nkind = \"http\"\n[[phase]]\nkind = \"hold\"\n\
                     duration = \"1s\"\n";

fn world() -> World {
    let machine = Machine {
        nofile: 20_000,
        files_max: 2_466_177,
        files: 1_000,
        ports: 28_232,
        conntrack: None,
        available_bytes: 20 << 30,
        cpus: vec![0, 1],
        cpu_quota: 2,
    };
    World { machine, networks: Networks::default() }
}

fn flags(targets: &[&str]) -> Options {
    let target = targets.iter().map(|target| (*target).to_owned()).collect();
    Options { target, ..Options::default() }
}

fn resolved(text: &str, options: &Options) -> Result<Plan, StartError> {
    let file = File::parse(Path::new("s.toml"), text.to_owned())?;
    Resolver::new(options, &file, &world())?.plan()
}

const HTTP: &str = "http://127.0.0.1:8080/mcp";

fn wrong(text: &str) -> StartError {
    resolved(text, &flags(&[HTTP])).expect_err(text)
}

#[test]
fn a_few_lines_are_a_scenario() {
    let plan = resolved(LEAST, &flags(&[HTTP])).expect("a plan");
    let script = &*plan.script;
    assert_eq!((plan.title.as_str(), plan.seed, plan.shards), ("s", 1, 1));
    assert_eq!(script.seats.len(), 10);
    let phase = &script.phases[0];
    assert_eq!((phase.name.as_str(), phase.connections_to, phase.steps), ("hold", 10, 1));
    assert_eq!(script.connections_at(0), 10, "a run that begins with a hold begins connected");
    let target = &script.targets[0];
    assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:8080", "/mcp"));
    assert_eq!(script.workloads[0].rate_share, 1.0);
    assert_eq!(script.timeout_ns, 30_000_000_000);
}

#[test]
fn what_is_wrong_has_its_place_and_a_mend() {
    for (from, to, expected) in [
        (
            "kind = \"hold\"",
            "knid = \"hold\"",
            "s.toml:5:1: unknown key `knid`: did you mean `kind`?",
        ),
        ("kind = \"hold\"", "kind = \"hodl\"", "s.toml:5:8: kind = `hodl`: did you mean `hold`?"),
        (
            "kind = \"http\"",
            "kind = \"smtp\"",
            "s.toml:3:8: kind = `smtp`: known are http, http-session, listen, tcp, tcp-session, stdio, \
             stdio-session",
        ),
        (
            "kind = \"http\"",
            "kind = \"carrier-pigeon\"",
            "s.toml:3:8: kind = `carrier-pigeon`: known are http, http-session, listen, tcp, \
             tcp-session, stdio, stdio-session",
        ),
        (
            "duration = \"1s\"",
            "duration = \"1s\"\nrate = -5",
            "s.toml:7:8: rate: -5: write how many a second, a number from 0 to 1e9",
        ),
        (
            "duration = \"1s\"",
            "duration = \"1s\"\nrate = nan",
            "s.toml:7:8: rate: NaN: write how many a second, a number from 0 to 1e9",
        ),
        (
            "duration = \"1s\"",
            "duration = \"1\"",
            "s.toml:6:12: duration: `1`: write a whole number with ms, s, m or h, such as 500ms or \
             10s",
        ),
        (
            "duration = \"1s\"",
            "duration = \"0s\"",
            "s.toml:4:1: this phase: duration: use more than nothing, and a week for the run at most",
        ),
        (
            "connections = 10",
            "conections = 10",
            "s.toml:1:1: unknown key `conections`: did you mean `connections`?",
        ),
        ("connections = 10", "", "s.toml: say how many there are: connections = N"),
        (
            "connections = 10",
            "connections = -1",
            "s.toml:1:15: connections: invalid value: integer `-1`, write a whole number from 0 to \
             4294967295",
        ),
        ("connections = 10", "connections = 0", "s.toml: connections = 0: use 1 to 2097152"),
    ] {
        assert_wrong(from, to, expected);
    }
    for text in ["", "x", "title = 1\n", "connections = 10\n[[workload]]\nkind = \"http\"\n"] {
        assert_eq!(wrong(text).exit_code(), 65, "{text}");
    }
}

fn assert_wrong(from: &str, to: &str, expected: &str) {
    let text = LEAST.replace(from, to);
    let wrong = wrong(&text);
    assert_eq!((wrong.to_string().as_str(), wrong.exit_code()), (expected, 65), "{text}");
}

#[test]
fn what_does_not_fit_together_has_its_place_and_a_mend() {
    for (from, to, expected) in [
        ("duration = \"1s\"", "", "s.toml:4:1: a key is missing: `duration`"),
        (
            "duration = \"1s\"",
            "duration = \"1s\"\nconnections = 11",
            "s.toml:4:1: this phase: connections = 11: there are 10 in all",
        ),
        (
            "duration = \"1s\"",
            "duration = \"1s\"\ntrigger = { every = \"1s\", too = 1 }",
            "s.toml:7:27: unknown key `too`: did you mean `tool`?",
        ),
        (
            "duration = \"1s\"",
            "duration = \"1s\"\ntrigger = { every = \"1s\" }",
            "s.toml:4:1: this phase: trigger: no workload of kind = \"listen\" is there to hear it",
        ),
        (
            "kind = \"http\"",
            "kind = \"listen\"\nuris = [\"ringmesh://counters/1\"]\n[[phase]]\nkind = \"hold\"\n\
             duration = \"1s\"\ntrigger = { every = \"1s\" }",
            "s.toml:5:1: this phase: trigger: count changes ringmesh://counters/N for the N-th of \
             the uris: name them from 0 on, in order",
        ),
        (
            "kind = \"http\"",
            "kind = \"http\"\nconnections = 11",
            "s.toml: 10 connections, and workloads name 11 exactly: give one of them a weight",
        ),
        (
            "kind = \"http\"",
            "kind = \"http\"\nconnections = 1\nweight = 2",
            "s.toml:2:1: this workload: it has connections and a weight: name one of them",
        ),
        (
            "kind = \"http\"",
            "kind = \"http\"\nname = \"a b\"",
            "s.toml:2:1: workload name = \"a b\": write letters, digits, _ and -, at most 64",
        ),
        (
            "connections = 10",
            "connections = 10\nassert = [\"p98<1s\"]",
            "s.toml: assert \"p98<1s\": no figure is called \"p98\": did you mean `p90`?",
        ),
        (
            "connections = 10",
            "connections = 10\nassert = [\"phase.hodl.p99<1s\"]",
            "s.toml: assert \"phase.hodl.p99<1s\": no phase is called hodl: did you mean `hold`?",
        ),
        (
            "connections = 10",
            "connections = 10\ntimeout = \"0s\"",
            "s.toml: timeout: use 1ms to 600s",
        ),
    ] {
        assert_wrong(from, to, expected);
    }
}

#[test]
fn targets_fit_or_are_asked_for() {
    for (targets, expected) in [
        (vec![], "no target: name one with --target http://HOST:PORT/mcp"),
        (
            vec!["tcp://127.0.0.1:1"],
            "no target for a workload of kind = \"http\": name one with --target \
             http://HOST:PORT/mcp",
        ),
        (vec![HTTP, HTTP], "--target http://127.0.0.1:8080/mcp: name it once"),
        (
            vec!["http://198.51.100.7/mcp"],
            "--target http://198.51.100.7/mcp: it is neither this machine nor on a network made \
             here: --allow-remote loads it all the same, if it is yours",
        ),
        (
            vec!["127.0.0.1:8080"],
            "--target 127.0.0.1:8080: write http://HOST:PORT/mcp, tcp://HOST:PORT or stdio:COMMAND",
        ),
    ] {
        let wrong = resolved(LEAST, &flags(&targets)).expect_err("no plan");
        assert_eq!((wrong.to_string().as_str(), wrong.exit_code()), (expected, 64));
    }
    let plan = resolved(LEAST, &flags(&[HTTP, "tcp://127.0.0.1:1"])).expect("a plan");
    assert_eq!(plan.warnings[0], "--target tcp://127.0.0.1:1: no workload goes there");
    let mixed = "targets = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n".to_owned() + LEAST;
    let script = resolved(&mixed, &flags(&[])).expect("targets of the file").script;
    let of_first = script.seats.iter().filter(|seat| seat.target == 0).count();
    assert_eq!(of_first, 5, "targets rotate");
}

#[test]
fn flags_take_the_place_of_keys() {
    let text = "connections = 100\nseed = 7\n[[workload]]\nkind = \"http\"\n[[phase]]\n\
        kind = \"ramp\"\nconnections = 50\nduration = \"1s\"\nrate = 3\n[[phase]]\nkind = \"hold\"\n\
        connections = 100\nduration = \"1s\"\nreconnect = 50\n";
    let options = Options {
        connections: Some(Count(1_000)),
        rate: Some(text::Rate(99.5)),
        duration: Some(Span { ms: 9_000 }),
        depth: Some(Count(4)),
        shards: Some(Count(3)),
        cpus: Some("1".parse().expect("a list")),
        assert: vec!["errors=0".parse().expect("a check")],
        ..flags(&[HTTP])
    };
    let plan = resolved(text, &options).expect("a plan");
    let script = &*plan.script;
    let (ramp, hold) = (&script.phases[0], &script.phases[1]);
    assert_eq!((ramp.connections_to, hold.connections_to, hold.reconnect), (500, 1_000, 500));
    assert_eq!((ramp.rate_per_s, hold.rate_per_s), (3.0, 99.5));
    assert_eq!((ramp.duration_ns, hold.duration_ns), (1_000_000_000, 9_000_000_000));
    assert_eq!((script.workloads[0].depth, plan.shards, &plan.cpus[..]), (4, 3, &[1][..]));
    assert_eq!((plan.seed, plan.checks.len()), (7, 1));
    // What was resolved is a scenario that says the same.
    let again = resolved(&plan.scenario, &flags(&[])).expect("a scenario again");
    assert_eq!(again.scenario, plan.scenario);
    assert_eq!(format!("{:?}", again.script), format!("{:?}", plan.script));

    let ramp_only = LEAST.replace("hold", "ramp");
    let options = Options { rate: Some(text::Rate(1.0)), ..flags(&[HTTP]) };
    let wrong = resolved(&ramp_only, &options).expect_err("no phase to change");
    assert_eq!(wrong.exit_code(), 64);
}

#[test]
fn a_hundred_thousand_take_six_rings_and_two_hundred_addresses() {
    let options = Options { connections: Some(Count(100_000)), ..flags(&[HTTP]) };
    let plan = resolved(LEAST, &options).expect("a plan");
    assert_eq!((plan.shards, plan.table), (6, 16_923));
    let Endpoint::Ip { sources: Some(sources), .. } = plan.script.targets[0].remote else {
        panic!("{:?}", plan.script.targets[0]);
    };
    assert_eq!((sources.count, sources.each), (200, 500));
    // A session with a stream takes two sockets.
    let sessions = LEAST.replace("\"http\"", "\"http-session\"");
    assert_eq!(resolved(&sessions, &options).expect("a plan").shards, 11);
    // Kinds that alternate are not one role's alone.
    let both = LEAST.replace("[[phase]]", "[[workload]]\nkind = \"http-session\"\n[[phase]]");
    let plan = resolved(&both, &options).expect("a plan");
    let sockets = |role: usize| -> u32 {
        let seats = plan.script.seats.iter().skip(role).step_by(plan.shards.into());
        seats.map(|seat| plan.script.workloads[usize::from(seat.workload)].kind.sockets()).sum()
    };
    assert!((0..plan.shards.into()).all(|role| sockets(role) < plan.table), "{plan}");
}

#[test]
fn each_client_on_pipes_has_a_child_of_its_own() {
    let text = "connections = 5\n[[workload]]\nkind = \"stdio\"\nconnections = 3\n[[workload]]\n\
                kind = \"http\"\n[[phase]]\nkind = \"hold\"\nduration = \"1s\"\n";
    let plan = resolved(text, &flags(&["stdio:one x", HTTP, "stdio:two"])).expect("a plan");
    let names: Vec<&str> = plan.script.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["stdio:one x", HTTP, "stdio:two", "stdio:two #2"]);
    assert_eq!(plan.children, [vec!["one", "x"], vec!["two"], vec!["two"]]);
    for (at, target) in plan.script.targets.iter().enumerate() {
        let seats = plan.script.seats.iter().filter(|seat| usize::from(seat.target) == at);
        let seats: Vec<_> = seats.collect();
        match target.remote {
            Endpoint::Adopted(_) => assert_eq!(seats.len(), 1, "{}", target.name),
            Endpoint::Ip { .. } => assert_eq!(seats.len(), 2),
        }
        let kind = u8::from(target.name == HTTP);
        assert!(seats.iter().all(|seat| seat.workload == kind), "{seats:?}");
    }
}

#[test]
fn rates_are_shared_by_those_who_call_in_an_open_loop() {
    let text = "connections = 100\n[[workload]]\nkind = \"http\"\nweight = 3\n[[workload]]\n\
        kind = \"listen\"\nweight = 4\n[[workload]]\nkind = \"http\"\nloop = \"closed\"\n\
        weight = 2\n[[workload]]\nkind = \"http\"\nweight = 1\n[[phase]]\nkind = \"hold\"\n\
        duration = \"1s\"\nrate = 10\n";
    let script = resolved(text, &flags(&[HTTP])).expect("a plan").script;
    let shares: Vec<f64> = script.workloads.iter().map(|workload| workload.rate_share).collect();
    assert_eq!(shares, [0.75, 0.0, 0.0, 0.25]);
    let names: Vec<&str> = script.workloads.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(names, ["http", "listen", "http-2", "http-3"]);
    let nobody = LEAST.to_owned() + "rate = 5\n";
    let nobody = nobody.replace("kind = \"http\"", "kind = \"http\"\nloop = \"closed\"");
    let plan = resolved(&nobody, &flags(&[HTTP])).expect("a plan");
    assert!(plan.warnings[0].contains("its rate says nothing"), "{:?}", plan.warnings);
    let idle = resolved(LEAST, &flags(&[HTTP])).expect("a plan");
    assert!(idle.warnings[0].starts_with("nobody calls"), "{:?}", idle.warnings);
}

/// Those of the repository, each with the fitting targets.
#[test]
fn the_scenarios_of_the_repository_are_plans() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/scenarios");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|of| of != "toml") {
            continue;
        }
        let file = File::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let targets = [HTTP, "tcp://127.0.0.1:8081", "stdio:ringmesh --stdio"];
        let plan = Resolver::new(&flags(&targets), &file, &world()).and_then(|mut of| of.plan());
        let plan = plan.unwrap_or_else(|error| panic!("{error}"));
        let foreign = |warning: &String| warning.ends_with("no workload goes there");
        assert!(plan.warnings.iter().all(foreign), "{}: {:?}", path.display(), plan.warnings);
        assert_ne!(plan.title, file.name(), "{}: it has a title", path.display());
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.starts_with("# "), "{}: it says what it is for", path.display());
        names.push(file.name());
    }
    for name in [
        "tcp_burst_100_1kib",
        "tcp_sustained_10k_1kib",
        "tcp_sustained_25k_1kib",
        "tcp_max_100k_1kib",
        "http_sse_sustained_50k",
        "http_burst_100_1kib",
        "stdio_sequential_1k",
        "http_100k_50k_calls",
        "connect_100k_first_call",
        "listen_250k",
        "update_100k_listeners",
        "greedy_client",
        "polite_clients",
        "reconnect_storm_20k",
        "calls_256",
        "calls_10k",
        "calls_100k",
        "legacy_sessions_1k",
        "mixed",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} is missing");
    }
}

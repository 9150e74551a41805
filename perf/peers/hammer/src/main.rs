//! A closed-loop client: every connection calls the tool `add` again as soon as it has its answer.
//!
//! `hammer --to 127.0.0.1:8080 --mode http-legacy --connections 64 --seconds 5` prints one line of
//! JSON: requests answered within the time, their rate, latencies, errors, and, with `--pid`, the
//! CPU time that the server spent on them. Each answer must be the one that its request asked for.
//! It lives once per process, on one thread and one epoll.
//!
//! Deliberately absent: an open loop (latencies here say how long a saturated server takes), TLS,
//! and more than the few thousand connections that one source address can hold.

mod load;
mod options;
mod sessions;
mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use load::Load;
use options::Options;

/// sysexits: the command line is wrong; something that is needed is not there.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("hammer: {error}\n{}", options::USAGE);
            return ExitCode::from(EX_USAGE);
        }
    };
    match run(&options) {
        Ok(errors) => ExitCode::from(u8::from(errors > 0)),
        Err(error) => {
            eprintln!("hammer: {error}");
            ExitCode::from(EX_UNAVAILABLE)
        }
    }
}

/// Runs and prints; says how many errors there were.
fn run(options: &Options) -> Result<u64, Box<dyn std::error::Error>> {
    let peers = sessions::open(options)?;
    let request_bytes = peers[0].request.len();
    let mut load = Load::new(peers, options)?;
    load.run_until(Instant::now() + options.warm_up)?;
    load.reset();
    let cpu_before = options.pid.map(cpu_ticks).transpose()?;
    let began = Instant::now();
    load.run_until(began + options.duration)?;
    let took = began.elapsed();
    let cpu_after = options.pid.map(cpu_ticks).transpose()?;
    let spent =
        |(before, after): ([u64; 2], [u64; 2])| [after[0] - before[0], after[1] - before[1]];
    let ticks = cpu_before.zip(cpu_after).map(spent);
    print(options, &load, took, ticks, request_bytes);
    Ok(load.errors)
}

fn print(
    options: &Options,
    load: &Load,
    took: Duration,
    ticks: Option<[u64; 2]>,
    request_bytes: usize,
) {
    let requests = load.answers.max(1);
    let [user, system] = ticks.unwrap_or_default();
    let at = |quantile| load.latency_us.value_at_quantile(quantile);
    println!(
        "{{\"mode\":\"{}\",\"elsewhere\":{},\"connections\":{},\"depth\":{},\"seconds\":{:.3},\
         \"requests\":{},\"rate\":{:.0},\"p50_us\":{},\"p99_us\":{},\"max_us\":{},\
         \"request_bytes\":{request_bytes},\"reply_bytes\":{},\"server_user_ticks\":{user},\
         \"server_system_ticks\":{system},\
         \"errors\":{},\"error_sample\":\"{}\"}}",
        options.mode.name(),
        options.elsewhere,
        options.connections,
        options.depth,
        took.as_secs_f64(),
        load.answers,
        load.answers as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        load.latency_us.max(),
        load.answer_bytes / requests,
        load.errors,
        load.error_sample
            .escape_default()
            .to_string()
            .replace("\\'", "'"),
    );
}

/// utime and stime of the process, all its threads, in clock ticks (proc(5), stat).
fn cpu_ticks(pid: u32) -> std::io::Result<[u64; 2]> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    let ticks = |at| {
        fields
            .split(' ')
            .nth(at)
            .and_then(|field| field.parse::<u64>().ok())
    };
    ticks(11)
        .zip(ticks(12))
        .map(|(user, system)| [user, system])
        .ok_or_else(|| std::io::Error::other(format!("/proc/{pid}/stat has another form: {stat}")))
}

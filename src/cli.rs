//! The command line: `ringmesh [serve]`, and what else is done with a server (`health`, `doctor`,
//! `top`, `load`, `report`), for this program and for every server that is built with the library.
//!
//! Whatever is wrong is one line on standard error and an exit code of sysexits.h: 64 for the
//! command line, 78 for the configuration and for limits, 69 for what is not available.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use ringmesh_runtime::catalog::CatalogError;

use crate::boot::{self, StartError, reachable};
use crate::config::{
    Address, ConfigError, File, Machine, Plan, Settings, Source, admin_of, resolve,
};
use crate::doctor;
use crate::load::compare;
use crate::load::options::Options;
use crate::load::{self, scenario};
use crate::server::Server;
use crate::top;

/// Names the file with the settings where `--config` does not.
const CONFIG_VARIABLE: &str = "RINGMESH_CONFIG";
/// How long the server may take to answer its health check, in all.
const HEALTH_MAX: Duration = Duration::from_secs(2);
const HELP: &str = "`ringmesh --help` lists the flags";
const AFTER_HELP: &str = "\
Settings come from flags, then from the file of --config (or of the variable RINGMESH_CONFIG), \
whose keys are the flags without dashes, then from defaults. \
TIME is 500ms, 10s, 2m; SIZE is 4096, 64KiB, 4MiB. SIGTERM and SIGINT stop the server gracefully, \
a second one at once. Exit codes: 64 wrong command line, 69 something is not available (a port, \
io_uring), 70 a bug, 74 standard input or output failed, 76 the client of --stdio broke the \
protocol, 78 wrong configuration or a limit that is too low.";
const LOAD_HELP: &str = "\
Flags take the place of the scenario's keys. TIME is 500ms, 10s, 2m. Targets are this machine and \
networks that it made (bridges, namespaces); others need --allow-remote. SIGINT and SIGTERM end a \
run early: what was measured until then is written and marked as such. Exit codes: 1 a check of \
--assert failed or the run did not complete, 64 wrong command line, 65 wrong scenario, 66 no such \
scenario, 69 a target is not there, 73 the folder for results cannot be made, 74 writing failed, \
78 a limit is too low, 130 interrupted.";

/// An MCP server for very many connections: one io_uring shard per core.
#[derive(Parser)]
#[command(
    name = "ringmesh",
    version = version(),
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (what happens without a subcommand)
    #[command(after_help = AFTER_HELP)]
    Serve(Box<Serve>),
    /// Ask a server on this machine whether it is ready: exit 0 if it is, 1 if not
    Health(Health),
    /// Tell what this machine allows, how many connections it carries, and what mends it
    Doctor(doctor::Options),
    /// Show a running server live, shard by shard, with its slowest ticks
    Top(top::Options),
    /// Put load on servers, as many clients as a scenario says, and measure what they do
    #[command(after_help = LOAD_HELP)]
    Load(Box<Options>),
    /// Lay the results of runs side by side
    Report(Report),
}

#[derive(Args)]
struct Serve {
    /// Read settings from this file [default: the variable RINGMESH_CONFIG, else none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check all settings and limits, print the plan with the memory it needs, bind nothing
    #[arg(long)]
    check: bool,
    /// Serve MCP to one client on standard input and output, as lines of JSON, and nowhere else;
    /// exit when the input ends
    #[arg(long)]
    stdio: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct Report {
    /// Results folders of `ringmesh load`, the first is what others are compared with
    #[arg(value_name = "DIR", required = true, num_args = 1..)]
    folders: Vec<PathBuf>,
    /// Write a self-contained page as well
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Args)]
struct Health {
    /// The server's admin listener [default: that of --config, else 127.0.0.1:9180]
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<Address>,
    /// The server's file of settings [default: the variable RINGMESH_CONFIG, else none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs a server's command line, from its arguments to its exit code. `make` builds the server for
/// the plan; it is called for `--check` too.
pub fn main(make: impl FnOnce(&Plan) -> Result<Server, CatalogError>) -> ExitCode {
    match dispatch(std::env::args_os(), make) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End { line, code }) => {
            if let Some(line) = line {
                writeln!(io::stderr(), "ringmesh: {line}").ok();
            }
            ExitCode::from(code)
        }
    }
}

/// The version, with the commit where the build was told it (RINGMESH_COMMIT).
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let version = env!("CARGO_PKG_VERSION");
        match option_env!("RINGMESH_COMMIT") {
            Some(commit) if !commit.is_empty() => format!("{version} ({commit})"),
            _ => version.to_owned(),
        }
    })
}

/// How a command ends without success.
#[derive(Debug, PartialEq, Eq)]
struct End {
    line: Option<String>,
    code: u8,
}

impl From<StartError> for End {
    fn from(error: StartError) -> Self {
        Self { line: Some(error.to_string()), code: error.exit_code() }
    }
}

impl From<ConfigError> for End {
    fn from(error: ConfigError) -> Self {
        StartError::from(error).into()
    }
}

fn dispatch(
    arguments: impl IntoIterator<Item = OsString>,
    make: impl FnOnce(&Plan) -> Result<Server, CatalogError>,
) -> Result<(), End> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match cli.command {
        Some(Command::Health(health)) => check_health(&health),
        Some(Command::Doctor(options)) => succeed_if(doctor::run(&options)),
        Some(Command::Top(options)) => {
            let admin = admin_named(options.admin, options.config.as_deref())?;
            Ok(top::run(&options, admin)?)
        }
        Some(Command::Load(options)) => load(&options),
        Some(Command::Report(report)) => lay_side_by_side(&report),
        Some(Command::Serve(serve)) => run(*serve, make),
        None => run(cli.serve, make),
    }
}

/// What is wrong was told already.
fn succeed_if(good: bool) -> Result<(), End> {
    if good { Ok(()) } else { Err(End { line: None, code: 1 }) }
}

fn run(serve: Serve, make: impl FnOnce(&Plan) -> Result<Server, CatalogError>) -> Result<(), End> {
    let file = read_file(serve.config.as_deref())?;
    let source = Source { flags: serve.settings, file, stdio: serve.stdio };
    let plan = resolve(&source, &Machine::read())?;
    let server = make(&plan).map_err(|error| {
        StartError::software(format!("what the server offers is wrong: {error}"))
    })?;
    if serve.check {
        print(&plan);
        return Ok(());
    }
    Ok(boot::run(server, plan)?)
}

fn load(options: &Options) -> Result<(), End> {
    let plan = scenario::resolve(options)?;
    if options.check {
        print(&plan);
        return Ok(());
    }
    let outcome = load::run::run(plan)?;
    print(&outcome);
    match outcome.exit_code() {
        0 => Ok(()),
        code => Err(End { line: None, code }),
    }
}

fn lay_side_by_side(report: &Report) -> Result<(), End> {
    print(&compare::compare(&report.folders, report.html.as_deref())?);
    Ok(())
}

fn read_file(named: Option<&Path>) -> Result<Option<File>, ConfigError> {
    let variable = std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty());
    let path = named.map(Path::to_path_buf).or_else(|| variable.map(PathBuf::from));
    path.map(|path| File::read(&path)).transpose()
}

/// Help and version are no errors; all else becomes one line.
fn refuse(error: &clap::Error) -> Result<(), End> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        print(&error.render());
        return Ok(());
    }
    Err(ConfigError::usage(one_line_of(error)).into())
}

fn one_line_of(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    // What is missing stands below.
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(missing) = lines.next()
    {
        line = format!("{line} {}", missing.trim());
    }
    // A value's own message says how to write it; otherwise clap may know what was meant.
    if error.kind() != ErrorKind::ValueValidation {
        let tip = lines.find_map(|line| line.trim_start().strip_prefix("tip: "));
        line = format!("{line}: {}", tip.unwrap_or(HELP));
    }
    line
}

/// Standard output may be closed: that is the reader's choice.
fn print(text: &impl Display) {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).ok();
}

fn check_health(health: &Health) -> Result<(), End> {
    let admin = admin_named(health.admin, health.config.as_deref())?;
    let unhealthy = |what: &dyn Display| End { line: Some(format!("{admin}: {what}")), code: 1 };
    let status = ask(admin, "/readyz").map_err(|error| unhealthy(&error))?;
    match status {
        200..300 => Ok(()),
        status => Err(unhealthy(&format!("not ready (HTTP {status})"))),
    }
}

/// The admin listener of a running server, as this machine reaches it.
fn admin_named(admin: Option<Address>, config: Option<&Path>) -> Result<SocketAddr, ConfigError> {
    let admin = match admin {
        Some(Address(admin)) => admin,
        None => admin_of(&Source { file: read_file(config)?, ..Source::default() }),
    };
    Ok(reachable(admin))
}

/// The status of a GET request.
fn ask(admin: SocketAddr, path: &str) -> io::Result<u16> {
    let deadline = Instant::now() + HEALTH_MAX;
    let mut stream = TcpStream::connect_timeout(&admin, HEALTH_MAX)?;
    stream.set_write_timeout(Some(HEALTH_MAX))?;
    // In one write, so that it travels whole.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // HTTP/1.1 200
    let mut head = [0; 12];
    let mut filled = 0;
    while filled < head.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut head[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    let status = std::str::from_utf8(&head[9..]).ok().and_then(|digits| digits.parse().ok());
    status.filter(|_| head.starts_with(b"HTTP/1.")).ok_or(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use clap::CommandFactory as _;

    use super::*;

    fn ends(line: &str) -> Result<(), End> {
        let arguments = ["ringmesh"].into_iter().chain(line.split_whitespace());
        let make = |_: &Plan| unreachable!("the line is wrong");
        dispatch(arguments.map(OsString::from), make)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_command_lines_get_one_line_and_exit_64() {
        for (line, expected) in [
            (
                "--shard 2",
                "unexpected argument '--shard' found: a similar argument exists: '--shards'",
            ),
            ("--zzz", "unexpected argument '--zzz' found: `ringmesh --help` lists the flags"),
            ("serve --zzz", "unexpected argument '--zzz' found: `ringmesh --help` lists the flags"),
            ("sreve", "unrecognized subcommand 'sreve': a similar subcommand exists: 'serve'"),
            (
                "--shards two",
                "invalid value 'two' for '--shards <N>': write a whole number from 0 to 4294967295",
            ),
            (
                "--http 8080",
                "invalid value '8080' for '--http <ADDR:PORT>': write ADDR:PORT, such as \
                 127.0.0.1:8080 or [::1]:8080",
            ),
            (
                "serve --grace 25",
                "invalid value '25' for '--grace <TIME>': write a whole number with ms, s, m or h, \
                 such as 500ms or 10s",
            ),
            (
                "--grace",
                "a value is required for '--grace <TIME>' but none was supplied: `ringmesh --help` \
                 lists the flags",
            ),
            (
                "--grace 1s --grace 2s",
                "the argument '--grace <TIME>' cannot be used multiple times: `ringmesh --help` \
                 lists the flags",
            ),
            (
                "health --admin x",
                "invalid value 'x' for '--admin <ADDR:PORT>': write ADDR:PORT, such as \
                 127.0.0.1:8080 or [::1]:8080",
            ),
            ("--shards 0", "--shards 0: use 1 to 1024"),
            (
                "load s.toml --rate -5",
                "invalid value '-5' for '--rate <PER_S>': write how many a second, a number from 0 \
                 to 1e9",
            ),
            (
                "load s.toml --asert errors=0",
                "unexpected argument '--asert' found: a similar argument exists: '--assert'",
            ),
            (
                "load s.toml --assert p99<30",
                "invalid value 'p99<30' for '--assert <CHECK>': the bound is \"30\": write a number \
                 with ns, us, ms, s or m, such as 30ms",
            ),
            (
                "load",
                "the following required arguments were not provided: <SCENARIO.toml>: \
                 `ringmesh --help` lists the flags",
            ),
            (
                "--stdio --tcp 127.0.0.1:1",
                "--stdio serves the client that started it and nobody else: leave --tcp out",
            ),
        ] {
            let end = ends(line).expect_err(line);
            assert_eq!(end.line.as_deref(), Some(expected));
            assert_eq!(end.code, 64, "{line}");
        }
        let end = ends("--config /nowhere/at/all").expect_err("no such file");
        assert_eq!(end.code, 78);
    }

    #[test]
    fn health_is_what_readyz_says() {
        for (answer, line) in [
            ("HTTP/1.1 200 OK\r\n\r\n", None),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Some("not ready (HTTP 503)")),
            ("HTTP/1.1 2", Some("unexpected end of file")),
            ("SSH-2.0-nothing\r\n", Some("invalid data")),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let admin = listener.local_addr().expect("its address");
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("the check");
                let mut request = [0; 256];
                let filled = stream.read(&mut request).expect("a request");
                stream.write_all(answer.as_bytes()).expect("a reader");
                request[..filled].starts_with(b"GET /readyz HTTP/1.1\r\n")
            });
            let checked = check_health(&Health { admin: Some(Address(admin)), config: None });
            assert!(server.join().expect("the server"), "a whole request");
            let expected = line.map_or(Ok(()), |line| {
                Err(End { line: Some(format!("{admin}: {line}")), code: 1 })
            });
            assert_eq!(checked, expected);
        }
    }
}

//! What a server listens on: chosen addresses and paths, or the defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::error::ConfigError;
use super::resolve::Resolver;
use super::settings::{Address, Chosen, Settings, Source};

/// Of a kind. Each shard arms accepts on all of them.
const LISTENERS_MAX: usize = 64;
const HTTP_DEFAULT: Address = loopback(8080);
const ADMIN_DEFAULT: Address = loopback(9180);

/// What is listened on; nothing of it with `--stdio`.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) http: Vec<SocketAddr>,
    pub(super) tcp: Vec<SocketAddr>,
    pub(super) unix: Vec<PathBuf>,
    pub(super) admin: SocketAddr,
}

/// The admin listener that settings name: for those who ask a server that runs.
pub(crate) fn admin_of(source: &Source) -> SocketAddr {
    source.chosen("admin", |s| &s.admin).map_or(ADMIN_DEFAULT, |chosen| chosen.value).0
}

const fn loopback(port: u16) -> Address {
    let address = std::net::Ipv4Addr::LOCALHOST;
    Address(SocketAddr::V4(std::net::SocketAddrV4::new(address, port)))
}

impl Resolver<'_> {
    pub(super) fn listeners(&mut self) -> Result<Listeners, ConfigError> {
        let admin = admin_of(self.source);
        if self.source.stdio {
            self.alone()?;
            return Ok(Listeners { http: vec![], tcp: vec![], unix: vec![], admin });
        }
        let (tcp, unix) = (self.tcp()?, self.unix()?);
        let http = self.http(!tcp.is_empty() || !unix.is_empty())?;
        self.check_apart(&http, &tcp, admin)?;
        Ok(Listeners { http, tcp, unix, admin })
    }

    /// Listeners of a file are for the server that the file describes otherwise.
    fn alone(&self) -> Result<(), ConfigError> {
        let flags = &self.source.flags;
        let others = [
            ("http", flags.http.is_some()),
            ("tcp", flags.tcp.is_some()),
            ("unix", flags.unix.is_some()),
            ("admin", flags.admin.is_some()),
            ("shards", flags.shards.is_some()),
        ];
        match others.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(ConfigError::usage(format!(
                "--stdio serves the client that started it and nobody else: leave --{flag} out"
            ))),
            None => Ok(()),
        }
    }

    fn http(&self, others: bool) -> Result<Vec<SocketAddr>, ConfigError> {
        let chosen = self.source.chosen("http", |s| &s.http);
        let Some(chosen) = chosen else { return Ok(vec![HTTP_DEFAULT.0]) };
        if chosen.value.is_empty() && !others {
            return Err(chosen.wrong("[]", "name at least one address"));
        }
        addresses(&chosen)
    }

    fn tcp(&mut self) -> Result<Vec<SocketAddr>, ConfigError> {
        let chosen = self.source.chosen("tcp", |s| &s.tcp);
        let tcp = chosen.as_ref().map_or(Ok(Vec::new()), addresses)?;
        if let Some(exposed) = tcp.iter().find(|address| !address.ip().is_loopback()) {
            self.warnings.push(format!(
                "{exposed} serves lines to whoever reaches it: there is no authentication and no \
                 check of Host and Origin as over HTTP (loopback: --tcp 127.0.0.1:{})",
                exposed.port(),
            ));
        }
        Ok(tcp)
    }

    fn unix(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let chosen = self.source.chosen("unix", |s| &s.unix);
        let Some(chosen) = chosen else { return Ok(Vec::new()) };
        check_count(&chosen, "paths")?;
        let paths = &chosen.value;
        if paths.iter().any(|path| path.as_os_str().is_empty()) {
            return Err(chosen.wrong("\"\"", "name a path such as /run/ringmesh.sock"));
        }
        if let Some(path) = twice(paths) {
            return Err(chosen.wrong(path.display(), "it is named twice: name it once"));
        }
        Ok(chosen.value)
    }

    /// One port, one use.
    fn check_apart(
        &self,
        http: &[SocketAddr],
        tcp: &[SocketAddr],
        admin: SocketAddr,
    ) -> Result<(), ConfigError> {
        let served = |address: &SocketAddr| address.port() != 0 && http.contains(address);
        if let (Some(address), Some(chosen)) =
            (tcp.iter().find(|address| served(address)), self.source.chosen("tcp", |s| &s.tcp))
        {
            let mend = "HTTP is served there: choose another port for one of them";
            return Err(chosen.wrong(address, mend));
        }
        let taken = match admin {
            _ if served(&admin) => "HTTP is",
            _ if admin.port() != 0 && tcp.contains(&admin) => "lines over TCP are",
            _ => return Ok(()),
        };
        let mend = format!("{taken} served there: choose another port for one of them");
        Err(match self.source.chosen("admin", |s: &Settings| &s.admin) {
            Some(chosen) => chosen.wrong(admin, mend),
            None => ConfigError::usage(format!("--admin {admin} (the default): {mend}")),
        })
    }
}

fn addresses(chosen: &Chosen<Vec<Address>>) -> Result<Vec<SocketAddr>, ConfigError> {
    check_count(chosen, "addresses")?;
    let addresses: Vec<SocketAddr> = chosen.value.iter().map(|address| address.0).collect();
    match twice(addresses.iter().filter(|address| address.port() != 0)) {
        Some(address) => Err(chosen.wrong(address, "it is named twice: name it once")),
        None => Ok(addresses),
    }
}

fn check_count<T>(chosen: &Chosen<Vec<T>>, what: &str) -> Result<(), ConfigError> {
    let count = chosen.value.len();
    if count > LISTENERS_MAX {
        return Err(
            chosen.wrong(format!("({count} {what})"), format!("name at most {LISTENERS_MAX}"))
        );
    }
    Ok(())
}

fn twice<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = Vec::new();
    for one in all {
        if seen.contains(&one) {
            return Some(one);
        }
        seen.push(one);
    }
    None
}

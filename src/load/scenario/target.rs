//! `--target`: an HTTP endpoint, a listener of lines, or a program on pipes.

use std::fmt;

use super::text::Speech;

const PORT_HTTP: u16 = 80;
const PATH_DEFAULT: &str = "/mcp";
const BYTES_MAX: usize = 4096;
const WRITE: &str = "write http://HOST:PORT/mcp, tcp://HOST:PORT or stdio:COMMAND";

/// A target as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The text.
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Http { host: String, port: u16, path: String },
    Tcp { host: String, port: u16 },
    Stdio { command: Vec<String> },
}

impl Target {
    /// Reads one; what is wrong is told without the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("it is longer than {BYTES_MAX} bytes"));
        }
        let place = if let Some(rest) = text.strip_prefix("http://") {
            http(rest)?
        } else if let Some(rest) = text.strip_prefix("tcp://") {
            let (host, port) = authority(rest)?;
            Place::Tcp { host, port: port.ok_or("a port is missing: write tcp://HOST:PORT")? }
        } else if let Some(rest) = text.strip_prefix("stdio:") {
            Place::Stdio { command: words(rest)? }
        } else if text.starts_with("https://") {
            return Err("TLS is not spoken: write http://".into());
        } else {
            return Err(WRITE.into());
        };
        Ok(Self { name: text.to_owned(), place })
    }

    /// Whether clients of a kind can speak with it.
    pub(crate) fn fits(&self, speech: Speech) -> bool {
        use Speech::{Http, HttpSession, Listen, Stdio, StdioSession, Tcp, TcpSession};
        match self.place {
            Place::Http { .. } => matches!(speech, Http | HttpSession | Listen),
            Place::Tcp { .. } => matches!(speech, Tcp | TcpSession),
            Place::Stdio { .. } => matches!(speech, Stdio | StdioSession),
        }
    }

    /// How to write one for clients of a kind.
    pub(crate) fn form(speech: Speech) -> &'static str {
        match speech {
            Speech::Http | Speech::HttpSession | Speech::Listen => "http://HOST:PORT/mcp",
            Speech::Tcp | Speech::TcpSession => "tcp://HOST:PORT",
            Speech::Stdio | Speech::StdioSession => "stdio:COMMAND",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

fn http(rest: &str) -> Result<Place, String> {
    let (before, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, PATH_DEFAULT),
    };
    let (host, port) = authority(before)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte);
    if !path.starts_with('/') || !path.bytes().all(plain) {
        return Err(format!("its path is {path:?}: write a plain one such as /mcp"));
    }
    Ok(Place::Http { host, port: port.unwrap_or(PORT_HTTP), path: path.to_owned() })
}

/// `HOST`, `HOST:PORT` or `[V6]:PORT`; the host without brackets.
fn authority(text: &str) -> Result<(String, Option<u16>), String> {
    if text.contains('@') {
        return Err("it names a user, and there is no authentication: leave it out".into());
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("a ] is missing after the address")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "in brackets stands an IPv6 address")?;
            (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some("x")))
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("write an IPv6 address in brackets, such as [::1]:8080".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(WRITE.into());
    }
    let port = port.map(|port| match port.parse() {
        Ok(port) if port != 0 && !port_is_odd(text) => Ok(port),
        _ => Err("its port is no number from 1 to 65535".to_owned()),
    });
    Ok((host.to_owned(), port.transpose()?))
}

/// `u16::from_str` takes a sign.
fn port_is_odd(text: &str) -> bool {
    text.contains('+')
}

/// Splits a command at spaces; quotes hold words together, as in a shell, and nothing else does.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is missing at the end"));
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return Err(
            "no command follows: write stdio:COMMAND, such as stdio:'ringmesh --stdio'".into()
        );
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let http = |host: &str, port, path: &str| {
            Ok(Place::Http { host: host.into(), port, path: path.into() })
        };
        let tcp = |host: &str, port| Ok(Place::Tcp { host: host.into(), port });
        let stdio = |words: &[&str]| {
            Ok(Place::Stdio { command: words.iter().map(|word| (*word).to_owned()).collect() })
        };
        for (text, expected) in [
            ("http://127.0.0.1:8080/mcp", http("127.0.0.1", 8080, "/mcp")),
            ("http://[::1]:8080/a?b=c", http("::1", 8080, "/a?b=c")),
            ("http://localhost", http("localhost", 80, "/mcp")),
            ("http://localhost/", http("localhost", 80, "/")),
            ("tcp://127.0.0.1:9", tcp("127.0.0.1", 9)),
            ("stdio:ringmesh --stdio", stdio(&["ringmesh", "--stdio"])),
            ("stdio:\"a b\" 'c \"d'e ''", stdio(&["a b", "c \"de", ""])),
        ] {
            assert_eq!(Target::parse(text).map(|target| target.place), expected, "{text}");
        }
        for (text, part) in [
            ("127.0.0.1:8080", "write http://"),
            ("https://127.0.0.1", "TLS"),
            ("http://", "write http://"),
            ("http://h:0/", "port"),
            ("http://h:+1/", "port"),
            ("http://h:99999/", "port"),
            ("http://[::1]8080/", "port"),
            ("http://[::1", "]"),
            ("http://::1:80/", "brackets"),
            ("http://me@h/", "user"),
            ("http://h/a b", "path"),
            ("http://h\r\nX: y/", "write http://"),
            ("tcp://h", "port"),
            ("tcp://h:1/x", "port"),
            ("stdio:", "no command"),
            ("stdio:''", "no command"),
            ("stdio:a 'b", "missing"),
            ("ftp://h", "write http://"),
        ] {
            let wrong = Target::parse(text).expect_err(text);
            assert!(wrong.contains(part), "{text}: {wrong}");
        }
    }
}

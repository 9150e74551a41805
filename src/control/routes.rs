//! What each path of the admin endpoint answers. Read-only: GET and HEAD alone.

use super::Plane;
use super::health::Check;
use super::{metrics, status};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use serde::Serialize;
use std::net::IpAddr;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const UNHEALTHY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Paths, for those who ask for none.
const INDEX: &str = "ringmesh admin\n/metrics\n/status\n/health\n/livez\n/readyz\n/startupz\n";

struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

/// Answers one request; hyper leaves the body out for HEAD. A body of the request is not read.
pub(super) async fn answer(plane: &Plane, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let refusal = refuse(plane, request);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = match refusal {
        Some(refusal) => refusal,
        None if !is_read => text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n"),
        None => route(plane, request.uri().path()).await,
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

async fn route(plane: &Plane, path: &str) -> Answer {
    match path {
        "/" => text(StatusCode::OK, INDEX),
        "/metrics" => {
            let snapshot = plane.census.snapshot().await;
            match metrics::render(plane, &snapshot) {
                Ok(body) => Answer { status: StatusCode::OK, content_type: METRICS, body },
                Err(error) => {
                    tracing::error!(%error, "metrics cannot be rendered");
                    text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered\n")
                }
            }
        }
        "/status" => {
            let snapshot = plane.census.snapshot().await;
            json(StatusCode::OK, &status::Status::of(plane, &snapshot))
        }
        "/health" => {
            let health = plane.health();
            json(if health.ok() { StatusCode::OK } else { UNHEALTHY }, &health)
        }
        "/livez" => check(plane.health().live),
        "/readyz" => check(plane.health().ready),
        "/startupz" => check(plane.health().started),
        _ => text(StatusCode::NOT_FOUND, "no such path\n"),
    }
}

fn check(check: Check) -> Answer {
    match check.reason {
        None => text(StatusCode::OK, "ok\n"),
        Some(reason) => text(UNHEALTHY, format!("{reason}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    Answer { status, content_type: TEXT, body: body.into() }
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string_pretty(body) {
        Ok(body) => Answer { status, content_type: JSON, body: body + "\n" },
        Err(error) => {
            tracing::error!(%error, "an answer cannot be rendered");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be rendered\n")
        }
    }
}

/// A page of another site that a browser was led here by (DNS rebinding), or a request that does
/// not say whom it means.
fn refuse(plane: &Plane, request: &Request<Incoming>) -> Option<Answer> {
    let headers = request.headers();
    if let Some(origin) = headers.get(ORIGIN)
        && !plane.allowed.origin(origin.as_bytes())
    {
        return Some(text(StatusCode::FORBIDDEN, "origin not allowed\n"));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (request.uri().authority(), hosts.next(), hosts.next()) {
        // An absolute target overrides the field (RFC 9112, section 3.2.2).
        (Some(authority), Some(_), None) => Some(authority.as_str().as_bytes()),
        (None, Some(host), None) => Some(host.as_bytes()),
        (None, None, None) if request.version() == Version::HTTP_10 => None,
        _ => return Some(text(StatusCode::BAD_REQUEST, "one Host is needed\n")),
    };
    match host {
        Some(host) if !plane.allowed.host(host) && !is_address(host) => {
            Some(text(StatusCode::FORBIDDEN, "host not allowed: start with --allow-host\n"))
        }
        _ => None,
    }
}

/// Whether a host is a literal address: orchestrators probe by address, and nobody's DNS can make
/// a foreign page's name into one.
fn is_address(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    if let Some(rest) = host.strip_prefix('[') {
        let literal = rest.split_once(']').map(|(literal, _)| literal);
        return literal.is_some_and(|literal| matches!(literal.parse(), Ok(IpAddr::V6(_))));
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name.parse(), Ok(IpAddr::V4(_)))
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn addresses_are_told_from_names() {
        for host in ["10.0.0.7", "10.0.0.7:9180", "[2001:db8::1]:9180", "[::1]"] {
            assert!(is_address(host.as_bytes()), "{host}");
        }
        for host in ["10.0.0.7.example", "example:80", "2130706433", "[name]", "", "2001:db8::1"] {
            assert!(!is_address(host.as_bytes()), "{host}");
        }
    }
}

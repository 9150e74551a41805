//! HTTP/1.1 as a server reads and writes it (RFC 9112), and what a client reads of it, without
//! input or output.
//!
//! [`find_head`] finds where a request's head ends, however the network cut it; [`Head`] parses it
//! in place; [`Chunked`] decodes a chunked body; [`reply`] writes responses into the buffer that is
//! sent; [`ResponseHead`] reads what others wrote. Values of these types live at most as long as
//! one request of one connection.
//!
//! Invariants: a message whose end two implementations could place differently is refused, never
//! repaired, since the next request on the connection would be read from its remains (RFC 9112
//! 11.2). The parse path allocates nothing. Every length is bounded.
//!
//! Left out on purpose: requests of clients, HTTP/2, content codings, ranges, trailers (checked,
//! then dropped), and policy: which hosts, origins, paths and methods are served is the session's
//! to say.

mod chunked;
mod head;
pub mod reply;
mod response;

pub use chunked::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, ChunkError, Chunked, Decoded,
    TRAILER_BYTES_MAX,
};
pub use head::{Framing, HEAD_BYTES_MAX, HEADERS_MAX, Head, HeadError, Headers, Known, find_head};
pub use reply::{
    BODY_BYTES_MAX, Patch, ReplyHead, Status, begin_body, begin_stream, finish_body,
    write_continue, write_empty,
};
pub use response::{Media, ResponseError, ResponseFraming, ResponseHead};

#[cfg(test)]
mod tests;

/// Whether the value of one `Accept` field takes `media`, a type such as `application/json` (RFC
/// 9110 12.5.1).
///
/// The most specific matching range decides, and a weight of zero refuses. Parameters other than
/// the weight are not compared. For a request use [`Head::accepts`], which knows of further lines.
pub fn accepts(accept: &[u8], media: &str) -> bool {
    let mut verdict = Verdict::default();
    verdict.weigh(accept, media);
    verdict.accepted
}

/// Whether a `Content-Type` value names `application/json`, in any case, with or without
/// parameters (RFC 9110 8.3.1).
pub fn is_json_content_type(value: &[u8]) -> bool {
    let essence = value.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// What the ranges seen so far say of one media type.
#[derive(Default)]
struct Verdict {
    /// 3 for the type itself, 2 for `type/*`, 1 for `*/*`, 0 while nothing matched.
    specificity: u8,
    accepted: bool,
}

impl Verdict {
    fn weigh(&mut self, accept: &[u8], media: &str) {
        for element in accept.split(|&byte| byte == b',') {
            let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let specificity = specificity(parts.next().unwrap_or_default(), media.as_bytes());
            if specificity == 0 || specificity < self.specificity {
                continue;
            }
            let accepted = !parts.any(is_zero_weight);
            self.accepted = accepted || (self.accepted && specificity == self.specificity);
            self.specificity = specificity;
        }
    }
}

fn specificity(range: &[u8], media: &[u8]) -> u8 {
    if range.eq_ignore_ascii_case(media) {
        return 3;
    }
    match range {
        // A lone star is what old clients send for any type.
        b"*/*" | b"*" => 1,
        [kind @ .., b'*'] if kind.ends_with(b"/") => {
            let same = media.get(..kind.len()).is_some_and(|head| head.eq_ignore_ascii_case(kind));
            if same { 2 } else { 0 }
        }
        _ => 0,
    }
}

fn is_zero_weight(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => {
            !weight.is_empty() && weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
        }
        _ => false,
    }
}

/// A character of a token (RFC 9110 5.6.2).
const fn is_tchar(byte: u8) -> bool {
    let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    plain || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' | b'~')
}

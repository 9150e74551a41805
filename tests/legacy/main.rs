//! The legacy era over HTTP (2025-03-26 to 2025-11-25): sessions as their clients see them, on one
//! shard, and on three with every session on another shard than the connections that use it.
//!
//! This program is the server under test as well.

#[path = "../support/misbehaving.rs"]
mod misbehaving;
#[path = "../support/own.rs"]
mod own;
#[path = "../support/mod.rs"]
mod support;

mod asking;
mod bounds;
mod calls;
mod handshake;
mod resumption;
mod streams;

use std::process::ExitCode;

use support::session::connect_far;
use support::{Client, Server, Session};

fn main() -> ExitCode {
    own::main_by_shards(&[
        ("versions_are_negotiated", handshake::versions),
        ("a_session_id_names_its_shard_and_is_told_once", handshake::ids),
        ("what_is_no_request_of_a_session_is_refused", handshake::refusals),
        ("an_ended_session_is_no_more", handshake::ends),
        ("methods_answer_as_the_era_has_it", calls::methods),
        ("ids_in_flight_differ_within_a_session", calls::duplicates),
        ("a_cancelled_call_is_not_answered", calls::cancellation),
        ("batches_belong_to_one_version", calls::batches),
        ("whole_batches_are_refused_or_answered", calls::odd_batches),
        ("progress_comes_as_events", streams::progress),
        ("logs_come_by_the_level_of_the_session", streams::levels),
        ("the_newest_get_is_read", streams::replaced),
        ("changes_reach_the_stream_of_get", streams::changes),
        ("a_client_may_come_back_for_its_answer", streams::polling),
        ("a_live_stream_is_read_on", resumption::live),
        ("a_finished_stream_is_read_on", resumption::finished),
        ("what_fell_out_is_gone_and_what_never_was_is_refused", resumption::lost),
        ("missed_changes_are_sent_again", resumption::missed),
        ("questions_find_their_way_and_answers_theirs", asking::round_trips),
        ("questions_of_one_call_are_answered_in_any_order", asking::all_at_once),
        ("a_client_may_refuse_or_keep_silent", asking::silence),
        ("answers_to_nothing_are_counted", asking::unasked),
        ("idle_sessions_expire", bounds::expiry),
        ("sessions_are_bounded", bounds::bounded),
        ("requests_find_their_session_on_another_shard", bounds::forwarded),
    ])
}

/// A server with this many shards.
fn serve(shards: u16, flags: &str) -> Server {
    own::start(&format!("--shards {shards} {flags}"))
}

/// A session of the newest version, and a connection that is on another shard where there is one.
fn open(server: &Server, shards: u16) -> (Session, Client) {
    open_version(server, shards, support::session::LEGACY)
}

fn open_version(server: &Server, shards: u16, version: &str) -> (Session, Client) {
    let session = Session::open(&mut server.connect(), version);
    let client = connect_far(server, &session, shards);
    (session, client)
}

/// Ends the session and the connections, and looks whether all is forgotten.
fn leave(server: &Server, session: &Session, mut client: Client) {
    session.end(&mut client);
    drop(client);
    support::nothing_leaked(server);
}

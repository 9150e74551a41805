//! Messages of both eras without what carries them: lines, or the bodies of a session's requests.

use ringmesh_proto::jsonrpc::{INVALID_PARAMS, METHOD_NOT_FOUND};
use ringmesh_proto::mcp::{RESOURCE_NOT_FOUND, VERSION_2026_07_28, Version};

use crate::check::Pending;
use crate::fault::Dice;
use crate::offer::{URIS, said};
use crate::request::{Expect, TOOLS_TOPIC};

/// By what a message says who it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// By `_meta`, in each request.
    Modern,
    /// By its session.
    Legacy,
}

/// A request as JSON text, and what it must be answered.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) text: String,
    pub(crate) pending: Pending,
}

/// Makes the messages of one client: ids and keys are unique in the run.
#[derive(Debug)]
pub(crate) struct Scribe {
    name: String,
    serial: u64,
}

impl Scribe {
    pub(crate) fn new(name: String) -> Self {
        Self { name, serial: 0 }
    }

    fn next_id(&mut self, dice: &mut Dice) -> String {
        self.serial += 1;
        if dice.one_in(4) {
            (1_000 + self.serial).to_string()
        } else {
            format!("\"{}-{}\"", self.name, self.serial)
        }
    }

    /// A text that no other request has.
    fn key(&self) -> String {
        format!("{}-{}-", self.name, self.serial + 1)
    }

    /// A request that is in order.
    pub(crate) fn good(&mut self, tongue: Tongue, dice: &mut Dice) -> Errand {
        match dice.below(12) {
            0..3 => self.add(tongue, dice),
            3 | 4 => {
                let text = format!("{}{}", self.key(), "e".repeat(dice.below(60)));
                let arguments = format!("{{\"key\":\"{text}\"}}");
                self.call(tongue, "echo", &arguments, Expect::Text(text), dice)
            }
            5..9 => self.pooled(tongue, dice),
            9 => {
                let steps = u32::try_from(dice.below(5)).unwrap_or(0);
                let key = self.key();
                let arguments = format!("{{\"key\":\"{key}\",\"steps\":{steps}}}");
                self.call(tongue, "steps", &arguments, Expect::Steps(key, steps), dice)
            }
            10 => {
                let (topic, key) = (dice.below(URIS.len()), self.key());
                let arguments = format!("{{\"key\":\"{key}\",\"topic\":{topic}}}");
                self.call(tongue, "touch", &arguments, Expect::Text(key), dice)
            }
            _ => self.request(tongue, "tools/list", "", Expect::Tools, dice),
        }
    }

    /// A request that is refused, or that a tool makes nothing of.
    pub(crate) fn bad(&mut self, tongue: Tongue, dice: &mut Dice) -> Errand {
        let error = |code| Expect::Error { status: 200, code, with_id: true };
        match dice.below(4) {
            0 => self.call(tongue, "panic", "{}", Expect::Panic, dice),
            1 => self.call(tongue, "nobody", "{}", error(INVALID_PARAMS), dice),
            2 => self.request(tongue, "tools/nothing", "", error(METHOD_NOT_FOUND), dice),
            _ => {
                let legacy = tongue == Tongue::Legacy;
                let code = if legacy { RESOURCE_NOT_FOUND } else { INVALID_PARAMS };
                let members = "\"uri\":\"sim://nothing\"";
                self.request(tongue, "resources/read", members, error(code), dice)
            }
        }
    }

    /// A sum, which is answered at once.
    pub(crate) fn add(&mut self, tongue: Tongue, dice: &mut Dice) -> Errand {
        let (a, b) = (dice.between(0, 1000), dice.between(0, 1000));
        let arguments = format!("{{\"a\":{a},\"b\":{b}}}");
        self.call(tongue, "add", &arguments, Expect::Text((a + b).to_string()), dice)
    }

    /// A call that leaves the shard.
    pub(crate) fn pooled(&mut self, tongue: Tongue, dice: &mut Dice) -> Errand {
        let (key, panics, polls) = (self.key(), dice.one_in(12), dice.one_in(3));
        let slow = if dice.one_in(3) { ",\"slow\":true" } else { "" };
        let arguments =
            format!("{{\"key\":\"{key}\",\"panics\":{panics},\"polls\":{polls}{slow}}}");
        let name = if dice.one_in(2) { "async" } else { "blocking" };
        let expect = Expect::Pooled { arguments: arguments.clone(), text: key, panics };
        self.call(tongue, name, &arguments, expect, dice)
    }

    /// Two calls with one id. They send no progress, which would be told by the same token.
    pub(crate) fn twins(&mut self, tongue: Tongue, dice: &mut Dice) -> [Errand; 2] {
        let mut quiet = || {
            let key = self.key();
            let arguments = format!("{{\"key\":\"{key}\",\"panics\":false}}");
            let (text, panics) = (key, false);
            let expect = Expect::Pooled { arguments: arguments.clone(), text, panics };
            let members = format!("\"name\":\"async\",\"arguments\":{arguments}");
            self.finish(tongue, "tools/call", &members, expect, (false, dice))
        };
        let (first, mut second) = (quiet(), quiet());
        let (own, id) = (&second.pending.id, &first.pending.id);
        second.text = second.text.replace(&format!("\"id\":{own},"), &format!("\"id\":{id},"));
        second.pending.id.clone_from(id);
        [first, second]
    }

    /// A call that asks its client. Its rounds count their progress anew: none is asked for.
    pub(crate) fn ask(&mut self, dice: &mut Dice) -> Errand {
        let key = self.key();
        let text = format!("{key}|{}|{}", said(&key, "q0"), said(&key, "q1"));
        let arguments = format!("{{\"key\":\"{key}\"}}");
        let name = if dice.one_in(2) { "ask" } else { "ask_pooled" };
        let expect = Expect::Asked { arguments: arguments.clone(), text };
        let members = format!("\"name\":\"{name}\",\"arguments\":{arguments}");
        self.finish(Tongue::Legacy, "tools/call", &members, expect, (false, dice))
    }

    pub(crate) fn initialize(&mut self, version: Version, dice: &mut Dice) -> Errand {
        let members = format!(
            "\"protocolVersion\":\"{}\",\"capabilities\":{{\"sampling\":{{}},\"elicitation\":{{}}}},\
             \"clientInfo\":{{\"name\":\"sim\",\"version\":\"1\"}}",
            version.name()
        );
        let expect = Expect::Hello(version.name());
        self.request(Tongue::Legacy, "initialize", &members, expect, dice)
    }

    /// What is answered with an empty result.
    pub(crate) fn trifle(&mut self, dice: &mut Dice) -> Errand {
        let (method, members) = match dice.below(2) {
            0 => ("ping", ""),
            _ => ("logging/setLevel", "\"level\":\"warning\""),
        };
        self.request(Tongue::Legacy, method, members, Expect::Empty, dice)
    }

    pub(crate) fn subscribe(&mut self, topic: usize, dice: &mut Dice) -> Errand {
        let members = format!("\"uri\":\"{}\"", URIS[topic]);
        self.request(Tongue::Legacy, "resources/subscribe", &members, Expect::Empty, dice)
    }

    /// A modern subscription; at least one topic.
    pub(crate) fn listen(&mut self, topics: &[usize], dice: &mut Dice) -> Errand {
        let uris: Vec<String> =
            topics.iter().filter_map(|&topic| Some(format!("\"{}\"", URIS.get(topic)?))).collect();
        let tools = if topics.contains(&TOOLS_TOPIC) { ",\"toolsListChanged\":true" } else { "" };
        let uris = uris.join(",");
        let members = format!("\"notifications\":{{\"resourceSubscriptions\":[{uris}]{tools}}}");
        let expect = Expect::Listen(topics.to_vec());
        self.request(Tongue::Modern, "subscriptions/listen", &members, expect, dice)
    }

    /// A request of the legacy era, of which there is no session.
    pub(crate) fn unopened(&mut self, dice: &mut Dice) -> Errand {
        let code = ringmesh_proto::jsonrpc::INVALID_REQUEST;
        let expect = Expect::Error { status: 400, code, with_id: true };
        self.request(Tongue::Legacy, "tools/list", "", expect, dice)
    }

    fn call(
        &mut self,
        tongue: Tongue,
        name: &str,
        arguments: &str,
        expect: Expect,
        dice: &mut Dice,
    ) -> Errand {
        let members = format!("\"name\":\"{name}\",\"arguments\":{arguments}");
        let token = !dice.one_in(4) || name == "steps";
        self.finish(tongue, "tools/call", &members, expect, (token, dice))
    }

    fn request(
        &mut self,
        tongue: Tongue,
        method: &str,
        members: &str,
        expect: Expect,
        dice: &mut Dice,
    ) -> Errand {
        self.finish(tongue, method, members, expect, (false, dice))
    }

    fn finish(
        &mut self,
        tongue: Tongue,
        method: &str,
        members: &str,
        expect: Expect,
        (token, dice): (bool, &mut Dice),
    ) -> Errand {
        let id = self.next_id(dice);
        let mut meta = Vec::new();
        if tongue == Tongue::Modern {
            meta.push(format!(
                "\"io.modelcontextprotocol/protocolVersion\":\"{VERSION_2026_07_28}\",\
                 \"io.modelcontextprotocol/clientCapabilities\":{{}}"
            ));
        }
        if token {
            meta.push(format!("\"progressToken\":{id}"));
        }
        let meta = meta.join(",");
        let parts = [members.to_owned(), format!("\"_meta\":{{{meta}}}")];
        let kept = if meta.is_empty() { &parts[..1] } else { &parts[..] };
        let kept: Vec<_> = kept.iter().filter(|part| !part.is_empty()).cloned().collect();
        let params = kept.join(",");
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{params}}}}}"
        );
        Errand { text, pending: Pending::new(id, expect) }
    }
}

/// A notification that the request with this id is not wanted any more.
pub(crate) fn cancelled(id: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\
         \"params\":{{\"requestId\":{id}}}}}"
    )
}

/// How a client answers a question of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Kindly,
    WithError,
    Never,
    Twice,
}

impl Manner {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        match dice.below(16) {
            0 | 1 => Self::WithError,
            2 if !dice.healed => Self::Never,
            3 | 4 => Self::Twice,
            _ => Self::Kindly,
        }
    }
}

/// What a client says to a question.
pub(crate) fn reply(id: u64, key: &str, question: &str, manner: Manner) -> String {
    if manner == Manner::WithError {
        return format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-1,\"message\":\"no\"}}}}"
        );
    }
    let text = said(key, question);
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"text\":\"{text}\"}}}}")
}

/// A response to what nobody asked.
pub(crate) fn unasked(dice: &mut Dice) -> String {
    reply(900_000 + dice.between(0, 9), "", "", Manner::Kindly)
}

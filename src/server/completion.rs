//! Completion of the arguments of prompts and of the variables of resource templates.

use std::sync::Arc;

use ringmesh_proto::jsonrpc::{self, INVALID_PARAMS};
use ringmesh_runtime::call::{Answer, Call, Ending};
use ringmesh_runtime::catalog::Handler;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most values of one completion (2026-07-28, Completion).
pub const COMPLETION_VALUES_MAX: usize = 100;

/// Proposals for a value that is being typed, best first. Of more than [`COMPLETION_VALUES_MAX`]
/// the first are sent, and the client learns how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    values: Vec<String>,
    total: usize,
    has_more: bool,
}

impl Completion {
    /// The candidates that start with what was typed, in their order.
    pub fn starting<S: Into<String> + AsRef<str>>(
        typed: &str,
        candidates: impl IntoIterator<Item = S>,
    ) -> Self {
        candidates.into_iter().filter(|candidate| candidate.as_ref().starts_with(typed)).collect()
    }

    /// How many there are, where more exist than were given.
    #[must_use]
    pub fn total(mut self, total: usize) -> Self {
        self.total = total.max(self.values.len());
        self.has_more = self.total > self.values.len();
        self
    }

    fn write(&self, answer: &mut Answer) {
        let out = answer.begin(Ending::Complete);
        out.extend_from_slice(b"\"completion\":");
        jsonrpc::write_json(out, self);
    }
}

impl<S: Into<String>> FromIterator<S> for Completion {
    fn from_iter<I: IntoIterator<Item = S>>(values: I) -> Self {
        let mut values = values.into_iter();
        let first: Vec<String> =
            values.by_ref().take(COMPLETION_VALUES_MAX).map(Into::into).collect();
        let more = values.count();
        Self { total: first.len() + more, values: first, has_more: more > 0 }
    }
}

impl<S: Into<String>> From<Vec<S>> for Completion {
    fn from(values: Vec<S>) -> Self {
        values.into_iter().collect()
    }
}

/// An argument that was chosen before the one that is being completed.
pub fn chosen_argument(call: &Call<'_>, name: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Chosen {
        #[serde(default)]
        arguments: Map<String, Value>,
    }
    let mut chosen: Chosen = serde_json::from_str(call.params.context?.get()).ok()?;
    match chosen.arguments.remove(name)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

type Complete = Arc<dyn Fn(&str, &Call<'_>) -> Completion + Send + Sync>;

/// The completers of one entry, by argument.
#[derive(Default)]
pub(super) struct Completers(Vec<(String, Complete)>);

impl Completers {
    pub(super) fn add<C: Into<Completion>>(
        &mut self,
        argument: String,
        complete: impl Fn(&str, &Call<'_>) -> C + Send + Sync + 'static,
    ) {
        let complete: Complete = Arc::new(move |typed, call| complete(typed, call).into());
        self.0.retain(|(known, _)| *known != argument);
        self.0.push((argument, complete));
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn into_handler(self) -> Option<Handler> {
        if self.0.is_empty() {
            return None;
        }
        Some(Handler::Inline(Arc::new(move |call, answer| {
            let Some(argument) = &call.params.argument else {
                return answer.fail(INVALID_PARAMS, "argument is missing", None);
            };
            let known = self.0.iter().find(|(name, _)| name == argument.name.as_str());
            let completion = known.map(|(_, complete)| complete(argument.value.as_str(), call));
            completion.unwrap_or_default().write(answer);
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_hundred_values_are_given() {
        let many: Completion = (0..250).map(|n| n.to_string()).collect();
        assert_eq!((many.values.len(), many.total, many.has_more), (100, 250, true));
        let few = Completion::starting("a", ["ab", "b", "ac"]);
        assert_eq!((few.values.as_slice(), few.total), (&["ab".to_owned(), "ac".into()][..], 2));
        assert!(!few.has_more && few.total(5).has_more);
    }
}

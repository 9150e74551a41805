//! From a user's function to the shape that the runtime calls: read the arguments, run, write.

#[cfg(feature = "tokio")]
use std::future::Future;
use std::sync::Arc;

use ringmesh_runtime::call::{Answer, Call, Context};
use ringmesh_runtime::catalog::Handler;

use super::error::Error;
use super::result::write_tool_error;

/// Why a handler is not run.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A model can mend it: a tool's result with `isError`.
    Tool(String),
    /// A JSON-RPC error.
    Protocol(Error),
}

impl Refusal {
    #[cold]
    fn write(self, call: &Call<'_>, answer: &mut Answer) {
        match self {
            Self::Tool(text) => write_tool_error(answer, &text),
            Self::Protocol(error) => error.write(call, answer),
        }
    }
}

/// A handler that runs on the shard.
pub(super) fn inline<A, R>(
    read: impl Fn(&Call<'_>) -> Result<A, Refusal> + Send + Sync + 'static,
    run: impl Fn(A, &Call<'_>) -> R + Send + Sync + 'static,
    write: impl Fn(R, &Call<'_>, &mut Answer) + Send + Sync + 'static,
) -> Handler {
    Handler::Inline(Arc::new(move |call, answer| match read(call) {
        Ok(arguments) => write(run(arguments, call), call, answer),
        Err(refusal) => refusal.write(call, answer),
    }))
}

/// A handler that runs in the pool of blocking tools.
pub(super) fn blocking<A, R>(
    read: impl Fn(&Call<'_>) -> Result<A, Refusal> + Send + Sync + 'static,
    run: impl Fn(A, &Context) -> R + Send + Sync + 'static,
    write: impl Fn(R, &Call<'_>, &mut Answer) + Send + Sync + 'static,
) -> Handler {
    Handler::Blocking(Arc::new(move |context| match context.with_call(&read) {
        Ok(arguments) => {
            let result = run(arguments, context);
            answered(context, |call, answer| write(result, call, answer))
        }
        Err(refusal) => answered(context, |call, answer| refusal.write(call, answer)),
    }))
}

/// A handler that runs in the pool of async tools.
#[cfg(feature = "tokio")]
pub(super) fn asynchronous<A, R, F>(
    read: impl Fn(&Call<'_>) -> Result<A, Refusal> + Send + Sync + 'static,
    run: impl Fn(A, Context) -> F + Send + Sync + 'static,
    write: impl Fn(R, &Call<'_>, &mut Answer) + Clone + Send + Sync + 'static,
) -> Handler
where
    F: Future<Output = R> + Send + 'static,
{
    Handler::Async(Arc::new(move |context: Context| {
        let arguments = match context.with_call(&read) {
            Ok(arguments) => arguments,
            Err(refusal) => {
                let answer = answered(&context, |call, answer| refusal.write(call, answer));
                return Box::pin(std::future::ready(answer));
            }
        };
        let running = run(arguments, context.clone());
        let write = write.clone();
        Box::pin(async move {
            let result = running.await;
            answered(&context, |call, answer| write(result, call, answer))
        })
    }))
}

fn answered(context: &Context, write: impl FnOnce(&Call<'_>, &mut Answer)) -> Answer {
    let mut answer = Answer::default();
    context.with_call(|call| write(call, &mut answer));
    answer
}

//! `--assert 'p99<30ms'`: a figure of the summary, a comparison, a bound.

/// One parsed assertion.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// As the user wrote it.
    pub(crate) text: String,
}

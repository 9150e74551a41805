//! `--assert 'p99<30ms'`: a figure of the summary, a comparison, a bound.

use std::str::FromStr;

/// One parsed assertion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    /// As the user wrote it.
    pub(crate) text: String,
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { text: text.to_owned() })
    }
}

impl Check {
    pub(crate) fn names(&self, _phases: &[&str], _workloads: &[&str]) -> Result<(), String> {
        Ok(())
    }

    /// Whether it holds of this summary.
    pub(crate) fn evaluate(&self, _summary: &super::record::Summary) -> super::record::Assertion {
        super::record::Assertion { text: self.text.clone(), actual: 0.0, passed: false }
    }
}

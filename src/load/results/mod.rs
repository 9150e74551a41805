//! The results folder of a run: what each second measured, kept as it comes, and what all of it
//! comes to.
//!
//! One lives per run, on the coordinator's thread. Rows reach their files each second, so that a
//! crash keeps them; `summary.json` is written last and at once, and a file `INCOMPLETE` stays in
//! every folder whose run did not go as its scenario says. What is held in memory is bounded
//! whatever the length of the run: histograms are merged, series for the report are thinned out.
//!
//! Left out: measuring (the roles' and the coordinator's), and reading folders again (`compare`).

mod folder;
mod hdr;
mod manifest;
mod report;
mod rows;
mod series;
mod summary;
mod tally;
mod text;
mod time;
mod usage;
mod verdict;

pub(crate) use folder::{Folder, INCOMPLETE, SUMMARY};
pub(crate) use manifest::{Servers, Surroundings};
pub(crate) use report::{document, escaped, table};
pub(crate) use summary::FORMAT;
pub(crate) use text::summary as in_words;
pub(crate) use text::{marks, shortened, wrapped};

/// `part / whole`, or 0 where that is no finite number.
fn ratio(part: f64, whole: f64) -> f64 {
    let ratio = part / whole;
    if ratio.is_finite() { ratio } else { 0.0 }
}

/// Rounded to three decimals: enough of every unit used here, and readable.
fn rounded(value: f64) -> f64 {
    let rounded = (value * 1_000.0).round() / 1_000.0;
    if rounded.is_finite() { rounded } else { 0.0 }
}

/// A count as a figure to calculate with; exact up to 2^53.
fn float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    {
        count as f64
    }
}

#[cfg(test)]
mod tests;

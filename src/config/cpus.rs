//! Lists of processors, in the form that taskset(1) and the kernel use: `0,2-3`.

use std::fmt;
use std::str::FromStr;

/// One more than the highest processor that a thread can be pinned to (`CPU_SETSIZE`).
pub(crate) const CPUS_MAX: usize = 1024;

/// Processors, ascending, each once, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(Vec<usize>);

impl Cpus {
    pub(crate) fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for Cpus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "write a list of cpus from 0 to 1023, such as 0,2-3";
        let mut cpus = Vec::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first = number(first).ok_or(WRONG)?;
            let last = number(last).ok_or(WRONG)?;
            if first > last || last >= CPUS_MAX {
                return Err(WRONG);
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

fn number(text: &str) -> Option<usize> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        List(&self.0).fmt(f)
    }
}

impl serde::Serialize for Cpus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes ascending processors as a list with ranges.
pub(crate) struct List<'a>(pub(crate) &'a [usize]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for run in self.0.chunk_by(|a, b| a + 1 == *b) {
            match run {
                [only] => write!(f, "{comma}{only}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, cpus, again) in [
            ("0", vec![0], "0"),
            ("0,2-3", vec![0, 2, 3], "0,2-3"),
            ("3,2,1,2-4", vec![1, 2, 3, 4], "1-4"),
            ("1023", vec![1023], "1023"),
            ("0-1,4-5,7\n", vec![0, 1, 4, 5, 7], "0-1,4-5,7"),
        ] {
            assert_eq!(text.parse(), Ok(Cpus(cpus.clone())), "{text}");
            assert_eq!(List(&cpus).to_string(), again);
        }
        for text in ["", ",", "0,", "a", "-1", "3-2", "0-", "1024", "0-99999999999", "0 1", "+1"] {
            assert!(text.parse::<Cpus>().is_err(), "{text:?}");
        }
    }
}

//! Times of day for people and for spreadsheets: RFC 3339 in UTC, with milliseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time that was `elapsed_s` after `start`.
pub(super) fn after(start: SystemTime, elapsed_s: f64) -> String {
    let elapsed = Duration::try_from_secs_f64(elapsed_s).unwrap_or_default();
    rfc3339(start.checked_add(elapsed).unwrap_or(start))
}

/// Such as `2026-07-28T09:00:00.000Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let ms = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a number of days since 1970-01-01, counted in years that begin in March,
/// so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01; 400 years have 146,097.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_as_other_tools_have_them() {
        // `date -u -d @N +%FT%TZ`.
        let days = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (1_785_229_200, "2026-07-28T09:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ];
        for (unix_s, text) in days {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(unix_s)), text);
        }
        assert_eq!(after(UNIX_EPOCH, 1.25), "1970-01-01T00:00:01.250Z");
        assert_eq!(after(UNIX_EPOCH, f64::NAN), "1970-01-01T00:00:00.000Z");
    }
}

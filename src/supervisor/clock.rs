//! Wall-clock time as RFC 3339 text.

use k8s_openapi::jiff::Timestamp;

/// Now, in UTC, to the second.
pub fn now() -> String {
    rfc3339(u64::try_from(Timestamp::now().as_second()).unwrap_or_default())
}

/// Seconds since the Unix epoch as `2025-01-31T12:00:00Z`; the last instant known for what lies beyond it.
pub fn rfc3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}

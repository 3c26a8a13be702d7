//! Links of procfs whose target is the same everywhere: rules and calls may name either side, and mean one file.

use std::borrow::Cow;

/// Where such a link leads.
pub fn fixed_link(path: &str) -> Option<&'static str> {
    match path {
        "/dev/fd" => Some("/proc/self/fd"),
        "/proc/mounts" => Some("/proc/self/mounts"),
        "/proc/net" => Some("/proc/self/net"),
        _ => None,
    }
}

/// A path or glob with such a link at its beginning followed, as the paths of calls are.
pub fn canonical(pattern: &str) -> Cow<'_, str> {
    let second_end = pattern.match_indices('/').nth(2).map_or(pattern.len(), |(at, _)| at);
    let (top, rest) = pattern.split_at(second_end);
    fixed_link(top).map_or(Cow::Borrowed(pattern), |target| Cow::Owned(format!("{target}{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_link_is_followed_at_the_beginning_only() {
        for (pattern, expected) in [
            ("/proc/mounts", "/proc/self/mounts"),
            ("/proc/net", "/proc/self/net"),
            ("/proc/net/dev", "/proc/self/net/dev"),
            ("/proc/net/**", "/proc/self/net/**"),
            ("/proc/net*/dev", "/proc/net*/dev"),
            ("/proc/network/dev", "/proc/network/dev"),
            ("/proc/sys/net/x", "/proc/sys/net/x"),
            ("/proc/self/net/dev", "/proc/self/net/dev"),
            ("/sys/proc/net/x", "/sys/proc/net/x"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(canonical(pattern), expected, "{pattern}");
        }
    }
}

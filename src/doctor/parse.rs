//! Parsers of kernel text files; pure, each takes the text.

pub mod cgroup;
pub mod mountinfo;
pub mod status;

/// The value in kB of a field of /proc/meminfo, in bytes.
pub fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn meminfo_fields_are_matched_whole() {
        let text = "MemTotalX:      1 kB\nMemTotal:       24684092 kB\nSwapTotal: 0 kB\n";
        assert_eq!(super::meminfo(text, "MemTotal"), Some(24_684_092 * 1024));
        assert_eq!(super::meminfo(text, "SwapTotal"), Some(0));
        assert_eq!(super::meminfo(text, "MemFree"), None);
    }
}

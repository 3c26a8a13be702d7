//! The mount points in a table such as `/proc/self/mountinfo`.

/// Every one of them, outer ones first.
pub fn points(table: &str) -> impl Iterator<Item = String> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped)
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
pub fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] if *first == b'\\' => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_found_under_their_names() {
        let table =
            "1 1 0:1 / / rw - 9p a rw\n2 1 0:2 / /mnt/a\\040b\\134\\011 rw shared:7 - tmpfs b rw\nbad\n";
        assert_eq!(points(table).collect::<Vec<_>>(), ["/", "/mnt/a b\\\t"]);
    }
}

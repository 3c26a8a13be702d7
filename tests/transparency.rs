//! docs/transparency.md is true: each item that it names is tried, and none is tried that it does not name.

mod common;

use std::process::Command;

use common::answers::{FAKE, RULES, WRITABLE};
use common::{guest, run, traced};

/// Item of the guest `tell`, and what it prints; `#` stands for a number.
const ITEMS: &[(&str, &str)] = &[
    ("tracer-pid", "TracerPid:\t#\n"),
    ("seccomp", "Seccomp:\t#\nSeccomp_filters:\t#\nprctl #\n"),
    ("ptrace", "traceme -1\nattach -1\nseize -1\n"),
    ("parent", "parent sandbar\ngroup leader 0 session leader 0\n"),
    ("x32", "getpid as x32 -38\n"),
    ("getdents", "listed 0\n"),
    ("inotify", "watch -2\n"),
    ("xattr", "getxattr -2\nlistxattr -2\n"),
    ("chmod", "chmod -2 chown -2 utimensat -2 unlink -2\n"),
    ("exec", "execve -2\n"),
    ("chdir", "chdir -2 mount -2\n"),
    ("statfs", "statfs -2 fstatfs 0 type 1021994\n"),
    ("identity", "same inode 0 same size 0 size 0 and 5 same device 1\n"),
    ("link", "/memfd:/proc/sys/kernel/sandbar_fake (deleted)\n"),
    ("write", "F_GETFL mode 2 write -1\nread of a write-only one 0\n"),
    ("o-path", "O_PATH 0 read 5\n"),
    ("partial-write", "write 1 reads 50\nnonsense 12\n"),
    ("reread", "open reader still sees 10\n"),
    ("memfd-denied", "open -1 stat 0\n"),
    ("symlink", "symlink 0 open -2\n"),
    ("bind", "open elsewhere -2\n"),
    ("other-process", "open -2\n"),
    ("last-link", "a directory by its link 1\n"),
    ("int80", "open by int 0x80 -2\n"),
];

fn told(item: &str, sandbar: bool) -> String {
    let tell = guest("tell");
    let mut command = if sandbar { traced(Some(RULES), &tell) } else { Command::new(tell) };
    run(command.arg(item).env("FAKE", FAKE).env("WRITABLE", WRITABLE)).stdout
}

fn digits_hidden(text: &str) -> String {
    let words = text.split_inclusive(['\t', ' ', '\n']);
    words
        .map(|word| match word.trim_end() {
            number if number.parse::<u32>().is_ok() => word.replace(number, "#"),
            _ => word.to_owned(),
        })
        .collect()
}

#[test]
fn what_the_document_says_is_so() {
    if !common::needs_root("what_the_document_says_is_so") {
        return;
    }
    for (item, expected) in ITEMS {
        let said = told(item, true);
        let said = if expected.contains('#') { digits_hidden(&said) } else { said };
        assert_eq!(said, *expected, "{item}");
    }
    for item in ["tracer-pid", "seccomp", "ptrace"] {
        assert_ne!(told(item, true), told(item, false), "{item} tells nothing");
    }
}

#[test]
fn the_document_and_this_test_have_the_same_items() {
    let document = include_str!("../docs/transparency.md");
    let named = |item: &str| document.contains(&format!("`tell: {item}`"));
    let missing: Vec<_> = ITEMS.iter().filter(|(item, _)| !named(item)).collect();
    assert!(missing.is_empty(), "not in docs/transparency.md: {missing:?}");
    assert_eq!(
        document.matches("`tell: ").count(),
        ITEMS.len(),
        "items in docs/transparency.md without a test here"
    );
}

#[test]
fn cp_of_a_fake() {
    let out = tempfile::tempdir().unwrap();
    let copy = out.path().join("copy");
    let ended = run(traced(Some(RULES), "cp").arg(FAKE).arg(&copy));
    assert!(ended.stderr.contains("replaced while being copied"), "{}: {}", ended.how, ended.stderr);
    assert_eq!(run(traced(Some(RULES), "cat").arg(FAKE)).stdout, "fake\n");
}

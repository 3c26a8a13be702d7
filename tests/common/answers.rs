//! Guests that look at fakes, redirects and filesystem types, and check what they get themselves.

use super::{Ended, guest, rule_file, run, traced};

/// A read-only fake with the value `fake\n`.
pub const FAKE: &str = "/proc/sys/kernel/sandbar_fake";
/// A writable fake with the value `10\n`.
pub const WRITABLE: &str = "/proc/sys/kernel/sandbar_writable";
/// A writable fake with a value per network namespace, `7\n`.
pub const NETWORK: &str = "/proc/sys/net/sandbar_network";
/// Leads to [`TARGET`].
pub const REDIRECT: &str = "/proc/sys/kernel/sandbar_to";
/// An ordinary file.
pub const TARGET: &str = "/var/lib/sandbar/files/test-target";
/// Leads to its neighbour `hostname`.
pub const SIBLING: &str = "/proc/sys/kernel/sandbar_name_of_host";
/// Leads to [`FIFO_TARGET`].
pub const FIFO: &str = "/proc/sys/kernel/sandbar_fifo";
/// A FIFO.
pub const FIFO_TARGET: &str = "/var/lib/sandbar/files/test-fifo";

/// The rules for all of these.
pub const RULES: &str = "\
files:
- {path: /proc/sys/kernel/sandbar_fake, value: \"fake\\n\"}
- {path: /proc/sys/kernel/sandbar_writable, value: \"10\\n\", access: ReadWrite}
- {path: /proc/sys/net/sandbar_network, value: \"7\\n\", access: ReadWrite}
- {path: /proc/net/sandbar_net, value: \"net\\n\"}
- {path: /proc/self/sandbar_self, value: \"self\\n\"}
redirects:
- {from: /proc/sys/kernel/sandbar_to, to: /var/lib/sandbar/files/test-target}
- {from: /proc/sys/kernel/sandbar_fifo, to: /var/lib/sandbar/files/test-fifo}
- {from: '/proc/sys/**/sandbar_name_*', sibling: hostname}
filesystems:
- {path: /, reportAs: xfs}
";

/// A guest, its arguments, and what it prints, if it does not judge for itself.
pub struct Case {
    pub guest: &'static str,
    pub args: &'static [&'static str],
    pub stdout: Option<&'static str>,
    /// Not in gVisor, and why.
    pub linux_only: Option<&'static str>,
}

const fn case(guest: &'static str, args: &'static [&'static str]) -> Case {
    Case { guest, args, stdout: None, linux_only: None }
}

/// All of them.
pub const CASES: &[Case] = &[
    case("paths", &[FAKE, "fake"]),
    case("paths", &[REDIRECT, TARGET]),
    case("names", &["sandbar_net", "sandbar_self"]),
    case("fakes", &[FAKE, WRITABLE]),
    case("scopes", &[WRITABLE, NETWORK]),
    case("orphans", &[FAKE]),
    case("endless", &["sandbar_fake"]),
    case("unmount", &[]),
    case("exec_answered", &[FAKE]),
    case("openat2", &[FAKE, REDIRECT]),
    case("filesystems", &["58465342"]),
    case("storm", &[FAKE, REDIRECT, TARGET]),
    Case {
        linux_only: Some("gVisor restarts no open of a FIFO, SA_RESTART or not"),
        ..case("fifo", &[FIFO, FIFO_TARGET])
    },
    case("race", &[FAKE, REDIRECT, "2"]),
    case("hostile", &["busy", FAKE]),
    case("hostile", &["offloaded", FAKE]),
    case("hostile", &["lease", FAKE]),
    case("static_go", &[FAKE, REDIRECT, TARGET]),
    Case {
        linux_only: Some("the server is written for Linux's FUSE; gVisor's asks more of one"),
        ..case("fuse", &[])
    },
    Case {
        linux_only: Some("the server is written for Linux's FUSE; gVisor's asks more of one"),
        ..case("fuse", &["swapped", FAKE])
    },
    Case {
        stdout: Some(include_str!("../guests/calls32.expected")),
        linux_only: Some("gVisor runs no 32-bit programs"),
        ..case("calls32", &[FAKE, REDIRECT])
    },
];

/// Makes the files that redirects lead to.
pub fn prepare() {
    let dir = "/var/lib/sandbar/files";
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(TARGET, "redirected\n").unwrap();
    if std::fs::metadata(FIFO_TARGET).is_err() {
        nix::unistd::mkfifo(FIFO_TARGET, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    }
}

/// Runs all cases; a description of each that failed.
pub fn all_that_fail(in_gvisor: bool) -> Vec<String> {
    prepare();
    let failed = |case: &Case| {
        if let Some(reason) = case.linux_only.filter(|_| in_gvisor) {
            println!("not here  {} {:?}: {reason}", case.guest, case.args);
            return None;
        }
        let start = std::time::Instant::now();
        let ended = run(traced(Some(RULES), &guest(case.guest)).args(case.args));
        println!("{:5} ms  {} {:?}", start.elapsed().as_millis(), case.guest, case.args);
        wrong(case, &ended).then(|| {
            format!("{} {:?}: {}\n{}{}", case.guest, case.args, ended.how, ended.stdout, ended.stderr)
        })
    };
    CASES.iter().filter_map(failed).collect()
}

fn wrong(case: &Case, ended: &Ended) -> bool {
    match case.stdout {
        Some(expected) => ended.stdout != expected,
        None => !ended.ok() || ended.stdout.contains("FAIL"),
    }
}

/// The rule file, for tests that start sandbar themselves.
pub fn rules() -> std::path::PathBuf {
    rule_file(RULES)
}

//! Who we are and what we may do.

use crate::doctor::capabilities::NAMES;
use crate::doctor::environment::Privileges;
use crate::doctor::report::{Check, Mode};

/// Capabilities whose absence from the bounding set is worth a word, and what needs them.
const MISSED: [(&str, &str); 6] = [
    ("SYS_ADMIN", "mounts and namespaces"),
    ("NET_ADMIN", "the network of pods"),
    ("SYS_PTRACE", "inspecting processes of other users"),
    ("MKNOD", "device files in containers"),
    ("NET_RAW", "ping and iptables"),
    ("DAC_OVERRIDE", "files of other users"),
];

/// Whether we are root.
pub fn root(privileges: &Privileges) -> Check {
    if privileges.uid == 0 {
        Check::good("root", "running as root")
    } else {
        let what = format!("running as uid {}, and sandbar needs root", privileges.uid);
        Check::blocking(Mode::ControlPlane, "root", what).hint("sudo sandbar doctor")
    }
}

/// The whole category.
pub fn all(privileges: &Privileges) -> Vec<Check> {
    let capabilities = &privileges.capabilities;
    let mut checks = vec![
        root(privileges),
        Check::good(
            "capabilities-effective",
            format!("effective capabilities: {}", list(&capabilities.effective)),
        ),
    ];
    // A program started from here gets no more than the bounding set; that differs from what we hold ourselves.
    let same = capabilities.bounding == capabilities.effective;
    let bounding = if same { "the same".to_owned() } else { list(&capabilities.bounding) };
    let bounding = format!("bounding set: {bounding}");
    let lacking: Vec<String> = MISSED
        .iter()
        .filter(|(name, _)| !capabilities.bounding.iter().any(|have| have == name))
        .map(|(name, what)| format!("{name} ({what})"))
        .collect();
    checks.push(if lacking.is_empty() {
        Check::good("capabilities-bounding", bounding)
    } else {
        Check::good("capabilities-bounding", format!("{bounding}; without {}", lacking.join(", ")))
    });
    checks.push(match &privileges.securebits {
        Some(bits) if bits.is_empty() => Check::good("securebits", "securebits: none"),
        Some(bits) => Check::warning("securebits", format!("securebits: {}", bits.join(" "))),
        None => Check::good("securebits", "securebits: the kernel does not tell"),
    });
    checks.push(match privileges.no_new_privs {
        Some(true) => {
            Check::good("no-new-privs", "NO_NEW_PRIVS is set: sudo and setuid programs gain nothing")
        }
        Some(false) => Check::good("no-new-privs", "NO_NEW_PRIVS is not set"),
        None => Check::good("no-new-privs", "NO_NEW_PRIVS: the kernel does not tell"),
    });
    checks.push(match privileges.seccomp {
        Some(0) => Check::good("seccomp", "no seccomp filter around us"),
        Some(2) => Check::good("seccomp", "a seccomp filter is around us; what it refuses shows below"),
        Some(other) => Check::warning("seccomp", format!("seccomp mode {other} is in force")),
        None => Check::good("seccomp", "seccomp: the kernel does not tell"),
    });
    checks
}

/// A set by what it holds, or by what it lacks, whichever is shorter.
fn list(names: &[String]) -> String {
    let lacking: Vec<_> =
        NAMES.iter().filter(|name| !names.iter().any(|have| have == *name)).copied().collect();
    match (names.len(), lacking.len()) {
        (0, _) => "none".to_owned(),
        (_, 0) => "all".to_owned(),
        (have, lack) if lack < have => format!("all but {}", lacking.join(" ")),
        _ => names.join(" "),
    }
}

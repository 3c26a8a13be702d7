//! Capability and securebits numbers by name.

/// In the order of their numbers, linux/capability.h.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// In the order of their bits, linux/securebits.h.
const SECUREBITS: [&str; 8] = [
    "NOROOT",
    "NOROOT_LOCKED",
    "NO_SETUID_FIXUP",
    "NO_SETUID_FIXUP_LOCKED",
    "KEEP_CAPS",
    "KEEP_CAPS_LOCKED",
    "NO_CAP_AMBIENT_RAISE",
    "NO_CAP_AMBIENT_RAISE_LOCKED",
];

/// The names of a capability set; one that this table does not know yet is called by its number.
pub fn decode(set: u64) -> Vec<String> {
    bits(set, &NAMES)
}

/// The names of the securebits that are set.
pub fn decode_securebits(set: i32) -> Vec<String> {
    bits(u64::from(set.cast_unsigned()), &SECUREBITS)
}

fn bits(set: u64, names: &[&str]) -> Vec<String> {
    let name = |bit: u32| names.get(bit as usize).map_or_else(|| bit.to_string(), |name| (*name).to_owned());
    (0..u64::BITS).filter(|bit| set >> bit & 1 == 1).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_decoded() {
        // The stricter sandbox's bounding set.
        let strict = ["CHOWN", "KILL", "SETGID", "SETUID", "NET_BIND_SERVICE", "SYS_CHROOT", "AUDIT_WRITE"];
        assert_eq!(decode(0x2004_04E1), strict);
        assert_eq!(decode(1 << 40 | 1 << 63), ["CHECKPOINT_RESTORE", "63"]);
        assert_eq!(decode_securebits(0b11), ["NOROOT", "NOROOT_LOCKED"]);
    }
}

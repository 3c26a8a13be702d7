//! How an open of a fake file is answered: errors as for a sysctl, a snapshot, or a writable memfd.

use crate::rules::model::Access;

/// The answer to an open of a fake file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Fail with this errno.
    Fail(i32),
    /// A sealed copy of the value.
    Snapshot,
    /// A writable file, whose content becomes the value; filled with the present one first if the opener can read.
    Writable {
        /// Whether it starts with the present value.
        filled: bool,
    },
}

/// What is asked of a writer beyond the access mode; looked up only when a writable open needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Its filesystem uid is 0.
    pub root: bool,
    /// It may write this fake from its namespaces.
    pub in_scope: bool,
}

/// Answers an open with `flags` (open(2)'s).
pub fn answer(flags: i32, directory: bool, access: Access, writer: impl FnOnce() -> Writer) -> Answer {
    if directory || flags & libc::O_DIRECTORY != 0 {
        return Answer::Fail(libc::ENOTDIR);
    }
    if flags & libc::O_PATH != 0 {
        return Answer::Snapshot;
    }
    if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL {
        return Answer::Fail(libc::EEXIST);
    }
    let mode = flags & libc::O_ACCMODE;
    if mode == libc::O_RDONLY && flags & libc::O_TRUNC == 0 {
        return Answer::Snapshot;
    }
    if access == Access::ReadOnly {
        return Answer::Fail(libc::EACCES);
    }
    match writer() {
        Writer { root: false, .. } => Answer::Fail(libc::EACCES),
        Writer { in_scope: false, .. } => Answer::Fail(libc::EROFS),
        _ => Answer::Writable { filled: mode != libc::O_WRONLY && flags & libc::O_TRUNC == 0 },
    }
}

/// Permission bits that stat reports.
pub fn mode(access: Access) -> u32 {
    match access {
        Access::ReadOnly => 0o444,
        Access::ReadWrite => 0o644,
    }
}

/// access(2) on a fake: 0 or a negative errno. As for a sysctl, not even root writes where the mode has no `w`.
pub fn check(mode: i32, access: Access, root: impl FnOnce() -> bool) -> i64 {
    if mode & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
        return -i64::from(libc::EINVAL);
    }
    let writes = mode & libc::W_OK != 0;
    let denied = mode & libc::X_OK != 0 || (writes && (access == Access::ReadOnly || !root()));
    if denied { -i64::from(libc::EACCES) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::*;

    const ROOT: Writer = Writer { root: true, in_scope: true };

    #[test]
    fn opens_are_answered_as_for_a_sysctl() {
        for (flags, access, expected) in [
            (O_RDONLY, Access::ReadOnly, Answer::Snapshot),
            (O_RDONLY | O_CLOEXEC | O_NONBLOCK, Access::ReadWrite, Answer::Snapshot),
            (O_RDONLY | O_DIRECTORY, Access::ReadOnly, Answer::Fail(ENOTDIR)),
            (O_PATH | O_NOFOLLOW, Access::ReadOnly, Answer::Snapshot),
            (O_RDONLY | O_CREAT, Access::ReadOnly, Answer::Snapshot),
            (O_RDWR | O_CREAT | O_EXCL, Access::ReadWrite, Answer::Fail(EEXIST)),
            (O_WRONLY, Access::ReadOnly, Answer::Fail(EACCES)),
            (O_RDONLY | O_TRUNC, Access::ReadOnly, Answer::Fail(EACCES)),
            (O_WRONLY | O_CREAT | O_TRUNC, Access::ReadWrite, Answer::Writable { filled: false }),
            (O_RDWR, Access::ReadWrite, Answer::Writable { filled: true }),
        ] {
            assert_eq!(answer(flags, false, access, || ROOT), expected, "{flags:#o} {access:?}");
        }
    }

    #[test]
    fn only_root_in_scope_writes() {
        let write = |writer| answer(O_WRONLY, false, Access::ReadWrite, || writer);
        assert_eq!(write(Writer { root: false, in_scope: true }), Answer::Fail(EACCES));
        assert_eq!(write(Writer { root: true, in_scope: false }), Answer::Fail(EROFS));
    }
}

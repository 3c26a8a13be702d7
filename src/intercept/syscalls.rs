//! The trapped syscalls: one table from which the filter, the decoding, the counters and the
//! tests are made.

/// Which table of syscall numbers a thread calls with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abi {
    /// x86-64.
    X64,
    /// ia32, as 32-bit programs call.
    I386,
}

/// What a trapped syscall does with its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens; flags in an argument.
    Open,
    /// Opens with `O_CREAT | O_WRONLY | O_TRUNC`.
    Creat,
    /// Opens; flags in a `struct open_how`.
    OpenHow,
    /// Reports metadata in this layout.
    Stat(Layout),
    /// Checks permission; mode in `flags`.
    Access,
    /// Reads a link.
    Readlink,
    /// Reports the filesystem of a path; width of `f_type` in bytes.
    Statfs(u8),
    /// Reports the filesystem of a descriptor; width of `f_type` in bytes.
    Fstatfs(u8),
    /// Reports metadata of a descriptor. Trapped only where the root of a procfs needs another inode number: it is one
    /// call per file that a program reads.
    Fstat,
    /// Sets the length by path.
    Truncate,
    /// Makes a process; trapped only to strip CLONE_UNTRACED.
    Clone,
    /// As `Clone`, with its flags in memory.
    Clone3,
    /// Mounts a filesystem; its type is the "path". Trapped to learn that page faults may wait for a tracee.
    Mount,
    /// Unmounts. Trapped only where the kernel may unmount something else.
    Unmount,
    /// Makes page faults wait for a process.
    Userfault,
}

/// How metadata is laid out in the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `struct stat` of x86-64.
    Stat64Bit,
    /// `struct stat` of ia32.
    Stat32,
    /// `struct stat64` of ia32.
    Stat64,
    /// `struct statx`, the same everywhere.
    Statx,
}

/// One trapped syscall. Arguments are numbered from 0.
#[derive(Clone, Copy, Debug)]
pub struct Syscall {
    /// Name, as in syscalls(2).
    pub name: &'static str,
    /// Number on x86-64, if it exists there.
    pub x64: Option<u32>,
    /// Number on ia32, if it exists there.
    pub i386: Option<u32>,
    /// What it does.
    pub kind: Kind,
    /// Argument with the directory (or, for `Fstatfs`, the) descriptor.
    pub dirfd: Option<usize>,
    /// Argument with the path.
    pub path: Option<usize>,
    /// Argument with open flags, access mode, `struct open_how`, clone flags.
    pub flags: Option<usize>,
    /// Argument with the buffer for the answer.
    pub out: Option<usize>,
    /// Argument with `AT_*` flags: with AT_EMPTY_PATH and a real descriptor the call is about the descriptor, not a
    /// path, and the filter lets it run. glibc's fstat(3) is such a call, one per file that a program reads.
    pub at_flags: Option<usize>,
}

const fn call(name: &'static str, x64: u32, i386: u32, kind: Kind) -> Syscall {
    Syscall {
        name,
        x64: if x64 == NONE { None } else { Some(x64) },
        i386: if i386 == NONE { None } else { Some(i386) },
        kind,
        dirfd: None,
        path: Some(0),
        flags: None,
        out: None,
        at_flags: None,
    }
}

const fn at(mut syscall: Syscall) -> Syscall {
    syscall.dirfd = Some(0);
    syscall.path = Some(1);
    syscall
}

const fn flags(mut syscall: Syscall, argument: usize) -> Syscall {
    syscall.flags = Some(argument);
    syscall
}

const fn out(mut syscall: Syscall, argument: usize) -> Syscall {
    syscall.out = Some(argument);
    syscall
}

const fn at_flags(mut syscall: Syscall, argument: usize) -> Syscall {
    syscall.at_flags = Some(argument);
    syscall
}

const fn pathless(mut syscall: Syscall) -> Syscall {
    syscall.path = None;
    syscall
}

const fn named(mut syscall: Syscall, argument: usize) -> Syscall {
    syscall.path = Some(argument);
    syscall
}

const fn by_descriptor(mut syscall: Syscall) -> Syscall {
    syscall.path = None;
    syscall.dirfd = Some(0);
    syscall
}

const NONE: u32 = u32::MAX;

/// Every trapped syscall; an index into it is what `sandbar rules --follow` and the counters carry.
pub const TRAPPED: &[Syscall] = &[
    flags(call("open", 2, 5, Kind::Open), 1),
    flags(at(call("openat", 257, 295, Kind::Open)), 2),
    flags(at(call("openat2", 437, 437, Kind::OpenHow)), 2),
    call("creat", 85, 8, Kind::Creat),
    out(call("stat", 4, NONE, Kind::Stat(Layout::Stat64Bit)), 1),
    out(call("lstat", 6, NONE, Kind::Stat(Layout::Stat64Bit)), 1),
    at_flags(out(at(call("newfstatat", 262, NONE, Kind::Stat(Layout::Stat64Bit))), 2), 3),
    at_flags(out(at(call("statx", 332, 383, Kind::Stat(Layout::Statx))), 4), 2),
    out(call("stat", NONE, 106, Kind::Stat(Layout::Stat32)), 1),
    out(call("lstat", NONE, 107, Kind::Stat(Layout::Stat32)), 1),
    out(call("stat64", NONE, 195, Kind::Stat(Layout::Stat64)), 1),
    out(call("lstat64", NONE, 196, Kind::Stat(Layout::Stat64)), 1),
    at_flags(out(at(call("fstatat64", NONE, 300, Kind::Stat(Layout::Stat64))), 2), 3),
    flags(call("access", 21, 33, Kind::Access), 1),
    flags(at(call("faccessat", 269, 307, Kind::Access)), 2),
    flags(at(call("faccessat2", 439, 439, Kind::Access)), 2),
    call("readlink", 89, 85, Kind::Readlink),
    at(call("readlinkat", 267, 305, Kind::Readlink)),
    out(call("statfs", 137, NONE, Kind::Statfs(8)), 1),
    out(by_descriptor(call("fstatfs", 138, NONE, Kind::Fstatfs(8))), 1),
    out(call("statfs", NONE, 99, Kind::Statfs(4)), 1),
    out(by_descriptor(call("fstatfs", NONE, 100, Kind::Fstatfs(4))), 1),
    out(call("statfs64", NONE, 268, Kind::Statfs(4)), 2),
    out(by_descriptor(call("fstatfs64", NONE, 269, Kind::Fstatfs(4))), 2),
    out(by_descriptor(call("fstat", 5, NONE, Kind::Fstat)), 1),
    call("truncate", 76, 92, Kind::Truncate),
    call("truncate64", NONE, 193, Kind::Truncate),
    pathless(flags(call("clone", 56, 120, Kind::Clone), 0)),
    pathless(flags(call("clone3", 435, 435, Kind::Clone3), 0)),
    flags(named(call("mount", 165, 21, Kind::Mount), 2), 3),
    call("fsopen", 430, 430, Kind::Mount),
    call("umount2", 166, 52, Kind::Unmount),
    pathless(call("userfaultfd", 323, 374, Kind::Userfault)),
];

/// Numbers of calls that the tracer makes tracees run in place of their own.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Injected {
    pub memfd_create: u64,
    pub fcntl: u64,
    pub mmap: u64,
    pub munmap: u64,
    pub close: u64,
}

impl Abi {
    /// The entry for a syscall number, with its index.
    pub fn find(self, number: u64) -> Option<(usize, &'static Syscall)> {
        TRAPPED
            .iter()
            .enumerate()
            .find(|(_, call)| self.number(call).is_some_and(|nr| u64::from(nr) == number))
    }

    /// The number of a table entry.
    pub fn number(self, call: &Syscall) -> Option<u32> {
        match self {
            Self::X64 => call.x64,
            Self::I386 => call.i386,
        }
    }

    /// Numbers of the injected calls.
    pub fn injected(self) -> Injected {
        match self {
            Self::X64 => Injected { memfd_create: 319, fcntl: 72, mmap: 9, munmap: 11, close: 3 },
            // mmap2: the offset (0 here) counts pages.
            Self::I386 => Injected { memfd_create: 356, fcntl: 221, mmap: 192, munmap: 91, close: 6 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_within_an_abi() {
        for abi in [Abi::X64, Abi::I386] {
            let mut numbers: Vec<_> = TRAPPED.iter().filter_map(|call| abi.number(call)).collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "{abi:?}");
        }
    }

    #[test]
    fn x64_numbers_are_those_of_libc() {
        let of =
            |name: &str| TRAPPED.iter().find(|call| call.name == name).and_then(|call| call.x64).unwrap();
        for (name, number) in [
            ("open", libc::SYS_open),
            ("openat", libc::SYS_openat),
            ("openat2", libc::SYS_openat2),
            ("creat", libc::SYS_creat),
            ("stat", libc::SYS_stat),
            ("lstat", libc::SYS_lstat),
            ("newfstatat", libc::SYS_newfstatat),
            ("statx", libc::SYS_statx),
            ("access", libc::SYS_access),
            ("faccessat", libc::SYS_faccessat),
            ("faccessat2", libc::SYS_faccessat2),
            ("readlink", libc::SYS_readlink),
            ("readlinkat", libc::SYS_readlinkat),
            ("statfs", libc::SYS_statfs),
            ("fstatfs", libc::SYS_fstatfs),
            ("fstat", libc::SYS_fstat),
            ("truncate", libc::SYS_truncate),
            ("clone", libc::SYS_clone),
            ("clone3", libc::SYS_clone3),
            ("mount", libc::SYS_mount),
            ("fsopen", libc::SYS_fsopen),
            ("umount2", libc::SYS_umount2),
            ("userfaultfd", libc::SYS_userfaultfd),
        ] {
            assert_eq!(i64::from(of(name)), number, "{name}");
        }
    }
}

//! Reading what a call points at, from a tracee that may lie, race, or sit on a page that faults for ever.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::fill::{Fake, Memfds};
use super::{path, unmount};
use crate::sys::memory;
use crate::sys::ptrace::Tid;

/// Longest path that the kernel takes, its NUL included.
const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;
/// Most paths are shorter; a first read of this size saves copying a page.
const FIRST_READ: u64 = 256;

/// `syscall`, `int 0x80`, `sysenter`.
const SYSCALL_INSTRUCTIONS: [[u8; 2]; 3] = [[0x0f, 0x05], [0xcd, 0x80], [0x0f, 0x34]];
/// Pages of the vDSO that are looked through.
const VDSO_PAGES: u64 = 4;

/// How tracee memory is reached, from any thread; found by probing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// process_vm_readv and process_vm_writev.
    ProcessVm,
    /// /proc/TID/mem, where a kernel or a filter around us has no such calls.
    ProcMem,
}

/// Work on a tracee's memory or files. It may block, so it can be handed to another thread.
#[derive(Debug)]
pub enum Job {
    /// Read the path at `path` and, if `how` is not 0, the `struct open_how` there.
    Inputs {
        /// Address of the path.
        path: u64,
        /// Address of the `struct open_how`, or 0.
        how: u64,
    },
    /// Write bytes.
    Write {
        /// Address.
        at: u64,
        /// What to write.
        bytes: Vec<u8>,
    },
    /// Where a filesystem type of `width` bytes equals `from`, make it `to`.
    PatchType {
        /// Address of `f_type`.
        at: u64,
        /// 8 or 4.
        width: u8,
        /// Candidates, most specific first: the real type, and the one to report.
        candidates: Vec<(i64, i64)>,
    },
    /// Find a system call instruction, best the one before `after`.
    Site {
        /// The address behind the call that was made.
        after: u64,
    },
    /// Whether a descriptor is of the root of a procfs.
    IsProcfsRoot {
        /// In the tracee.
        fd: i32,
    },
    /// Whether umount2 may be asked for a path.
    Unmount {
        /// In the tracee.
        path: String,
    },
    /// Make a new memfd the fake.
    Fill {
        /// In the tracee.
        fd: i32,
        /// What becomes of it.
        fake: Fake,
        /// By which it is known.
        memfds: Arc<Memfds>,
    },
    /// Clear CLONE_UNTRACED in a `struct clone_args`.
    StripUntraced {
        /// Its address.
        at: u64,
    },
}

/// What of a `struct open_how` matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    /// As open(2)'s.
    pub flags: u64,
    /// `RESOLVE_*`.
    pub resolve: u64,
}

/// What a job yields.
#[derive(Debug)]
pub enum Done {
    /// The path, or `None` if it was not readable or too long; the open_how flags.
    Inputs(Option<Vec<u8>>, Option<How>),
    /// Whether the memory could be reached.
    Reached(bool),
    /// The address of a system call instruction, if any was found.
    Site(Option<u64>),
    /// The filled memfd.
    Filled(io::Result<File>),
}

impl Job {
    /// Whether it changes something of the tracee.
    pub fn writes(&self) -> bool {
        match self {
            Self::Write { .. } | Self::PatchType { .. } | Self::Fill { .. } | Self::StripUntraced { .. } => {
                true
            }
            Self::Inputs { .. } | Self::Site { .. } | Self::IsProcfsRoot { .. } | Self::Unmount { .. } => {
                false
            }
        }
    }

    /// Does the work.
    pub fn run(&self, access: Access, tid: Tid) -> Done {
        let memory = Memory { access, tid };
        match self {
            Self::Inputs { path, how } => {
                let how = if *how == 0 { None } else { memory.how(*how) };
                Done::Inputs(memory.string(*path), how)
            }
            Self::Write { at, bytes } => Done::Reached(memory.write(*at, bytes)),
            Self::PatchType { at, width, candidates } => Done::Reached(memory.patch(*at, *width, candidates)),
            Self::Site { after } => Done::Site(memory.site(*after)),
            Self::IsProcfsRoot { fd } => Done::Reached(path::is_procfs_root(tid, *fd)),
            Self::Unmount { path } => Done::Reached(unmount::may_go(tid, path)),
            Self::Fill { fd, fake, memfds } => Done::Filled(memfds.fill(tid, *fd, fake)),
            Self::StripUntraced { at } => Done::Reached(memory.strip_untraced(*at)),
        }
    }
}

impl Access {
    /// Reads up to `buffer.len()` bytes; how many there were before the first fault.
    pub fn read(self, tid: Tid, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::ProcessVm => memory::read(tid, at, buffer),
            Self::ProcMem => memory::read_file(tid, at, buffer),
        }
    }

    /// Writes; how many bytes were written.
    pub fn write(self, tid: Tid, at: u64, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::ProcessVm => memory::write(tid, at, bytes),
            Self::ProcMem => memory::write_file(tid, at, bytes),
        }
    }
}

struct Memory {
    access: Access,
    tid: Tid,
}

impl Memory {
    fn read(&self, at: u64, buffer: &mut [u8]) -> bool {
        self.access.read(self.tid, at, buffer).is_ok_and(|read| read == buffer.len())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> bool {
        self.access.write(self.tid, at, bytes).is_ok_and(|written| written == bytes.len())
    }

    fn word(&self, at: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.read(at, &mut word).then(|| u64::from_le_bytes(word))
    }

    fn how(&self, at: u64) -> Option<How> {
        Some(How { flags: self.word(at)?, resolve: self.word(at.checked_add(16)?)? })
    }

    /// The NUL-terminated string at `at`, read page by page so that one that ends at the edge of its mapping is found.
    fn string(&self, at: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut at = at;
        while bytes.len() < PATH_MAX {
            let to_page_end = PAGE - at % PAGE;
            let want = if bytes.is_empty() { to_page_end.min(FIRST_READ) } else { to_page_end };
            let mut chunk = vec![0; want as usize];
            if !self.read(at, &mut chunk) {
                return None;
            }
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                bytes.extend_from_slice(&chunk[..end]);
                return (bytes.len() < PATH_MAX).then_some(bytes);
            }
            bytes.extend_from_slice(&chunk);
            at = at.checked_add(want)?;
        }
        None
    }

    fn patch(&self, at: u64, width: u8, candidates: &[(i64, i64)]) -> bool {
        let mut word = [0; 8];
        let width = usize::from(width).min(8);
        if !self.read(at, &mut word[..width]) {
            return false;
        }
        let real = i64::from_le_bytes(word);
        let same = |from: i64| if width == 4 { from as u32 == real as u32 } else { from == real };
        match candidates.iter().find(|(from, _)| same(*from)) {
            Some((_, to)) => self.write(at, &to.to_le_bytes()[..width]),
            None => true,
        }
    }

    /// gVisor's systrap platform (until December 2025 in traced threads too) replaces the instruction that a call was
    /// made with by a jump; the vDSO has others.
    fn site(&self, after: u64) -> Option<u64> {
        let mut instruction = [0; 2];
        let before = after.checked_sub(2)?;
        if self.read(before, &mut instruction) && SYSCALL_INSTRUCTIONS.contains(&instruction) {
            return Some(before);
        }
        let start = vdso(&std::fs::read(format!("/proc/{}/auxv", self.tid)).ok()?)?;
        (0..VDSO_PAGES).find_map(|page| {
            let page_at = start.checked_add(page * PAGE)?;
            let mut code = vec![0; PAGE as usize];
            let readable = self.read(page_at, &mut code);
            let at = code.windows(2).position(|pair| readable && pair == SYSCALL_INSTRUCTIONS[0])?;
            Some(page_at + at as u64)
        })
    }

    fn strip_untraced(&self, at: u64) -> bool {
        let Some(flags) = self.word(at) else { return false };
        let stripped = flags & !(libc::CLONE_UNTRACED as u64);
        stripped == flags || self.write(at, &stripped.to_le_bytes())
    }
}

/// The vDSO's address, from /proc/PID/auxv of a 64-bit process. gVisor's maps do not name it.
fn vdso(auxv: &[u8]) -> Option<u64> {
    let (words, _) = auxv.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let entry = pairs.iter().find(|[key, _]| u64::from_ne_bytes(*key) == libc::AT_SYSINFO_EHDR)?;
    Some(u64::from_ne_bytes(entry[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [Access; 2] = [Access::ProcessVm, Access::ProcMem];

    fn me() -> Tid {
        std::process::id() as Tid
    }

    fn path_at(path: u64, access: Access) -> Option<Vec<u8>> {
        match (Job::Inputs { path, how: 0 }).run(access, me()) {
            Done::Inputs(path, None) => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_vdso_has_a_system_call_instruction() {
        for access in WAYS {
            let nowhere = Job::Site { after: 2 }.run(access, me());
            assert!(matches!(nowhere, Done::Site(Some(_))), "{nowhere:?}");
        }
    }

    #[test]
    fn a_path_is_read_up_to_its_nul_across_pages() {
        let long = [vec![b'x'; 4000], vec![0]].concat();
        for access in WAYS {
            assert_eq!(path_at(long.as_ptr() as u64, access), Some(vec![b'x'; 4000]));
        }
    }

    #[test]
    fn a_path_without_end_and_a_bad_address_are_refused() {
        let endless = vec![b'x'; 3 * 4096];
        for (path, access) in [endless.as_ptr() as u64, 0, u64::MAX - 3]
            .into_iter()
            .flat_map(|path| WAYS.map(|access| (path, access)))
        {
            assert_eq!(path_at(path, access), None);
        }
    }

    /// Jobs are run by other threads than the tracer's, which PTRACE_PEEKDATA for one would refuse.
    #[test]
    fn memory_is_reached_from_any_thread() {
        for access in WAYS {
            let word = Box::new(7_u64);
            let at = std::ptr::from_ref(&*word) as u64;
            let job = Job::Write { at, bytes: 8_u64.to_ne_bytes().to_vec() };
            let done = std::thread::spawn(move || job.run(access, me())).join().unwrap();
            assert!(matches!(done, Done::Reached(true)), "{access:?}: {done:?}");
            assert_eq!(std::hint::black_box(*word), 8);
        }
    }

    #[test]
    fn only_the_expected_filesystem_type_is_replaced() {
        for access in WAYS {
            let types = [0x0102_1997_i64, 0x9fa0];
            let candidates = vec![(0x0102_1997, 0xEF53)];
            for value in &types {
                let at = std::ptr::from_ref(value) as u64;
                let job = Job::PatchType { at, width: 8, candidates: candidates.clone() };
                assert!(matches!(job.run(access, me()), Done::Reached(true)));
            }
            assert_eq!(std::hint::black_box(types), [0xEF53, 0x9fa0]);
        }
    }
}

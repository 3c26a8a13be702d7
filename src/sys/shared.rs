//! Memory shared between processes: a sealed memfd and its mapping, read and written only through atomics.
//!
//! Another process may write while we read, so plain references into the mapping would be undefined behaviour; every
//! access here is an atomic word, and a torn message is caught by its checksum.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// Creates a memfd of `len` bytes, sealed against shrinking and growing.
pub fn sealed_memfd(name: &str, len: usize) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    // SAFETY: `name` is a NUL-terminated string that lives across the call.
    let raw = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    nix::unistd::ftruncate(&fd, i64::try_from(len).map_err(io::Error::other)?)?;
    seal(&fd, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL)?;
    Ok(fd)
}

/// Adds seals (`F_SEAL_*`) to a memfd.
pub fn seal(fd: &impl AsFd, seals: i32) -> io::Result<()> {
    // SAFETY: F_ADD_SEALS takes an integer and touches no memory of ours.
    let done = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_ADD_SEALS, seals) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A second, read-only descriptor of a memfd; it cannot be mapped writable.
pub fn read_only(fd: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))?.into())
}

/// A `MAP_SHARED` mapping of a whole memfd.
#[derive(Debug)]
pub struct SharedMapping {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping is plain memory, reached only through atomics, and owned by this value.
unsafe impl Send for SharedMapping {}
// SAFETY: as above; every access is an atomic operation.
unsafe impl Sync for SharedMapping {}

impl SharedMapping {
    /// Maps all of `fd`. Refuses one that could shrink under us (access would raise SIGBUS) or is shorter than `min_len`.
    pub fn new(fd: &impl AsFd, min_len: usize, writable: bool) -> io::Result<Self> {
        let raw = fd.as_fd().as_raw_fd();
        // SAFETY: F_GET_SEALS takes no pointer.
        let seals = unsafe { libc::fcntl(raw, libc::F_GET_SEALS) };
        if seals < 0 || seals & libc::F_SEAL_SHRINK == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a memfd sealed against shrinking"));
        }
        let len = usize::try_from(nix::sys::stat::fstat(fd)?.st_size).map_err(io::Error::other)?;
        if len < min_len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{len} bytes, expected {min_len}"),
            ));
        }
        let prot = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a fresh mapping at an address of the kernel's choice; `len` is the file's size, which cannot shrink.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, raw, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self { base, len, writable })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the mapping has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(WORD) || offset.checked_add(WORD)? > self.len {
            return None;
        }
        // SAFETY: in bounds and aligned (the base is page-aligned), and the mapping lives as long as `self`.
        Some(unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) })
    }

    /// Loads the word at byte `offset` (a multiple of 8); 0 outside the mapping.
    pub fn load(&self, offset: usize, order: Ordering) -> u64 {
        self.word(offset).map_or(0, |word| word.load(order))
    }

    /// Stores a word; without effect outside the mapping or on a read-only one.
    pub fn store(&self, offset: usize, value: u64, order: Ordering) {
        if let Some(word) = self.word(offset).filter(|_| self.writable) {
            word.store(value, order);
        }
    }

    /// Adds to a word, wrapping; without effect outside the mapping or on a read-only one.
    pub fn add(&self, offset: usize, value: u64) {
        if let Some(word) = self.word(offset).filter(|_| self.writable) {
            word.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// Copies `len` bytes from `offset` (a multiple of 8); `None` if they are not all inside.
    pub fn read(&self, offset: usize, len: usize) -> Option<Vec<u8>> {
        let words = len.div_ceil(WORD);
        if offset.checked_add(words.checked_mul(WORD)?)? > self.len {
            return None;
        }
        let mut bytes = Vec::with_capacity(words * WORD);
        for index in 0..words {
            bytes.extend_from_slice(&self.load(offset + index * WORD, Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(len);
        Some(bytes)
    }

    /// Copies `bytes` to `offset` (a multiple of 8), zero-padding the last word; `false` if they do not fit.
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset.checked_add(bytes.len().next_multiple_of(WORD)).is_some_and(|end| end <= self.len);
        if !fits || !self.writable {
            return false;
        }
        for (index, chunk) in bytes.chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(offset + index * WORD, u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        true
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_descriptor_cannot_be_mapped_writable() {
        let fd = sealed_memfd("test", 4096).unwrap();
        let reader = read_only(&fd).unwrap();
        assert!(SharedMapping::new(&reader, 4096, true).is_err());
        let (writer, reader) =
            (SharedMapping::new(&fd, 4096, true).unwrap(), SharedMapping::new(&reader, 4096, false).unwrap());
        assert!(writer.write(8, b"hello world"));
        assert_eq!(reader.read(8, 11).unwrap(), b"hello world");
        assert!(!reader.write(8, b"x"), "a read-only mapping took a write");
    }

    #[test]
    fn access_outside_the_mapping_is_refused() {
        let mapping = SharedMapping::new(&sealed_memfd("test", 4096).unwrap(), 4096, true).unwrap();
        assert!(!mapping.write(4096, b"x") && !mapping.write(usize::MAX - 7, b"x"));
        assert_eq!(mapping.read(4090, 16), None);
        assert_eq!(mapping.load(4096, Ordering::Relaxed), 0);
    }
}

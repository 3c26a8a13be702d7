//! Another process's memory: process_vm_readv(2) and process_vm_writev(2), or /proc/TID/mem.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::ptrace::Tid;

/// Reads up to `buffer.len()` bytes at `addr`; returns how many were readable before the first fault.
pub fn read(tid: Tid, addr: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: `local` describes the whole of `buffer`, borrowed mutably for the call; `remote` is checked by the kernel.
    let read = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes `bytes` at `addr`; returns how many were written.
pub fn write(tid: Tid, addr: u64, bytes: &[u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel only reads from `local`, which describes `bytes`; `remote` is checked by the kernel.
    let written = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// As [`read`], through the thread's memory file.
pub fn read_file(tid: Tid, addr: u64, buffer: &mut [u8]) -> io::Result<usize> {
    File::open(format!("/proc/{tid}/mem"))?.read_at(buffer, addr)
}

/// As [`write`], through the thread's memory file.
pub fn write_file(tid: Tid, addr: u64, bytes: &[u8]) -> io::Result<usize> {
    File::options().write(true).open(format!("/proc/{tid}/mem"))?.write_at(bytes, addr)
}

//! Whole-process operations: forking early, ending as another process ended, the descriptors that were inherited.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::ptrace::Tid;

/// Which side of [`fork`] this is.
#[derive(Debug)]
pub enum Side {
    /// The old process, with the new one's pid.
    Parent(Tid),
    /// The new process.
    Child,
}

/// Forks while there is one thread only, so that all of Rust may be used in the child too.
pub fn fork() -> io::Result<Side> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("fork with {threads} threads")));
    }
    // SAFETY: no other thread exists that could hold a lock across the fork.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid)),
    }
}

/// Ends this process by `signal`, as its command was ended, without a core dump of our own.
pub fn die_by(signal: i32) {
    use nix::sys::resource::{Resource, setrlimit};
    // Only a nicety: without it an own core file may overwrite the command's.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: SIG_DFL installs no code; an emptied mask and raise touch this thread alone.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::raise(signal);
    }
}

/// Whether the kernel has this call, which must be one that takes a path: it is made without one, and so does nothing.
pub fn has_path_call(number: u32) -> bool {
    // SAFETY: every pointer argument is null, which a call that takes a path refuses; nothing of ours is touched.
    let refused = unsafe { libc::syscall(i64::from(number), 0_u64, 0_u64, 0_u64, 0_u64, 0_u64, 0_u64) } < 0;
    !(refused && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS))
}

/// Takes over the descriptors from 3 up that this process was started with and that its children would inherit.
/// To be called once, before anything else has opened a descriptor without close-on-exec.
pub fn take_inherited() -> io::Result<Vec<(OwnedFd, RawFd)>> {
    let mut taken = Vec::new();
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for number in numbers {
        // SAFETY: F_GETFD takes no pointer.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
            continue;
        }
        // SAFETY: an inherited descriptor has no owner in this process yet.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        taken.push((fd, number));
    }
    Ok(taken)
}

/// Puts /dev/null on stdin, stdout and stderr, so that pipes held there close, and leaves the working directory, so that
/// its filesystem can be unmounted.
pub fn let_go() -> io::Result<()> {
    nix::unistd::chdir("/")?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    for target in 0..3 {
        // SAFETY: replaces our own standard descriptor by a live one.
        if unsafe { libc::dup2(null.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

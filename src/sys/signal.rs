//! Signal dispositions and masks of this process, and what else a program inherits that we change for ourselves.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether SIGPIPE was ignored when this process was started: Rust's start-up code ignores it in any case.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

// SAFETY: the C library calls what stands in .init_array once, before Rust's start-up code, as a C function; surplus
// arguments are harmless in this ABI.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = note_sigpipe;

extern "C" fn note_sigpipe() {
    // SAFETY: sigaction is plain data, for which all-zero is valid; the call only reads the disposition into it.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action);
        action
    };
    SIGPIPE_WAS_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
}

const SIGNALS: std::ops::Range<i32> = 1..65;

/// Every disposition, the mask, and the limit of open descriptors as they were, to be restored in a child.
pub struct Dispositions {
    open_files: Option<libc::rlimit>,
    known: Vec<(i32, libc::sigaction)>,
    mask: libc::sigset_t,
}

impl std::fmt::Debug for Dispositions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Dispositions({})", self.known.len())
    }
}

impl Dispositions {
    /// Those of this process and thread now; for SIGPIPE, those that it was started with.
    pub fn current() -> Self {
        let mut known = Vec::new();
        for signal in SIGNALS {
            // SAFETY: sigaction is plain data, for which all-zero is valid (SIG_DFL).
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: only reads the disposition into a live local.
            let read = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
            if signal == libc::SIGPIPE {
                let ignored = SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed);
                action.sa_sigaction = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
            }
            // Handlers vanish at exec; only "ignored" and "default" are inherited.
            if read == 0 && matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
                known.push((signal, action));
            }
        }
        // SAFETY: sigset_t is plain data; the call only reads this thread's mask into it.
        let mask = unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut mask);
            mask
        };
        let mut open_files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: only reads the limit into a live local.
        let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut open_files) };
        Self { open_files: (read == 0).then_some(open_files), known, mask }
    }

    /// Restores them. Async-signal-safe.
    pub fn restore(&self) {
        for (signal, action) in &self.known {
            // SAFETY: installs a disposition that this process had; KILL and STOP fail harmlessly.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
        if let Some(limit) = &self.open_files {
            // SAFETY: sets a limit that this process had; one system call, which reads it.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) };
        }
        // SAFETY: sets this thread's mask from a set that the kernel gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask, std::ptr::null_mut()) };
    }
}

/// Ignores every signal but those that a fault of our own raises, and SIGCHLD.
pub fn ignore_what_others_send() {
    let kept = [
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGCHLD,
    ];
    for signal in SIGNALS.filter(|signal| !kept.contains(signal)) {
        // SAFETY: SIG_IGN installs no code; KILL, STOP and the C library's own fail harmlessly.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives SIGCHLD its default disposition (an inherited "ignored" would reap our children unseen) and blocks it in this
/// thread and those it starts, so that it stays pending for a signalfd.
pub fn claim_sigchld() -> io::Result<()> {
    use nix::sys::signal::{SigSet, Signal};
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    Ok(set.thread_block()?)
}

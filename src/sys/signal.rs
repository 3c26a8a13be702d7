//! Signal dispositions and masks of this process.

use std::io;

const SIGNALS: std::ops::Range<i32> = 1..65;

/// Every disposition as it was, to be restored in a child.
pub struct Dispositions(Vec<(i32, libc::sigaction)>);

impl std::fmt::Debug for Dispositions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Dispositions({})", self.0.len())
    }
}

impl Dispositions {
    /// Those of this process now. SIGPIPE is noted as default: Rust's start-up code has it ignored.
    pub fn current() -> Self {
        let mut known = Vec::new();
        for signal in SIGNALS {
            // SAFETY: sigaction is plain data, for which all-zero is valid (SIG_DFL).
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: only reads the disposition into a live local.
            let read = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
            if signal == libc::SIGPIPE {
                action.sa_sigaction = libc::SIG_DFL;
            }
            // Handlers vanish at exec; only "ignored" and "default" are inherited.
            if read == 0 && matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
                known.push((signal, action));
            }
        }
        Self(known)
    }

    /// Restores them and empties the signal mask. Async-signal-safe.
    pub fn restore(&self) {
        for (signal, action) in &self.0 {
            // SAFETY: installs a disposition that this process had; KILL and STOP fail harmlessly.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
        // SAFETY: an empty set on this thread.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
    }
}

/// Ignores a signal from here on.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
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

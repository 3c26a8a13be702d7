//! Window size of a terminal: the two ioctls that nix leaves to us.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Copies the window size of one terminal to another, which tells its foreground processes (SIGWINCH).
pub fn copy_window_size(from: &impl AsFd, to: &impl AsFd) -> io::Result<()> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, which `size` is, and it lives across the call.
    if unsafe { libc::ioctl(from.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: TIOCSWINSZ reads one winsize, which `size` is, and it lives across the call.
    if unsafe { libc::ioctl(to.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

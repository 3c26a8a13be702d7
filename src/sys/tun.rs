//! TUN devices: the descriptor from which packets are read that leave by a link, and to which those are written that arrive.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

const DEVICE: &str = "/dev/net/tun";

/// Makes a link of that name in this thread's network namespace, which goes away with the descriptor. Packets carry no header
/// of the device's own; reading does not block.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
    // SAFETY: an ifreq is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    let room = request.ifr_name.len() - 1;
    if name.is_empty() || name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which is alive and ours.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, std::ptr::from_mut(&mut request)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(file.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        for name in ["", "sixteen-letters-"] {
            // Where the device is missing, that is said first.
            let error = open(name).unwrap_err();
            assert!(matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound), "{error}");
        }
    }
}

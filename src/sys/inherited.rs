//! Descriptors that a parent process left open for us and named by number in the environment.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Why descriptors could not be taken over.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InheritError {
    #[error("{variable} is not set")]
    Unset { variable: &'static str },
    #[error("{variable}={value:?}: {count} different descriptor numbers above 2 are wanted, comma-separated")]
    Malformed { variable: &'static str, value: String, count: usize },
    #[error("{variable} names descriptor {number}, which is not open: {source}")]
    NotOpen { variable: &'static str, number: RawFd, source: io::Error },
    #[error("the descriptors of {variable} were taken already")]
    Taken { variable: &'static str },
}

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes over the `N` descriptors that `variable` names, in that order, and keeps them from programs that we start.
/// Once per process.
pub fn take<const N: usize>(variable: &'static str) -> Result<[OwnedFd; N], InheritError> {
    let value = std::env::var(variable).map_err(|_| InheritError::Unset { variable })?;
    let numbers = parse::<N>(&value).ok_or(InheritError::Malformed { variable, value, count: N })?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(InheritError::Taken { variable });
    }
    for number in numbers {
        // SAFETY: F_SETFD takes an integer and touches no memory of ours; a number that is not open gives EBADF.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(InheritError::NotOpen { variable, number, source: io::Error::last_os_error() });
        }
    }
    // SAFETY: open (checked above), distinct and above 2 (checked by `parse`), left open by our parent for us alone to
    // own: nothing in this process opened them, and `TAKEN` lets nobody take them twice.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Lets tokio wait until `fd` can be read. Needs a tokio runtime.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor as long as it lives, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

fn parse<const N: usize>(value: &str) -> Option<[RawFd; N]> {
    let numbers: Vec<RawFd> =
        value.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
    let distinct = numbers.iter().enumerate().all(|(at, number)| !numbers[..at].contains(number));
    let above_stdio = numbers.iter().all(|number| *number > libc::STDERR_FILENO);
    if distinct && above_stdio { numbers.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_distinct_numbers_above_stdio_are_taken() {
        assert_eq!(parse::<3>("3,4, 5"), Some([3, 4, 5]));
        for wrong in ["", "3,4", "3,3,4", "2,3,4", "3,4,x", "3,4,-5", "3,4,5,6"] {
            assert_eq!(parse::<3>(wrong), None, "{wrong}");
        }
    }
}

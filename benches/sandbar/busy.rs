//! A pod that does nothing but path syscalls: what others get done beside it tells whether it starves them.

use std::fs;
use std::hint::black_box;
use std::io;
use std::thread;

/// More than the machine that the figures are of has cores.
const THREADS: usize = 4;

/// The guest: stats until it is killed.
pub fn guest() -> io::Result<()> {
    let busy = || -> io::Result<()> {
        loop {
            black_box(fs::metadata("/")?);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(busy)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("panicked"))))
    })
}

//! The only unsafe code: ptrace, seccomp, process memory, shared mappings. Each item is a safe, small wrapper.

#![allow(unsafe_code)]

pub mod daemon;
pub mod inherited;
pub mod memory;
pub mod probe;
pub mod process;
pub mod ptrace;
pub mod seccomp;
pub mod shared;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod terminal;
pub mod tun;
pub mod wait;

//! The only unsafe code: ptrace, seccomp, process memory, shared mappings. Each item is a safe, small wrapper.

#![allow(unsafe_code)]

pub mod probe;
pub mod shared;

//! A stopped thread's registers, read as a trapped call and edited into another one.

use super::syscalls::{Abi, Syscall};
use crate::sys::ptrace::Registers;

/// Code segment of 32-bit user code (Linux's __USER32_CS).
const USER32_CS: u64 = 0x23;

/// A trapped call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Index into the syscall table.
    pub index: usize,
    /// Its table entry.
    pub syscall: &'static Syscall,
    /// How it was called.
    pub abi: Abi,
    /// Its arguments.
    pub args: [u64; 6],
}

/// The call that a thread is about to make, if it is a trapped one.
///
/// A 64-bit program that uses `int 0x80` is read as x86-64; the filter's answer for it is at most a wrong answer to
/// that program about a path of its own.
pub fn decode(regs: &Registers) -> Option<Call> {
    let abi = abi(regs);
    let (index, syscall) = abi.find(regs.orig_rax)?;
    let args = match abi {
        Abi::X64 => [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
        Abi::I386 => {
            [regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp].map(|value| value & 0xffff_ffff)
        }
    };
    Some(Call { index, syscall, abi, args })
}

/// Which ABI a thread runs.
pub fn abi(regs: &Registers) -> Abi {
    if regs.cs == USER32_CS { Abi::I386 } else { Abi::X64 }
}

impl Call {
    /// An argument by its number in the table.
    pub fn arg(&self, index: Option<usize>) -> u64 {
        index.and_then(|index| self.args.get(index)).copied().unwrap_or(0)
    }
}

/// Puts the arguments in place.
pub fn set_args(regs: &mut Registers, abi: Abi, args: [u64; 6]) {
    let [a, b, c, d, e, f] = args;
    match abi {
        Abi::X64 => [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = [a, b, c, d, e, f],
        Abi::I386 => [regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp] = [a, b, c, d, e, f],
    }
}

/// At the call's entry: run another call instead.
pub fn replaced(saved: &Registers, abi: Abi, number: u64, args: [u64; 6]) -> Registers {
    let mut regs = *saved;
    regs.orig_rax = number;
    set_args(&mut regs, abi, args);
    regs
}

/// At a call's exit: go to the system call instruction at `site` and run another call.
pub fn again(saved: &Registers, abi: Abi, site: u64, number: u64, args: [u64; 6]) -> Registers {
    let mut regs = *saved;
    regs.rip = site;
    regs.rax = number;
    set_args(&mut regs, abi, args);
    regs
}

/// At the call's entry: do not run it, return `result`.
pub fn skipped(saved: &Registers, result: i64) -> Registers {
    let mut regs = *saved;
    regs.orig_rax = u64::MAX;
    regs.rax = result as u64;
    regs
}

/// At the end: the registers that the call was made with, and its result.
pub fn finished(saved: &Registers, result: i64) -> Registers {
    let mut regs = *saved;
    regs.rax = result as u64;
    regs
}

/// The result in an exit stop, sign-extended for 32-bit threads.
pub fn result(regs: &Registers) -> i64 {
    match abi(regs) {
        Abi::X64 => regs.rax as i64,
        Abi::I386 => i64::from(regs.rax as i32),
    }
}

//! A stopped thread's registers, read as a trapped call and edited into another one.

use super::syscalls::{Abi, Syscall};
use crate::sys::ptrace::Registers;

/// Numbers from here on are x32 calls.
const X32_BIT: u64 = 0x4000_0000;
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

/// What a seccomp stop is about.
#[derive(Clone, Copy, Debug)]
pub enum Decoded {
    /// A call of the table.
    Ours(Call),
    /// A call that only a filter of the program's own can have sent to a tracer.
    Theirs,
    /// `int 0x80` in a 64-bit program: 32-bit numbers with registers that do not tell so.
    Odd,
}

/// The call that a thread is about to make. `syscall_marks`: the `syscall` instruction leaves its return address in rcx
/// here, by which it can be told from `int 0x80`.
pub fn decode(regs: &Registers, syscall_marks: bool) -> Decoded {
    let abi = abi(regs);
    if syscall_marks && abi == Abi::X64 && regs.rcx != regs.rip {
        return Decoded::Odd;
    }
    let Some((index, syscall)) = abi.find(regs.orig_rax) else {
        return if regs.orig_rax < X32_BIT { Decoded::Theirs } else { Decoded::Odd };
    };
    let args = match abi {
        Abi::X64 => [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
        Abi::I386 => {
            [regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp].map(|value| value & 0xffff_ffff)
        }
    };
    Decoded::Ours(Call { index, syscall, abi, args })
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

/// At the exit of what ran in its place: make the call again, from its own instruction, with its own arguments.
///
/// That instruction is two bytes long however a call is made, and where gVisor has replaced it by a jump it knows how
/// to land there: it restarts calls in the same way.
pub fn rewound(saved: &Registers) -> Registers {
    let mut regs = *saved;
    regs.rip = saved.rip.wrapping_sub(2);
    regs.rax = saved.orig_rax;
    regs.orig_rax = u64::MAX;
    regs
}

/// Whether a result tells the kernel to make the call again once a signal was handled (ERESTARTSYS and its kin, which
/// no program sees).
pub fn restarts(result: i64) -> bool {
    matches!(result, -516 | -514..=-512)
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

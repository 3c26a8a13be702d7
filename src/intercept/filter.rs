//! The seccomp filter: a classic BPF program made from the syscall table.
//!
//! Anything not in the table is allowed, so that the kernel's per-syscall bitmap makes it free (Linux ≥ 5.11). x32 gets
//! ENOSYS: its numbers alias x86-64 calls that we would otherwise miss.

use super::syscalls::{Abi, Kind, Syscall, TRAPPED};
use crate::sys::seccomp::Instruction;

const LD_W_ABS: u16 = 0x20;
const JEQ_K: u16 = 0x15;
const JGE_K: u16 = 0x35;
const JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;

const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;
const CLONE_UNTRACED: u32 = libc::CLONE_UNTRACED as u32;
const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;
const AT_FDCWD: u32 = libc::AT_FDCWD as u32;

const NR_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NO_SUCH_SYSCALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Tells our RET_TRACE from one of a program's own, which outranks it where both say so: the newer filter's data counts
/// (seccomp(2)). libseccomp and runc use small numbers and errnos.
const OURS: u32 = 0x5b00;

/// The data that a stop of our filter at this table entry comes with.
pub const fn mark(index: usize) -> u32 {
    (OURS | index as u32) & libc::SECCOMP_RET_DATA
}

/// The program that every traced tree starts under. `traced` says of a table entry whether it is trapped, `descriptors`
/// whether stat calls about a descriptor are.
pub fn program(traced: impl Fn(&Syscall) -> bool, descriptors: bool) -> Vec<Instruction> {
    let x64 = section(Abi::X64, &traced, descriptors);
    let mut out = vec![
        op(LD_W_ABS, ARCH_AT),
        jump(JEQ_K, AUDIT_ARCH_X86_64, 1, 0),
        // A section may be longer than a conditional jump reaches, so past it by an unconditional one.
        long_jump(x64.len() as u32 + 3),
        op(LD_W_ABS, NR_AT),
        jump(JGE_K, X32_BIT, 0, 1),
        op(RET_K, NO_SUCH_SYSCALL),
    ];
    out.extend(x64);
    out.extend([jump(JEQ_K, AUDIT_ARCH_I386, 1, 0), op(RET_K, ALLOW), op(LD_W_ABS, NR_AT)]);
    out.extend(section(Abi::I386, &traced, descriptors));
    out
}

/// A program that lets everything run: where ptrace stops every call anyway.
pub fn allow_all() -> Vec<Instruction> {
    vec![op(RET_K, ALLOW)]
}

fn section(abi: Abi, traced: &impl Fn(&Syscall) -> bool, descriptors: bool) -> Vec<Instruction> {
    let mut out = Vec::new();
    for (index, call) in TRAPPED.iter().enumerate() {
        let wanted = traced(call) && (descriptors || call.kind != Kind::Fstat);
        let Some(number) = abi.number(call).filter(|_| wanted) else { continue };
        let body = verdict(index, call, descriptors);
        out.push(jump(JEQ_K, number, 0, body.len() as u8));
        out.extend(body);
    }
    out.push(op(RET_K, ALLOW));
    out
}

fn verdict(index: usize, call: &Syscall, descriptors: bool) -> Vec<Instruction> {
    let trace = op(RET_K, libc::SECCOMP_RET_TRACE | mark(index));
    let allow = op(RET_K, ALLOW);
    match (call.kind, call.at_flags) {
        (Kind::Clone, _) => {
            vec![op(LD_W_ABS, argument(0)), jump(JSET_K, CLONE_UNTRACED, 0, 1), trace, allow]
        }
        (_, Some(flags)) if !descriptors => vec![
            op(LD_W_ABS, argument(flags)),
            jump(JSET_K, AT_EMPTY_PATH, 0, 2),
            op(LD_W_ABS, argument(0)),
            jump(JEQ_K, AT_FDCWD, 0, 1),
            trace,
            allow,
        ],
        _ => vec![trace],
    }
}

/// Offset of the low half of an argument in `struct seccomp_data`.
fn argument(index: usize) -> u32 {
    16 + 8 * index as u32
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn long_jump(k: u32) -> Instruction {
    op(0x05, k)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A classic BPF interpreter for the instructions that we emit.
    fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let mut data = [0_u8; 64];
        data[0..4].copy_from_slice(&nr.to_le_bytes());
        data[4..8].copy_from_slice(&arch.to_le_bytes());
        for (index, arg) in args.iter().enumerate() {
            data[16 + 8 * index..24 + 8 * index].copy_from_slice(&arg.to_le_bytes());
        }
        let (mut at, mut acc) = (0_usize, 0_u32);
        loop {
            let instruction = program[at];
            at += 1;
            let k = instruction.k;
            let taken = match instruction.code {
                LD_W_ABS => {
                    acc = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap());
                    continue;
                }
                RET_K => return k,
                0x05 => {
                    at += k as usize;
                    continue;
                }
                JEQ_K => acc == k,
                JGE_K => acc >= k,
                JSET_K => acc & k != 0,
                code => panic!("unknown code {code:#x}"),
            };
            at += usize::from(if taken { instruction.jt } else { instruction.jf });
        }
    }

    #[test]
    fn exactly_the_table_is_traced_on_both_abis() {
        let program = program(|_| true, true);
        for (arch, abi) in [(AUDIT_ARCH_X86_64, Abi::X64), (AUDIT_ARCH_I386, Abi::I386)] {
            for nr in 0..600 {
                let args = [u64::from(AT_FDCWD), 0, 0, 0, 0, 0];
                let verdict = run(&program, arch, nr, args);
                match abi.find(u64::from(nr)) {
                    // AT_FDCWD, read as clone's flags, has CLONE_UNTRACED among its bits.
                    Some((index, call)) => {
                        assert_eq!(verdict, libc::SECCOMP_RET_TRACE | mark(index), "{abi:?} {}", call.name);
                        assert_ne!(mark(index), mark(index + 1));
                    }
                    None => assert_eq!(verdict, ALLOW, "{abi:?} {nr}"),
                }
            }
        }
    }

    #[test]
    fn clone_is_traced_only_when_it_would_escape() {
        let verdict =
            |flags: u64| run(&program(|_| true, true), AUDIT_ARCH_X86_64, 56, [flags, 0, 0, 0, 0, 0]);
        assert_eq!(verdict(0x11), ALLOW);
        assert_ne!(verdict(0x11 | u64::from(CLONE_UNTRACED)), ALLOW);
    }

    #[test]
    fn a_stat_of_a_descriptor_runs_untraced_and_one_of_a_path_does_not() {
        let program = program(|_| true, false);
        let verdict =
            |dirfd: u64, flags: u64| run(&program, AUDIT_ARCH_X86_64, 262, [dirfd, 0, 0, flags, 0, 0]);
        assert_eq!(run(&program, AUDIT_ARCH_X86_64, 5, [3, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(verdict(3, u64::from(AT_EMPTY_PATH)), ALLOW);
        assert_ne!(verdict(3, 0), ALLOW);
        assert_ne!(verdict(u64::from(AT_FDCWD), u64::from(AT_EMPTY_PATH)), ALLOW);
    }

    #[test]
    fn x32_and_foreign_architectures_are_not_misread() {
        assert_eq!(run(&program(|_| true, true), AUDIT_ARCH_X86_64, X32_BIT | 257, [0; 6]), NO_SUCH_SYSCALL);
        assert_eq!(run(&program(|_| true, true), 0xC000_00B7, 257, [0; 6]), ALLOW);
    }
}

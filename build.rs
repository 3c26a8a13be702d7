//! Builds the pause program, which is embedded: the first pod needs no registry.

use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

const SOURCE: &str = "src/pause/pause.c";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CC");
    let program = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("pause");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args([
        "-Os",
        "-static",
        "-no-pie",
        "-fno-pie",
        "-nostdlib",
        "-ffreestanding",
        "-fno-stack-protector",
    ]);
    command.args([
        "-fno-asynchronous-unwind-tables",
        "-Wall",
        "-Werror",
        "-Wl,--build-id=none,-z,noexecstack,-s",
    ]);
    let status = command.arg("-o").arg(&program).arg(SOURCE).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

//! Builds the guest programs of tests/guests with cc and go, into the target directory, when their sources change.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use sandbar::intercept::syscalls::{Kind, TRAPPED};

/// Where guests and rule files go.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests")
}

/// The path of a built guest; builds all of them first.
pub fn guest(name: &str) -> String {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(build_all);
    let path = directory().join(name);
    assert!(path.exists(), "there is no guest {name}");
    path.to_str().unwrap().to_owned()
}

fn build_all() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let out = directory();
    std::fs::create_dir_all(&out).unwrap();
    write_if_changed(&out.join("table.h"), table().as_bytes());
    let shared = [sources.join("guest.h"), out.join("table.h")];
    let mut failed = Vec::new();
    for entry in std::fs::read_dir(&sources).unwrap() {
        let source = entry.unwrap().path();
        let (Some(stem), Some(kind)) = (source.file_stem(), source.extension()) else { continue };
        let target = out.join(stem);
        if !(kind == "c" || kind == "go") || !outdated(&target, shared.iter().chain([&source])) {
            continue;
        }
        let fresh = out.join(format!("{}.{}", stem.to_string_lossy(), std::process::id()));
        let done = match (kind.to_str(), stem.to_str()) {
            (Some("go"), _) => go(&source, &fresh),
            (_, Some(name)) => cc(&source, &fresh, &out, name.ends_with("32")),
            _ => false,
        };
        if done {
            std::fs::rename(&fresh, &target).unwrap();
        } else {
            failed.push(source);
        }
    }
    assert!(failed.is_empty(), "guests that could not be built (install gcc, libc6-dev, Go): {failed:?}");
}

fn cc(source: &Path, target: &Path, include: &Path, is_32_bit: bool) -> bool {
    let mut cc = Command::new("cc");
    cc.args(["-static", "-O1", "-Wall", "-Wextra", "-Wno-format-truncation", "-I"]).arg(include);
    if is_32_bit {
        // Without a C library, so that no 32-bit one has to be installed.
        cc.args(["-m32", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector"]);
    } else {
        cc.arg("-pthread");
    }
    cc.arg(source).arg("-o").arg(target).status().is_ok_and(|status| status.success())
}

fn go(source: &Path, target: &Path) -> bool {
    let mut go = Command::new("go");
    go.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
    go.arg("build").arg("-o").arg(target).arg(source).status().is_ok_and(|status| status.success())
}

fn outdated<'a>(target: &Path, mut sources: impl Iterator<Item = &'a PathBuf>) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
    let built: Option<SystemTime> = changed(target);
    built.is_none() || sources.any(|source| changed(source) > built)
}

/// The syscall table of the interceptor, for C.
fn table() -> String {
    let mut text = String::from(
        "/* Made from the interceptor's table; only what x86-64 has. */\n\
         enum { KIND_OPEN, KIND_CREAT, KIND_OPEN_HOW, KIND_STAT, KIND_STATX, KIND_ACCESS, KIND_READLINK, KIND_STATFS,\n\
         KIND_FSTATFS, KIND_TRUNCATE };\n\
         static const struct row { const char *name; int number, kind, dirfd, path, flags, out, at_flags; } rows[] = {\n",
    );
    for call in TRAPPED {
        let kind = match call.kind {
            Kind::Open => "OPEN",
            Kind::Creat => "CREAT",
            Kind::OpenHow => "OPEN_HOW",
            Kind::Stat(_) if call.name == "statx" => "STATX",
            Kind::Stat(_) => "STAT",
            Kind::Access => "ACCESS",
            Kind::Readlink => "READLINK",
            Kind::Statfs(_) => "STATFS",
            Kind::Fstatfs(_) => "FSTATFS",
            Kind::Truncate => "TRUNCATE",
            _ => continue,
        };
        let Some(number) = call.x64 else { continue };
        let index = |argument: Option<usize>| argument.map_or(-1, |index| index as i32);
        let _ = writeln!(
            text,
            "{{\"{}\", {number}, KIND_{kind}, {}, {}, {}, {}, {}}},",
            call.name,
            index(call.dirfd),
            index(call.path),
            index(call.flags),
            index(call.out),
            index(call.at_flags)
        );
    }
    text + "};\n"
}

/// Writes a file in one step, unless it has these bytes already.
pub fn write_if_changed(path: &Path, bytes: &[u8]) {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return;
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let fresh = path.with_extension(format!("{}.{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&fresh, bytes).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

//! Microseconds per system call, measured by this binary run as its own guest.

use std::ffi::CString;
use std::hint::black_box;
use std::time::Instant;

/// The calls that are measured, in the order of the guest's output.
pub const CALLS: [&str; 6] = ["getpid", "openat", "openat-fake", "openat-redirected", "stat", "statfs"];

/// A configuration under which three of the calls meet a rule.
pub const CONFIG: &str = r"
apiVersion: sandbar.dev/v1alpha1
kind: SandboxConfig
metadata: {name: bench}
spec:
  files: [{path: /proc/sys/bench/value, value: '1', access: ReadOnly}]
  redirects: [{from: /proc/bench-redirected, to: /dev/null}]
  filesystems: [{path: /, reportAs: ext4}]
";

/// The guest: times each call and prints microseconds per call, one a line.
pub fn guest() {
    let iterations = 2000;
    let open = |path: &'static str| {
        move || {
            black_box(std::fs::File::open(path).is_ok());
        }
    };
    let root = CString::new("/").unwrap_or_default();
    let times = [
        per_call(iterations * 10, || {
            black_box(nix::unistd::getppid());
        }),
        per_call(iterations, open("/etc/hostname")),
        per_call(iterations, open("/proc/sys/bench/value")),
        per_call(iterations, open("/proc/bench-redirected")),
        per_call(iterations, || {
            black_box(std::fs::metadata("/etc/hostname").is_ok());
        }),
        per_call(iterations, || {
            black_box(nix::sys::statfs::statfs(root.as_c_str()).is_ok());
        }),
    ];
    times.iter().for_each(|time| println!("{time:.4}"));
}

fn per_call(iterations: u32, call: impl Fn()) -> f64 {
    (0..iterations / 10).for_each(|_| call());
    let start = Instant::now();
    (0..iterations).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e6 / f64::from(iterations)
}

//! What real kernels wrote, for the parsers' tests.

pub const GVISOR_STATUS: &str = "Name:\tcat\nState:\tR (running)\nTgid:\t6\nPid:\t6\nPPid:\t1\nTracerPid:\t0\nUid:\t0\t0\t0\t0\n\
Gid:\t0\t0\t0\t0\nFDSize:\t512\nGroups:\t \nVmSize:\t10700 kB\nVmRSS:\t4132 kB\nVmData:\t360 kB\nThreads:\t1\n\
CapInh:\t00000000a82c35fb\nCapPrm:\t00000000a82c35fb\nCapEff:\t00000000a82c35fb\nCapBnd:\t00000000a82c35fb\nSeccomp:\t0\n\
Mems_allowed:\t1\n";

pub const LINUX_STATUS: &str = "Name:\tcat\nUmask:\t0022\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n\
CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n\
CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

pub const GVISOR_VERSION: &str = "Linux version 4.19.0-gvisor #1 SMP Sun Jan 10 15:06:54 PST 2016\n";
pub const GVISOR_OLD_VERSION: &str = "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n";
pub const LINUX_VERSION: &str = "Linux version 6.8.0-49-generic (buildd@lcy02-amd64-103) (x86_64-linux-gnu-gcc-13 \
(Ubuntu 13.2.0) 13.2.0, GNU ld 2.42) #49-Ubuntu SMP PREEMPT_DYNAMIC Mon Nov  4 02:06:24 UTC 2024\n";
pub const WSL_VERSION: &str = "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f) (gcc (GCC) 11.2.0, \
GNU ld (GNU Binutils) 2.37) #1 SMP Tue Nov 5 00:21:55 UTC 2024\n";

pub const GVISOR_KERNEL_LOG: &str =
    "[    0.000000] Starting gVisor...\n[    0.392867] Feeding the init monster...\n";

pub const GVISOR_MOUNTINFO: &str = "\
16 15 0:17 / / rw - 9p none rw,trans=fd,rfdno=3,wfdno=3,aname=/,dcache=1000,cache=fscache,disable_fifo_open,directfs
18 16 0:18 / /dev rw - dev none rw,mode=0755
19 16 0:19 / /sys ro,noexec,nosuid - sysfs none ro,dentry_cache_limit=1000
20 16 0:20 / /proc rw - proc none rw,dentry_cache_limit=1000
23 19 0:23 / /sys/fs/cgroup rw,noexec,nosuid - tmpfs none rw
24 23 0:9 /sandbar-0 /sys/fs/cgroup/cpu rw - cgroup none rw,cpu
25 23 0:10 /sandbar-0 /sys/fs/cgroup/cpuacct rw - cgroup none rw,cpuacct
26 23 0:11 /sandbar-0 /sys/fs/cgroup/cpuset rw - cgroup none rw,cpuset
27 23 0:12 /sandbar-0 /sys/fs/cgroup/devices rw - cgroup none rw,devices
28 23 0:13 /sandbar-0 /sys/fs/cgroup/job rw - cgroup none rw,job
29 23 0:14 /sandbar-0 /sys/fs/cgroup/memory rw - cgroup none rw,memory
30 23 0:15 /sandbar-0 /sys/fs/cgroup/pids rw - cgroup none rw,pids
";

pub const GVISOR_CGROUP: &str = "7:pids:/sandbar-0\n6:memory:/sandbar-0\n5:job:/sandbar-0\n4:devices:/sandbar-0\n\
3:cpuset:/sandbar-0\n2:cpuacct:/sandbar-0\n1:cpu:/sandbar-0\n";

pub const LINUX_V1_MOUNTINFO: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

pub const LINUX_V1_CGROUP: &str = "9:name=systemd:/\n4:memory:/jobs/7\n1:cpu,cpuacct:/\n0::/\n";

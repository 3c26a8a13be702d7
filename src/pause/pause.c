// The pause program: process 1 of a pod. Holds the pod's namespaces, reaps orphans, ends on SIGINT and SIGTERM.
// Freestanding, so that it is a few hundred bytes; x86_64 Linux, as sandbar itself.

enum { SYS_rt_sigprocmask = 14, SYS_wait4 = 61, SYS_rt_sigtimedwait = 128, SYS_exit_group = 231 };
enum { SIGINT = 2, SIGTERM = 15, SIGCHLD = 17, WNOHANG = 1 };

static long call(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}

void _start(void) {
  // Blocked and waited for: a process 1 gets no signal that it has no handler for, but it gets these.
  unsigned long awaited = 1UL << (SIGINT - 1) | 1UL << (SIGTERM - 1) | 1UL << (SIGCHLD - 1);
  call(SYS_rt_sigprocmask, 0, (long)&awaited, 0, sizeof awaited);
  for (;;) {
    long signal = call(SYS_rt_sigtimedwait, (long)&awaited, 0, 0, sizeof awaited);
    if (signal == SIGINT || signal == SIGTERM)
      call(SYS_exit_group, 0, 0, 0, 0);
    while (call(SYS_wait4, -1, 0, WNOHANG, 0) > 0) {
    }
  }
}

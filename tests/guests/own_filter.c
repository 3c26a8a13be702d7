/* A program's own seccomp filters: ERRNO, TRAP, KILL and TRACE (no tracer of its own: ENOSYS) on trapped and other calls. */
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

static void install(int number, unsigned verdict)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        die("PR_SET_SECCOMP");
}

static void trapped(int signal, siginfo_t *info, void *unused)
{
    (void)signal, (void)unused;
    printf("SIGSYS for call %d\n", info->si_syscall);
    fflush(stdout);
    _exit(12);
}

static void child(const char *name, int number, unsigned verdict)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
        sigaction(SIGSYS, &action, 0);
        install(number, verdict);
        long got;
        struct stat found;
        switch (number) {
        case SYS_openat: got = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY); break;
        case SYS_stat: got = syscall(SYS_stat, "/dev/null", &found); break;
        default: got = syscall(number, 0, 0, 0, 0, 0, 0);
        }
        printf("%s: %ld\n", name, outcome(got) > 0 ? 1 : outcome(got));
        /* Everything else still works. */
        printf("access: %ld\n", outcome(syscall(SYS_access, "/dev/null", R_OK)));
        fflush(stdout);
        _exit(0);
    }
    printf("%s: %s\n", name, ended(pid));
}

int main(void)
{
    child("openat, ERRNO", SYS_openat, SECCOMP_RET_ERRNO | EXDEV);
    child("openat, TRAP", SYS_openat, SECCOMP_RET_TRAP);
    child("openat, KILL", SYS_openat, SECCOMP_RET_KILL);
    child("stat, ERRNO 0", SYS_stat, SECCOMP_RET_ERRNO);
    child("getppid, ERRNO", SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
    child("getppid, TRACE", SYS_getppid, SECCOMP_RET_TRACE | 1);
    for (unsigned data = 0; data < 40; data++)
        child("openat, TRACE", SYS_openat, SECCOMP_RET_TRACE | data);
    child("stat, TRACE", SYS_stat, SECCOMP_RET_TRACE | EPERM);
    child("getcpu, KILL", SYS_getcpu, SECCOMP_RET_KILL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        syscall(SYS_exit, 21);
    }
    printf("strict mode: %s\n", ended(pid));
    return 0;
}

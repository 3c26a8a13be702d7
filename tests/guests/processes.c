/* Every way to make a process: fork, vfork, vfork and exec, clone, clone3, CLONE_UNTRACED in both, posix_spawn, grandchildren. */
#include "guest.h"
#include <linux/sched.h>

static int in_child(void *unused)
{
    (void)unused;
    _exit(20 + touch_paths());
}

static long raw_clone3(uint64_t flags)
{
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    return syscall(SYS_clone3, &args, sizeof args);
}

/* The same arguments where they cannot be written to. */
static long clone3_from_read_only_memory(uint64_t flags)
{
    struct clone_args *args = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *args = (struct clone_args){.flags = flags, .exit_signal = SIGCHLD};
    mprotect(args, 4096, PROT_READ);
    return syscall(SYS_clone3, args, sizeof *args);
}

static void by_clone(const char *name, int flags)
{
    static char stack[65536] __attribute__((aligned(16)));
    pid_t pid = clone(in_child, stack + sizeof stack, flags | SIGCHLD, 0);
    printf("%s: %s\n", name, pid < 0 ? "refused" : ended(pid));
}

static void by_clone3(const char *name, long (*call)(uint64_t), uint64_t flags)
{
    fflush(stdout);
    long pid = call(flags);
    if (pid == 0)
        in_child(0);
    if (pid < 0 && errno == ENOSYS) /* what libraries do where there is no clone3 */
        pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        in_child(0);
    printf("%s: %s\n", name, pid < 0 ? "refused" : ended(pid));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return atoi(argv[1]) + touch_paths();
    setvbuf(stdout, 0, _IOLBF, 0);
    pid_t pid = fork();
    if (pid == 0)
        in_child(0);
    printf("fork: %s\n", ended(pid));
    pid = vfork();
    if (pid == 0)
        _exit(20 + touch_paths());
    printf("vfork: %s\n", ended(pid));
    char *again[] = {argv[0], "30", 0};
    pid = vfork();
    if (pid == 0) {
        execv("/proc/self/exe", again);
        _exit(99);
    }
    printf("vfork and exec: %s\n", ended(pid));
    by_clone("clone", 0);
    by_clone("clone, shared memory", CLONE_VM);
    by_clone("clone, shared all", CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND);
    by_clone("clone, vfork", CLONE_VM | CLONE_VFORK);
    by_clone("clone, untraced", KERNEL_CLONE_UNTRACED);
    by_clone("clone, untraced vfork", KERNEL_CLONE_UNTRACED | CLONE_VM | CLONE_VFORK);
    by_clone3("clone3", raw_clone3, 0);
    by_clone3("clone3, untraced", raw_clone3, KERNEL_CLONE_UNTRACED);
    by_clone3("clone3, untraced, read-only", clone3_from_read_only_memory, KERNEL_CLONE_UNTRACED);
    if (posix_spawn(&pid, "/proc/self/exe", 0, 0, again, environ) == 0)
        printf("posix_spawn: %s\n", ended(pid));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/no/such/file", O_RDONLY, 0);
    printf("posix_spawn, bad open: %d\n", posix_spawn(&pid, "/proc/self/exe", &actions, 0, again, environ));
    printf("posix_spawn, no program: %d\n", posix_spawn(&pid, "/no/such", 0, 0, again, environ));
    pid = fork();
    if (pid == 0) {
        pid_t inner = fork();
        if (inner == 0)
            _exit(7 + touch_paths());
        int status;
        waitpid(inner, &status, 0);
        _exit(WEXITSTATUS(status) + 1);
    }
    printf("grandchild: %s\n", ended(pid));
    printf("no child left: %ld\n", outcome(waitpid(-1, 0, __WALL)));
    return 0;
}

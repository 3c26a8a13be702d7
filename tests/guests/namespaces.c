/* New user, pid, mount, network, ipc and uts namespaces, by unshare, clone and setns; a private /proc; trapped calls in each. */
#include "guest.h"

static int in_new(void *flags)
{
    if (touch_paths())
        _exit(1);
    if ((long)flags & CLONE_NEWPID && getpid() != 1)
        _exit(2);
    pid_t pid = fork();
    if (pid == 0)
        _exit(touch_paths() ? 3 : 0);
    int status;
    if (waitpid(pid, &status, 0) != pid || status)
        _exit(4);
    if ((long)flags & CLONE_NEWPID && pid != 2)
        _exit(5);
    if ((long)flags & CLONE_NEWNS && (long)flags & CLONE_NEWPID) {
        char text[32];
        if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount("proc", "/proc", "proc", 0, 0))
            _exit(6);
        ssize_t got = readlink("/proc/self", text, sizeof text);
        if (got != 1 || text[0] != '1')
            _exit(7);
        if (mount("none", "/mnt", "tmpfs", 0, 0) || open("/mnt/file", O_CREAT | O_RDWR, 0600) < 0)
            _exit(8);
    }
    _exit(0);
}

static void by_clone(const char *name, long flags)
{
    static char stack[65536] __attribute__((aligned(16)));
    fflush(stdout);
    pid_t pid = clone(in_new, stack + sizeof stack, (int)flags | SIGCHLD, (void *)flags);
    if (pid < 0)
        printf("%s by clone: errno %d\n", name, errno);
    else
        printf("%s by clone: %s\n", name, ended(pid));
}

static void by_unshare(const char *name, long flags)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare((int)flags))
            _exit(errno);
        if (flags & CLONE_NEWPID) {
            pid_t inner = fork();
            if (inner == 0)
                in_new((void *)flags);
            int status;
            waitpid(inner, &status, 0);
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 90);
        }
        in_new((void *)flags);
    }
    printf("%s by unshare: %s\n", name, ended(pid));
}

int main(void)
{
    static const struct { const char *name; long flags; } kinds[] = {
        {"user", CLONE_NEWUSER},
        {"pid", CLONE_NEWPID},
        {"mount", CLONE_NEWNS},
        {"network", CLONE_NEWNET},
        {"ipc", CLONE_NEWIPC},
        {"uts", CLONE_NEWUTS},
        {"pid and mount", CLONE_NEWPID | CLONE_NEWNS},
        {"all but user", CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS},
        {"user, pid and mount", CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        by_clone(kinds[i].name, kinds[i].flags);
        by_unshare(kinds[i].name, kinds[i].flags);
    }
    /* Back into a namespace by its descriptor. */
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNET))
            _exit(1);
        if (setns(home, CLONE_NEWNET))
            _exit(2);
        _exit(touch_paths());
    }
    printf("setns: %s\n", ended(pid));
    /* In gVisor /proc/PID/net is that of the network in which the process was looked at first. */
    pid = fork();
    if (pid == 0) {
        char text[4096] = "";
        if (unshare(CLONE_NEWNET))
            _exit(91);
        int fd = open("/proc/self/net/dev", O_RDONLY), devices = 0;
        if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
            _exit(92);
        for (char *at = text; (at = strchr(at, ':')); at++)
            devices++;
        _exit(devices);
    }
    printf("devices of a new network: %s\n", ended(pid));
    return 0;
}

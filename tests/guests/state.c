/* What a program inherits, printed: arguments, environment, descriptors, masks, dispositions, limits, ids, working directory. */
#include "guest.h"
#include <dirent.h>

int main(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        printf("arg %s\n", i ? argv[i] : "0");
    for (char **entry = environ; *entry; entry++)
        if (strncmp(*entry, "SANDBAR_TEST_RUN=", 17))
            printf("env %s\n", *entry);
    char cwd[PATH_MAX];
    printf("cwd %s\n", getcwd(cwd, sizeof cwd));
    for (int fd = 0; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFD);
        struct stat found;
        if (flags >= 0 && fstat(fd, &found) == 0)
            printf("fd %d flags %d status %o type %o\n", fd, flags, fcntl(fd, F_GETFL) & ~O_ACCMODE,
                   found.st_mode & S_IFMT);
    }
    sigset_t mask;
    sigprocmask(SIG_BLOCK, 0, &mask);
    for (int number = 1; number < 65; number++) {
        struct sigaction action;
        if (sigismember(&mask, number) == 1)
            printf("blocked %d\n", number);
        if (sigaction(number, 0, &action) == 0 && action.sa_handler != SIG_DFL)
            printf("not default %d\n", number);
    }
    for (int which = 0; which < RLIM_NLIMITS; which++) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t)which, &limit) == 0)
            printf("limit %d %lld %lld\n", which, (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
    mode_t mode = umask(0);
    printf("umask %o nice %d ids %d %d %d %d\n", mode, getpriority(PRIO_PROCESS, 0), getuid(), geteuid(), getgid(), getegid());
    printf("dumpable %d keepcaps %d no_new_privs %d timerslack %d\n", prctl(PR_GET_DUMPABLE),
           prctl(PR_GET_KEEPCAPS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_TIMERSLACK));
    int policy = sched_getscheduler(0);
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    printf("scheduler %d cpus %d\n", policy, CPU_COUNT(&cpus));
    printf("terminal %ld same session %d\n", outcome(open("/dev/tty", O_RDONLY)), getsid(0) == getsid(getppid()));
    int children = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (tasks && readdir(tasks))
        children++;
    printf("tasks %d\n", children - 2);
    return 0;
}

/* Shared by the guests: headers, checks that print and count, and waiting for a child. */
#ifndef GUEST_H
#define GUEST_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#define KERNEL_CLONE_UNTRACED 0x00800000

extern char **environ;
static int failures;

/* Counts a failed expectation and says where. */
#define CHECK(condition, ...)                                                                                  \
    do {                                                                                                       \
        if (!(condition)) {                                                                                    \
            __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);                                                \
            printf("FAIL %s:%d: %s: ", __FILE_NAME__, __LINE__, #condition);                                   \
            printf(__VA_ARGS__);                                                                               \
            printf(" (errno %d)\n", errno);                                                                    \
        }                                                                                                      \
    } while (0)

/* Ends a guest that cannot go on. */
__attribute__((unused, noreturn)) static void die(const char *what)
{
    printf("FAIL cannot go on: %s: errno %d\n", what, errno);
    fflush(stdout);
    _exit(99);
}

/* Exit status of a guest made of checks. */
__attribute__((unused)) static int verdict(void)
{
    puts(failures ? "some checks failed" : "all checks passed");
    fflush(stdout);
    return failures != 0;
}

/* A result as the kernel gives it: the value, or minus errno. */
__attribute__((unused)) static long outcome(long result) { return result < 0 ? -errno : result; }

/* Waits for one child and describes its end in a few letters. */
__attribute__((unused)) static const char *ended(pid_t pid)
{
    static char text[64];
    int status = 0;
    pid_t got;
    while ((got = waitpid(pid, &status, __WALL)) < 0 && errno == EINTR)
        ;
    if (got != pid)
        snprintf(text, sizeof text, "wait failed, errno %d", errno);
    else if (WIFEXITED(status))
        snprintf(text, sizeof text, "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, sizeof text, "signal %d", WTERMSIG(status));
    return text;
}

__attribute__((unused)) static int patience = 2000; /* ms */

/* waitpid that gives up after a while: 0. Some kernels never tell what others do. */
__attribute__((unused)) static pid_t wait_soon(pid_t pid, int *status, int options)
{
    for (int i = 0; i < patience; i++) {
        pid_t got = waitpid(pid, status, options | WNOHANG);
        if (got != 0)
            return got;
        usleep(1000);
    }
    return 0;
}

/* What waitpid told of a child, in words. */
__attribute__((unused)) static const char *told(pid_t pid)
{
    static char text[64];
    int status;
    pid_t got = wait_soon(pid, &status, WUNTRACED | WCONTINUED);
    if (got != pid)
        return got == 0 ? "nothing" : "no child";
    if (WIFSTOPPED(status))
        snprintf(text, sizeof text, "stopped %d", WSTOPSIG(status));
    else if (WIFCONTINUED(status))
        snprintf(text, sizeof text, "continued");
    else if (WIFEXITED(status))
        snprintf(text, sizeof text, "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, sizeof text, "signal %d", WTERMSIG(status));
    return text;
}

/* Reads a whole small file; its length or minus errno. */
__attribute__((unused)) static long slurp(int dirfd, const char *path, char *into, size_t size)
{
    int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, into, size - 1);
    if (got >= 0)
        into[got] = 0;
    close(fd);
    return outcome(got);
}

/* A few calls of the trapped kind; 0 when each gave what the kernel gives. */
__attribute__((unused)) static int touch_paths(void)
{
    struct stat found;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 1;
    close(fd);
    if (stat("/dev/null", &found) || !S_ISCHR(found.st_mode))
        return 2;
    if (open("/no/such/file", O_RDONLY) != -1 || errno != ENOENT)
        return 3;
    if (access("/dev/null", R_OK))
        return 4;
    return 0;
}
#endif

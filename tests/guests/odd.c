/* Executes its arguments with what few callers set: blocked and ignored signals, further descriptors, a umask, limits, niceness. */
#include "guest.h"

int main(int argc, char **argv)
{
    sigset_t set;
    if (argc < 2)
        return 2;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGRTMIN + 5);
    sigprocmask(SIG_SETMASK, &set, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTSTP, SIG_IGN);
    signal(SIGRTMAX, SIG_IGN);
    umask(027);
    setpriority(PRIO_PROCESS, 0, 3);
    struct rlimit files = {80, 90};
    setrlimit(RLIMIT_NOFILE, &files);
    int fd = open("/dev/null", O_RDWR);
    dup2(fd, 5);
    dup2(fd, 42);
    dup2(fd, 79);
    fcntl(42, F_SETFL, O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_TIMERSLACK, 123456);
    char *env[] = {"PATH=/usr/bin:/bin", "EMPTY=", "TWICE=1", "TWICE=2", "SPACE= x ", "NOTUTF8=\xff\xfe", 0};
    execve(argv[1], argv + 1, env);
    return 127;
}

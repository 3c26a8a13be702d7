/* Threads that want to keep the tracer from everybody else, in new processes, while an older process opens fakes: it gets its turn.
   Arguments: how, and a fake ("fake\n"). `busy`: calls that stop, without end. `offloaded`: the same where tracee memory is
   left to other threads, with calls that need none. `lease`: leases on the memfds that fakes become. */
#include "guest.h"

static const char *fake;

static void *stats(void *unused)
{
    struct stat found;
    for (;;)
        stat("/proc/sys/kernel/nothing", &found);
    return unused;
}

static void *descriptors(void *fd)
{
    struct statfs found;
    for (;;)
        fstatfs((int)(long)fd, &found);
    return 0;
}

static void *opens(void *unused)
{
    for (;;)
        close(open(fake, O_RDONLY));
    return unused;
}

static void *leases(void *unused)
{
    for (;;)
        for (int fd = 3; fd < 8; fd++)
            fcntl(fd, F_SETLEASE, F_RDLCK);
    return unused;
}

static pid_t hostile(void *(*one)(void *), void *(*other)(void *))
{
    pid_t pid = fork();
    if (pid)
        return pid;
    signal(SIGIO, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pthread_t thread;
    pthread_create(&thread, 0, one, (void *)0);
    other((void *)0);
    _exit(1);
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* Opens the fake, again and again, from `begin` on; the exit code says whether each open ended soon. */
static int bystander(int begin)
{
    char text[64];
    if (read(begin, text, 1) != 1)
        return 3;
    for (double start = now(), before = start; before - start < 1.5;) {
        int fd = open(fake, O_RDONLY);
        if (fd < 0 || read(fd, text, sizeof text) != 5)
            return 2;
        close(fd);
        double after = now();
        if (after - before > 4)
            return 1;
        before = after;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    fake = argv[2];
    int begin[2];
    if (pipe(begin))
        die("pipe");
    /* The oldest tracee: Linux looks at the newest first. */
    pid_t older = fork();
    if (older == 0)
        _exit(bystander(begin[0]));
    close(begin[0]);
    if (!strcmp(argv[1], "offloaded"))
        mount("x", "/nonexistent", "nosuchfilesystem", 0, 0);
    pid_t many[6];
    for (int i = 0; i < 6; i++) {
        if (!strcmp(argv[1], "lease"))
            many[i] = hostile(leases, opens);
        else if (!strcmp(argv[1], "offloaded"))
            many[i] = hostile(descriptors, descriptors);
        else
            many[i] = hostile(stats, stats);
    }
    if (write(begin[1], "x", 1) != 1)
        die("write");
    int status = -1;
    alarm(60);
    waitpid(older, &status, 0);
    CHECK(status == 0, "the older process ended with %#x", (unsigned)status);
    for (int i = 0; i < 6; i++)
        kill(many[i], SIGKILL), waitpid(many[i], 0, 0);
    return verdict();
}

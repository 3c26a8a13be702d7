/* A redirect to a FIFO, whose open waits: a signal interrupts it (EINTR), or it is started again (SA_RESTART), and then ends.
   Arguments: the redirected path and the FIFO. */
#include "guest.h"

static volatile sig_atomic_t ticks;
static void tick(int signal) { (void)signal; ticks++; }

static void after(int milliseconds, int restart)
{
    struct sigaction action = {.sa_handler = tick, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGALRM, &action, 0);
    struct itimerval timer = {{0, 0}, {0, milliseconds * 1000}};
    setitimer(ITIMER_REAL, &timer, 0);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    char text[64] = "";
    after(50, 0);
    long got = outcome(open(argv[1], O_RDONLY));
    CHECK(got == -EINTR && ticks == 1, "interrupted open: %ld, %d signals", got, ticks);
    for (int round = 0; round < 3; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            usleep(150000);
            int fd = open(argv[2], O_WRONLY);
            _exit(fd < 0 || write(fd, "through\n", 8) != 8);
        }
        after(50, 1);
        int fd = open(argv[1], O_RDONLY);
        CHECK(fd >= 0, "restarted open: %d", -errno);
        CHECK(read(fd, text, 63) == 8 && !strcmp(text, "through\n"), "read '%s'", text);
        close(fd);
        CHECK(!strcmp(ended(pid), "exit 0"), "writer");
    }
    CHECK(ticks == 4, "%d signals", ticks);
    /* Stopped and continued while it waits: no EINTR. */
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(argv[1], O_RDONLY);
        _exit(fd < 0 || read(fd, text, 63) != 8);
    }
    usleep(50000);
    kill(pid, SIGSTOP);
    CHECK(!strcmp(told(pid), "stopped 19"), "stop");
    kill(pid, SIGCONT);
    CHECK(!strcmp(told(pid), "continued"), "continue");
    int fd = open(argv[2], O_WRONLY);
    CHECK(write(fd, "through\n", 8) == 8, "write");
    CHECK(!strcmp(told(pid), "exit 0"), "open under a stop");
    close(fd);
    /* Killed while it waits. */
    pid = fork();
    if (pid == 0)
        _exit(open(argv[1], O_RDONLY) >= 0);
    usleep(50000);
    kill(pid, SIGTERM);
    CHECK(!strcmp(told(pid), "signal 15"), "killed while it waits");
    return verdict();
}

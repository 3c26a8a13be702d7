/* A pid namespace ends with its init, whatever its other processes are doing, also if there is a child subreaper outside; and not before
   the last thread of the init has ended. ARGS: the path of a fake. */
#include "guest.h"

static const char *fake;
static int alive[2];

static void *last_thread(void *unused)
{
    (void)unused;
    usleep(500000);
    CHECK(write(alive[1], "t", 1) == 1, "the last thread");
    _exit(0);
}

/* Makes a namespace whose init has children that never end, and waits for the init. */
static pid_t space(int leader_first)
{
    pid_t maker = fork();
    if (maker != 0)
        return maker;
    if (unshare(CLONE_NEWPID))
        _exit(90);
    pid_t init = fork();
    if (init != 0)
        _exit(strcmp(ended(init), "exit 0") != 0);
    /* What becomes of a group with a stopped process when its leader ends is not the rest's business. */
    setpgid(0, 0);
    if (fork() == 0)
        for (;;)
            pause();
    if (fork() == 0)
        for (;;) {
            struct stat found;
            stat(fake, &found);
        }
    if (fork() == 0) {
        raise(SIGSTOP);
        for (;;)
            pause();
    }
    /* One that makes new ones all the time. */
    if (fork() == 0)
        for (;;) {
            if (fork() == 0)
                _exit(0);
            waitpid(-1, NULL, WNOHANG);
        }
    usleep(200000);
    if (leader_first) {
        pthread_t thread;
        pthread_create(&thread, NULL, last_thread, NULL);
        pthread_exit(NULL);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    fake = argv[1];
    CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper");
    for (int leader_first = 0; leader_first < 2; leader_first++) {
        if (pipe(alive))
            die("pipe");
        pid_t maker = space(leader_first);
        close(alive[1]);
        CHECK(!strcmp(ended(maker), "exit 0"), "the maker, %d", leader_first);
        /* Whoever lives holds the pipe open. */
        struct pollfd all = {.fd = alive[0], .events = POLLIN};
        char last = 0;
        if (leader_first)
            CHECK(read(alive[0], &last, 1) == 1 && last == 't', "ended before its last thread");
        CHECK(poll(&all, 1, 10000) == 1 && read(alive[0], &last, 1) == 0, "processes are left, %d", leader_first);
        close(alive[0]);
    }
    return verdict();
}

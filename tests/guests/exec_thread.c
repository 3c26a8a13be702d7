/* exec from a thread that is not the leader, while other threads sleep, spin and make trapped calls. */
#include "guest.h"

static char self[PATH_MAX]; /* /proc/self/exe is gone once the leader is */

static void *busy(void *unused)
{
    (void)unused;
    for (;;)
        touch_paths();
    return 0;
}

static void *asleep(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return 0;
}

static void *replaces(void *round)
{
    char *argv[] = {"exec_thread", round, 0};
    usleep(2000);
    execv(self, argv);
    die("exec");
}

int main(int argc, char **argv)
{
    int round = argc > 1 ? atoi(argv[1]) : 0;
    static char next[16];
    pthread_t thread;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return 7;
    if (getpid() != syscall(SYS_gettid))
        return 9;
    if (touch_paths())
        return 8;
    printf("round %d\n", round);
    fflush(stdout);
    if (round == 5)
        return 42;
    snprintf(next, sizeof next, "%d", round + 1);
    for (int i = 0; i < 4; i++)
        pthread_create(&thread, 0, i % 2 ? busy : asleep, 0);
    pthread_create(&thread, 0, replaces, next);
    if (round % 2)
        pthread_exit(0); /* a leader that is a zombie already when its number is taken over */
    asleep(0);
    return 9;
}

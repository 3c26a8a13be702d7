/* Threads by the hundred that make trapped calls and end; a leader that ends first; exit_group from a thread. */
#include "guest.h"

static void *works(void *out)
{
    long bad = 0;
    for (int i = 0; i < 10; i++)
        bad += touch_paths();
    *(long *)out = bad;
    return 0;
}

static void *finishes(void *unused)
{
    (void)unused;
    usleep(5000);
    touch_paths();
    puts("last thread");
    fflush(stdout);
    syscall(SYS_exit_group, 17);
    return 0;
}

int main(void)
{
    long bad[16], total = 0;
    pthread_t thread[16];
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 16; i++)
            if (pthread_create(&thread[i], 0, works, &bad[i]))
                die("pthread_create");
        for (int i = 0; i < 16; i++) {
            pthread_join(thread[i], 0);
            total += bad[i];
        }
    }
    printf("wrong results: %ld\n", total);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_create(&thread[0], 0, finishes, 0);
        pthread_exit(0);
    }
    printf("leader gone first: %s\n", ended(pid));
    fflush(stdout);
    pthread_create(&thread[0], 0, finishes, 0);
    for (;;)
        touch_paths();
}

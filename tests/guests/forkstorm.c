/* A fork storm: ARG seconds (or 120 processes) of short-lived children, several at a time, each with trapped calls. */
#include "guest.h"

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    int made = 0, bad = 0, live = 0, status;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        double passed = (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
        int more = seconds > 0 ? passed < seconds : made < 120;
        if (more && live < 8) {
            pid_t pid = fork();
            if (pid == 0) {
                pid_t inner = made % 3 ? 1 : vfork();
                if (inner == 0)
                    _exit(0);
                _exit(touch_paths());
            }
            made++;
            live += pid > 0;
        } else if (live == 0) {
            break;
        } else {
            wait(&status);
            live--;
            bad += !WIFEXITED(status) || WEXITSTATUS(status);
        }
    }
    if (seconds == 0)
        printf("children: %d, ", made);
    printf("bad ends: %d\n", bad);
    return bad != 0;
}

/* Descriptors run out: EMFILE from every kind of open, the lowest free number afterwards, close-on-exec kept. */
#include "guest.h"

int main(int argc, char **argv)
{
    if (argc > 1) {
        /* Executed by the parent below: which descriptors came through? */
        for (int fd = 3; fd < 40; fd++)
            if (fcntl(fd, F_GETFD) >= 0)
                printf("came through: %d\n", fd);
        return 0;
    }
    struct rlimit few = {24, 24};
    setrlimit(RLIMIT_NOFILE, &few);
    int last = -1, fd;
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        last = fd;
    printf("last %d, then %ld\n", last, outcome(fd));
    printf("creat: %ld\n", outcome(creat("/dev/null", 0600)));
    printf("openat2: %ld\n", outcome(syscall(SYS_openat2, AT_FDCWD, "/dev/null", (uint64_t[]){O_RDONLY, 0, 0}, 24)));
    printf("missing file: %ld\n", outcome(open("/no/such/file", O_RDONLY)));
    struct stat found;
    printf("stat: %d\n", stat("/dev/null", &found));
    close(11);
    close(7);
    printf("reused: %d\n", open("/dev/null", O_RDONLY));
    printf("reused: %d\n", open("/dev/null", O_RDONLY | O_CLOEXEC));
    fflush(stdout);
    char *again[] = {argv[0], "listed", 0};
    execv("/proc/self/exe", again);
    return 99;
}

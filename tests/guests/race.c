/* A hostile program: threads change the path, close and replace descriptors, unmap memory while calls are served; bad pointers
   everywhere. It only has to end, and must not disturb others. ARGS: a fake, a redirect, seconds. */
#include "guest.h"

static const char *paths[3];
static volatile int over;
static char *shared; /* a page that comes and goes */
static char flapping[128];

static void *swaps(void *unused)
{
    (void)unused;
    for (int i = 0; !over; i++)
        memcpy(flapping, paths[i % 3], strlen(paths[i % 3]) + 1);
    return 0;
}

static void *closes(void *unused)
{
    (void)unused;
    int pipes[2];
    if (pipe(pipes))
        return 0;
    while (!over)
        for (int fd = 20; fd < 28; fd++) {
            dup2(pipes[0], fd);
            close(fd);
        }
    return 0;
}

static void *unmaps(void *unused)
{
    (void)unused;
    while (!over) {
        mmap(shared, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        mmap(shared, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        memcpy(shared, paths[0], strlen(paths[0]) + 1);
    }
    return 0;
}

static void *calls(void *unused)
{
    (void)unused;
    struct stat found;
    struct statfs filesystem;
    long bad[] = {0, 1, 8, 4095, -1, -4096, (long)0x7fffffffe000, (long)0xffff800000000000};
    while (!over) {
        int fd = open(flapping, O_RDONLY | O_NONBLOCK);
        if (fd > 2)
            close(fd);
        stat(flapping, &found);
        stat(flapping, (struct stat *)shared);
        fd = open(shared, O_RDWR | O_CREAT, 0600);
        if (fd > 2)
            close(fd);
        statfs(flapping, (struct statfs *)shared);
        statfs("/", &filesystem);
        statfs("/", (struct statfs *)shared);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            syscall(SYS_openat, AT_FDCWD, bad[i], O_RDONLY);
            syscall(SYS_stat, paths[0], bad[i]);
            syscall(SYS_statfs, "/", bad[i]);
            syscall(SYS_openat2, AT_FDCWD, paths[0], bad[i], 24);
            syscall(SYS_readlink, bad[i], bad[i], 10);
            syscall(SYS_clone3, bad[i], 88);
            syscall(SYS_fstatfs, bad[i], bad[i]);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    /* Garbage is opened with O_CREAT too: where nothing can be created. */
    if (argc != 4 || chdir("/proc/self"))
        return 2;
    paths[0] = argv[1], paths[1] = argv[2], paths[2] = "/dev/null";
    memcpy(flapping, paths[0], strlen(paths[0]) + 1);
    shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct rlimit files = {64, 64};
    setrlimit(RLIMIT_NOFILE, &files);
    pthread_t thread;
    void *(*kinds[])(void *) = {swaps, closes, unmaps, calls, calls, calls};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        pthread_create(&thread, 0, kinds[i], 0);
    /* And processes that are killed in the midst of it. */
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            calls(0);
        }
        usleep(5000);
        kill(pid, SIGKILL);
        waitpid(pid, 0, 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < atoi(argv[3]));
    over = 1;
    puts("done");
    fflush(stdout);
    syscall(SYS_exit_group, 0);
}

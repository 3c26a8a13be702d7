/* Fakes and redirects under a storm of signals, with threads: always the right value, never EINTR, registers and red zone kept.
   Arguments: a fake ("fake\n"), a redirect, the file that it leads to. */
#include "guest.h"

static volatile sig_atomic_t ticks;
static void tick(int signal) { (void)signal; ticks++; }
static const char *fake, *redirect;
static struct stat real;

/* openat with all registers and the red zone set to known values before, and compared after. */
static long raw_openat(const char *path, long flags)
{
    long result, damage;
    __asm__ volatile("movq $0x1111, %%rbx\n\t movq $0x3333, %%r8\n\t movq $0x4444, %%r9\n\t movq $0x5555, %%r12\n\t"
                     "movq $0x6666, %%r13\n\t movq $0x7777, %%r14\n\t movq $0x8888, %%r15\n\t xorl %%r10d, %%r10d\n\t"
                     "movq $0x9999, -8(%%rsp)\n\t movq $0xaaaa, -120(%%rsp)\n\t movq $257, %%rax\n\t movq $-100, %%rdi\n\t"
                     "syscall\n\t"
                     "xorl %%ecx, %%ecx\n\t"
                     "cmpq $0x1111, %%rbx\n\t jne 1f\n\t cmpq $0x3333, %%r8\n\t jne 1f\n\t cmpq $0x4444, %%r9\n\t jne 1f\n\t"
                     "cmpq $0x5555, %%r12\n\t jne 1f\n\t cmpq $0x6666, %%r13\n\t jne 1f\n\t cmpq $0x7777, %%r14\n\t jne 1f\n\t"
                     "cmpq $0x8888, %%r15\n\t jne 1f\n\t testq %%r10, %%r10\n\t jne 1f\n\t cmpq $-100, %%rdi\n\t jne 1f\n\t"
                     "cmpq %%rsi, %[path]\n\t jne 1f\n\t cmpq %%rdx, %[flags]\n\t jne 1f\n\t"
                     "cmpq $0x9999, -8(%%rsp)\n\t jne 1f\n\t cmpq $0xaaaa, -120(%%rsp)\n\t je 2f\n\t"
                     "1: incl %%ecx\n\t 2:\n\t"
                     : "=a"(result), "=&c"(damage)
                     : [path] "m"(path), [flags] "m"(flags), "S"(path), "d"(flags)
                     : "rbx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    CHECK(damage == 0, "registers after openat");
    return result;
}

static void rounds(int count)
{
    char text[64];
    struct stat found;
    for (int i = 0; i < count && !failures; i++) {
        long fd = raw_openat(fake, i % 2 ? O_RDONLY : O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        CHECK(fd >= 0 && read((int)fd, text, 64) == 5 && !memcmp(text, "fake\n", 5), "fake: %ld", fd);
        close((int)fd);
        fd = raw_openat(redirect, O_RDONLY);
        CHECK(fd >= 0 && fstat((int)fd, &found) == 0 && found.st_ino == real.st_ino, "redirect: %ld", fd);
        close((int)fd);
        CHECK(stat(redirect, &found) == 0 && found.st_ino == real.st_ino, "redirected stat");
        CHECK(stat(fake, &found) == 0 && S_ISREG(found.st_mode), "stat of a fake");
        CHECK(access(fake, R_OK) == 0, "access to a fake");
    }
}

static volatile int pestered;

static void *pesters(void *main_thread)
{
    while (!pestered)
        pthread_kill(*(pthread_t *)main_thread, SIGALRM);
    return 0;
}

/* Status flags are set by a call of their own, which no signal may keep from being made. */
static void flags_are_kept(void)
{
    pthread_t self = pthread_self(), other;
    pthread_create(&other, 0, pesters, &self);
    for (int i = 0; i < 300 && !failures; i++) {
        int fd = open(fake, O_RDONLY | O_NONBLOCK);
        CHECK(fd >= 0 && fcntl(fd, F_GETFL) & O_NONBLOCK, "O_NONBLOCK lost in round %d", i);
        close(fd);
    }
    pestered = 1;
    pthread_join(other, 0);
}

static void *thread(void *count) { rounds((int)(long)count); return 0; }

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    fake = argv[1], redirect = argv[2];
    int count = argc > 4 ? atoi(argv[4]) : 150;
    if (stat(argv[3], &real))
        die(argv[3]);
    long maps = 0, later = 0;
    for (int restart = 0; restart < 2; restart++) {
        struct sigaction action = {.sa_handler = tick, .sa_flags = restart ? SA_RESTART : 0};
        sigaction(SIGALRM, &action, 0);
        sigaction(SIGPROF, &action, 0);
        struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
        setitimer(ITIMER_REAL, &often, 0);
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            pthread_create(&threads[i], 0, thread, (void *)(long)(count / 2));
        rounds(count);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], 0);
        setitimer(ITIMER_REAL, &never, 0);
        rounds(1);
        /* Nothing is left mapped, whatever came in between. */
        char line[512];
        FILE *file = fopen("/proc/self/maps", "r");
        for (later = 0; file && fgets(line, sizeof line, file);)
            later++;
        if (file)
            fclose(file);
        if (restart == 0)
            maps = later;
    }
    flags_are_kept();
    CHECK(later <= maps + 8, "mappings: %ld, then %ld", maps, later);
    CHECK(ticks > 5, "only %d signals", ticks);
    return verdict();
}

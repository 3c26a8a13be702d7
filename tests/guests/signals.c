/* Signals in the middle of trapped calls: interval timers, SIGCHLD without SA_RESTART, queued values, tgkill, masks, EINTR. */
#include "guest.h"

static volatile sig_atomic_t ticks, children, got_value, got_pid, got_tid;

static void tick(int signal)
{
    (void)signal;
    int saved = errno;
    ticks++;
    if (touch_paths()) /* trapped calls inside a handler */
        failures++;
    errno = saved;
}
static void child(int signal) { (void)signal; children++; }
static void value(int signal, siginfo_t *info, void *unused)
{
    (void)signal, (void)unused;
    got_value = info->si_value.sival_int;
    got_pid = info->si_pid;
    got_tid = (int)syscall(SYS_gettid);
}

static void on(int signal, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signal, &action, 0);
}

static void storm(const char *name, int flags)
{
    on(SIGALRM, tick, flags);
    ticks = 0;
    struct itimerval often = {{0, 3000}, {0, 3000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, 0);
    int rounds = 0, bad = 0;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        bad += touch_paths() != 0;
        rounds++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (rounds < 200 || (ticks < 20 && now.tv_sec - start.tv_sec < 5));
    setitimer(ITIMER_REAL, &never, 0);
    printf("%s: wrong results %d, ticked %d\n", name, bad, ticks >= 20);
}

static void *target(void *unused)
{
    (void)unused;
    while (!got_tid)
        touch_paths();
    return 0;
}

int main(void)
{
    storm("timer", 0);
    storm("timer with restart", SA_RESTART);
    on(SIGCHLD, child, 0);
    int bad = 0, interrupted = 0;
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(touch_paths());
        int fd = open("/dev/null", O_RDONLY);
        bad += fd < 0;
        close(fd);
        int status;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            interrupted++;
        bad += !WIFEXITED(status) || WEXITSTATUS(status);
    }
    printf("children: wrong results %d, all told %d\n", bad, children == 40);
    on(SIGCHLD, SIG_DFL, 0);

    struct sigaction action = {.sa_sigaction = value, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN + 3, &action, 0);
    sigaction(SIGUSR1, &action, 0);
    pid_t pid = fork();
    if (pid == 0) {
        sigqueue(getppid(), SIGRTMIN + 3, (union sigval){.sival_int = 77});
        _exit(0);
    }
    pid_t sender = pid;
    printf("sender: %s\n", ended(pid));
    printf("queued: value %d, from the child %d\n", got_value, got_pid == sender);
    got_tid = 0;
    pthread_t thread;
    pthread_create(&thread, 0, target, 0);
    usleep(2000);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, 0);
    printf("tgkill reached the thread: %d, from us %d\n", got_tid != getpid(), got_pid == getpid());

    /* A blocking read: interrupted without SA_RESTART, restarted with it. */
    int ends[2], wrote = 0;
    if (pipe(ends))
        die("pipe");
    on(SIGALRM, child, 0);
    struct itimerval soon = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &soon, 0);
    char byte;
    printf("read: %ld\n", outcome(read(ends[0], &byte, 1)));
    on(SIGALRM, child, SA_RESTART);
    pid = fork();
    if (pid == 0) {
        usleep(60000);
        wrote = (int)write(ends[1], "x", 1);
        _exit(wrote != 1);
    }
    setitimer(ITIMER_REAL, &soon, 0);
    printf("restarted read: %ld\n", outcome(read(ends[0], &byte, 1)));
    printf("writer: %s\n", ended(pid));
    /* Again and again, since the first may come before the call on a busy machine. */
    struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
    struct timespec nap = {10, 0}, left;
    on(SIGALRM, child, 0);
    setitimer(ITIMER_REAL, &often, 0);
    printf("nanosleep: %ld\n", outcome(nanosleep(&nap, &left)));
    printf("poll: %ld\n", outcome(poll(0, 0, 10000)));
    setitimer(ITIMER_REAL, &never, 0);
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, 0);
    kill(getpid(), SIGUSR2);
    sigpending(&pending);
    printf("pending %d, taken %ld\n", sigismember(&pending, SIGUSR2), outcome(sigtimedwait(&set, 0, &nap)));
    printf("handlers' calls: wrong %d\n", failures);
    return 0;
}

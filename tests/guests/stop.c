/* Stopping and continuing: waitpid sees both, with one thread and several; signals and SIGKILL while stopped; stops in a loop. */
#include "guest.h"

static volatile sig_atomic_t usr1;
static void count(int signal) { (void)signal; usr1++; }

static void *busy(void *unused)
{
    (void)unused;
    for (;;)
        touch_paths();
    return 0;
}

static pid_t worker(int threads)
{
    int ready[2];
    if (pipe(ready))
        die("pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        signal(SIGUSR1, count);
        for (int i = 0; i < threads; i++)
            pthread_create(&thread, 0, busy, 0);
        if (write(ready[1], "x", 1) != 1)
            _exit(98);
        while (!usr1)
            touch_paths();
        usleep(50000); /* time to be seen running */
        _exit(50 + usr1);
    }
    char byte;
    if (read(ready[0], &byte, 1) != 1)
        die("worker");
    close(ready[0]);
    close(ready[1]);
    return pid;
}

/* The state letter of a process, once it has settled. */
static char state(pid_t pid)
{
    char path[64], text[512], letter = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (int i = 0; i < 50; i++) {
        if (slurp(AT_FDCWD, path, text, sizeof text) <= 0)
            return '?';
        letter = strrchr(text, ')')[2];
        if (letter == 'T' || letter == 't')
            break;
        usleep(2000);
    }
    return letter == 't' ? 'T' : letter; /* gVisor and ptrace differ in the case of the letter */
}

static void round_trip(int threads)
{
    pid_t pid = worker(threads);
    kill(pid, SIGSTOP);
    printf("%d threads: %s", threads, told(pid));
    printf(", %c", state(pid));
    kill(pid, SIGUSR1); /* waits for the continue */
    usleep(20000);
    printf(", still %c", state(pid));
    printf(", told again %d", waitpid(pid, 0, WNOHANG | WUNTRACED) > 0);
    kill(pid, SIGCONT);
    printf(", %s", told(pid));
    printf(", %s\n", told(pid));
}

static void waited(pid_t pid, siginfo_t *info, int what)
{
    info->si_pid = 0;
    for (int i = 0; i < patience && info->si_pid == 0; i++) {
        waitid(P_PID, (id_t)pid, info, what | WNOHANG);
        usleep(1000);
    }
}

int main(void)
{
    round_trip(0);
    round_trip(4);
    pid_t pid = worker(2);
    kill(pid, SIGTSTP);
    printf("SIGTSTP: %s\n", told(pid));
    kill(pid, SIGSTOP); /* while stopped: no second stop */
    usleep(20000);
    printf("stopped while stopped: %d\n", waitpid(pid, 0, WNOHANG | WUNTRACED) > 0);
    kill(pid, SIGKILL);
    printf("killed while stopped: %s\n", told(pid));
    pid = worker(3);
    int stops = 0, goes = 0;
    for (int i = 0; i < 50; i++) {
        kill(pid, SIGSTOP);
        stops += !strcmp(told(pid), "stopped 19");
        kill(pid, SIGCONT);
        goes += !strcmp(told(pid), "continued");
    }
    printf("stops %d, goes %d\n", stops, goes);
    siginfo_t info = {0};
    kill(pid, SIGSTOP);
    waited(pid, &info, WSTOPPED);
    printf("waitid: code %d status %d\n", info.si_code, info.si_status);
    kill(pid, SIGCONT);
    kill(pid, SIGTERM);
    waited(pid, &info, WEXITED);
    printf("waitid: code %d status %d\n", info.si_code, info.si_status);
    /* A storm of stops from outside while the child itself makes processes. */
    pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 60; i++) {
            pid_t inner = fork();
            if (inner == 0)
                _exit(touch_paths());
            int status;
            while (waitpid(inner, &status, 0) < 0 && errno == EINTR)
                ;
            if (status)
                _exit(1);
        }
        _exit(0);
    }
    int status = -1;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        kill(pid, SIGSTOP);
        usleep(300);
        kill(pid, SIGCONT);
        usleep(700);
    }
    printf("forking under stops: %d\n", status);
    return 0;
}

/* Job control on a terminal: a pseudo-terminal whose session gets ^Z, SIGCONT, ^C and a hang-up. */
#include "guest.h"

static volatile sig_atomic_t winch;
static void changed(int signal) { (void)signal; winch++; }

static int master;

static pid_t session(void)
{
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int unlock = 0, number, ready[2];
    char path[64], byte;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number) || pipe(ready))
        die("ptmx");
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(master);
        setsid();
        int slave = open(path, O_RDWR);
        if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
            _exit(90);
        signal(SIGWINCH, changed);
        if (write(ready[1], "x", 1) != 1)
            _exit(91);
        for (;;) {
            touch_paths();
            if (winch)
                _exit(60 + (tcgetpgrp(slave) == getpid()));
        }
    }
    if (read(ready[0], &byte, 1) != 1)
        die("session");
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void type(char key)
{
    if (write(master, &key, 1) != 1)
        die("write to the terminal");
}

static void report(const char *what, pid_t pid)
{
    printf("%s: %s\n", what, told(pid));
    fflush(stdout);
}

/* Ends what is left of a session. */
static void over(pid_t pid)
{
    close(master);
    kill(pid, SIGKILL);
    wait_soon(pid, 0, 0);
}

int main(void)
{
    patience = 700;
    pid_t pid = session();
    type(3);
    report("^C", pid);
    over(pid);
    pid = session();
    struct winsize size = {.ws_row = 10, .ws_col = 20};
    ioctl(master, TIOCSWINSZ, &size);
    report("resize", pid);
    over(pid);
    pid = session();
    kill(pid, SIGTSTP); /* an orphaned group ignores ^Z, and so this */
    usleep(20000);
    printf("orphaned: %d\n", waitpid(pid, 0, WNOHANG | WUNTRACED) > 0);
    kill(pid, SIGSTOP);
    report("SIGSTOP", pid);
    kill(pid, SIGCONT);
    report("SIGCONT", pid);
    close(master);
    report("hang-up", pid);
    over(pid);
    return 0;
}

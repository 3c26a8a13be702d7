/* A shell in small: it starts a job in a group of its own on a terminal, ^Z stops it, SIGCONT goes on, ^C ends it. */
#include "guest.h"

static void shell(const char *path, int report)
{
    setsid();
    int slave = open(path, O_RDWR);
    if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
        _exit(90);
    signal(SIGTTOU, SIG_IGN);
    pid_t job = fork();
    if (job == 0) {
        setpgid(0, 0);
        tcsetpgrp(slave, getpid());
        if (write(report, "r", 1) != 1)
            _exit(91);
        for (;;)
            touch_paths();
    }
    for (;;) {
        int status;
        char letter = '?';
        if (wait_soon(job, &status, WUNTRACED | WCONTINUED) != job) {
            kill(job, SIGKILL);
            _exit(92);
        }
        if (WIFSTOPPED(status))
            letter = WSTOPSIG(status) == SIGTSTP ? 'z' : 's';
        else if (WIFCONTINUED(status))
            letter = 'c';
        else if (WIFSIGNALED(status))
            letter = WTERMSIG(status) == SIGINT ? 'i' : 'k';
        if (write(report, &letter, 1) != 1)
            _exit(93);
        if (letter == 'z')
            kill(-job, SIGCONT);
        if (letter == 'i' || letter == 'k')
            _exit(0);
    }
}

int main(void)
{
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0, number, reports[2];
    char path[64], letter;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number) || pipe(reports))
        die("ptmx");
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    pid_t pid = fork();
    if (pid == 0)
        shell(path, reports[1]);
    close(reports[1]);
    int zs = 0;
    while (read(reports[0], &letter, 1) == 1) {
        printf("%c\n", letter);
        char key = (letter == 'r' || letter == 'c') ? (zs++ < 3 ? 26 : 3) : 0;
        if (key && write(master, &key, 1) != 1)
            die("write to the terminal");
    }
    printf("shell: %s\n", ended(pid));
    return 0;
}

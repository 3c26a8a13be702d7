/* exec of what cannot be executed: missing, a directory, no permission, no shebang, a broken shebang, too many arguments. */
#include "guest.h"

static char dir[] = "/tmp/guest-exec-XXXXXX";

static char *made(const char *name, const char *text, int mode)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
    chmod(path, mode);
    return path;
}

static void try(const char *what, const char *path, int shell)
{
    char *argv[] = {"name", "argument", 0};
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (shell)
            execvp(path, argv);
        else
            execve(path, argv, environ);
        _exit(errno);
    }
    printf("%s: %s\n", what, ended(pid));
}

int main(void)
{
    if (!mkdtemp(dir))
        die("mkdtemp");
    try("missing", "/no/such/program", 0);
    try("directory", "/tmp", 0);
    try("under a file", "/dev/null/x", 0);
    try("not executable", made("plain", "exit 3", 0600), 0);
    try("no shebang", made("bare", "exit 5", 0700), 0);
    try("no shebang, execvp", made("bare2", "exit 5", 0700), 1);
    try("shebang", made("script", "#!/bin/sh\nexit 6\n", 0700), 0);
    try("missing interpreter", made("broken", "#!/no/such\n", 0700), 0);
    try("empty", made("empty", "", 0700), 0);
    try("not found on PATH", "no-such-program-anywhere", 1);
    size_t size = 4 << 20;
    char *big = malloc(size);
    memset(big, 'x', size - 1);
    big[size - 1] = 0;
    char *argv[] = {"name", big, 0};
    printf("too long: %ld\n", outcome(execve("/bin/true", argv, environ)));
    printf("bad pointer: %ld\n", outcome(syscall(SYS_execve, 8L, argv, environ)));
    const char *names[] = {"plain", "bare", "bare2", "script", "broken", "empty"};
    for (int i = 0; i < 6; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    printf("cleaned: %d\n", rmdir(dir));
    return 0;
}

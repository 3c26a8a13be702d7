/* A set-uid program run by another user, and its own identity changes; run as root. ARG: print the identity and end. */
#include "guest.h"

int main(int argc, char **argv)
{
    if (argc > 1) {
        uid_t real, effective, saved;
        getresuid(&real, &effective, &saved);
        printf("%s: %d %d %d, trapped calls %d\n", argv[1], real, effective, saved, touch_paths());
        return 0;
    }
    char path[] = "/tmp/guest-setuid-XXXXXX", buffer[65536];
    int to = mkstemp(path), from = open("/proc/self/exe", O_RDONLY);
    ssize_t got;
    if (to < 0 || from < 0)
        die("copy");
    while ((got = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)got) != got)
            die("copy");
    fchmod(to, 04755);
    close(to);
    close(from);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(65534) || setuid(65534))
            _exit(90);
        char *argv2[] = {"setuid", "set-uid", 0};
        execv(path, argv2);
        _exit(91);
    }
    printf("set-uid: %s\n", ended(pid));
    chmod(path, 0755);
    pid = fork();
    if (pid == 0) {
        if (setgid(65534) || setuid(65534))
            _exit(90);
        printf("a file of root: %ld\n", outcome(open("/etc/shadow", O_RDONLY)));
        fflush(stdout);
        char *argv2[] = {"setuid", "plain", 0};
        execv(path, argv2);
        _exit(91);
    }
    printf("plain: %s\n", ended(pid));
    printf("removed: %d\n", unlink(path));
    return 0;
}

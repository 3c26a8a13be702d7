/* chroot and pivot_root: opens, stats and relative paths inside and across; ARG: also read the fake at that path from there. */
#include "guest.h"

static char base[] = "/tmp/guest-root-XXXXXX";

static void look(const char *where, const char *fake)
{
    struct stat found;
    char text[64] = "";
    printf("%s: inside %ld, /etc/passwd %ld, null %ld, up %ld\n", where, outcome(open("/inside", O_RDONLY) > 0),
           outcome(stat("/etc/passwd", &found)), outcome(stat("/dev/null", &found)),
           outcome(stat("../../../inside", &found)));
    if (fake) {
        long got = slurp(AT_FDCWD, fake, text, sizeof text);
        printf("%s: fake %ld %s", where, got, got > 0 ? text : "\n");
    }
}

static void in_child(const char *where, int pivot, const char *fake)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int outside = open("/", O_RDONLY | O_DIRECTORY);
        if (pivot) {
            if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount(base, base, 0, MS_BIND, 0))
                _exit(80);
            if (chdir(base) || syscall(SYS_pivot_root, ".", "old") || chdir("/"))
                _exit(81);
        } else if (chroot(base) || chdir("/")) {
            _exit(82);
        }
        look(where, fake);
        struct stat found;
        printf("%s: by an outside descriptor %ld\n", where, outcome(fstatat(outside, "etc/passwd", &found, 0)));
        fflush(stdout);
        if (pivot && umount2("/old", MNT_DETACH))
            _exit(83);
        if (pivot)
            look("after umount", fake);
        fflush(stdout);
        _exit(0);
    }
    printf("%s: %s\n", where, ended(pid));
}

int main(int argc, char **argv)
{
    char path[128];
    if (!mkdtemp(base))
        die("mkdtemp");
    snprintf(path, sizeof path, "%s/inside", base);
    close(open(path, O_CREAT | O_WRONLY, 0644));
    snprintf(path, sizeof path, "%s/old", base);
    mkdir(path, 0755);
    in_child("chroot", 0, argc > 1 ? argv[1] : 0);
    in_child("pivot_root", 1, argc > 1 ? argv[1] : 0);
    rmdir(path);
    snprintf(path, sizeof path, "%s/inside", base);
    unlink(path);
    printf("cleaned: %d\n", rmdir(base));
    return 0;
}

/* umount2 of what is a mount point in another mount namespace alone unmounts nothing, and of what is one here just that, by whatever name.
   In gVisor only where it is traced. */
#include "guest.h"

static char top[] = "/tmp/sandbar-unmount-XXXXXX";
static int table;

static int mounts(void)
{
    static char text[1 << 16];
    int lines = 0;
    ssize_t got;
    off_t at = 0;
    while ((got = pread(table, text, sizeof text, at)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
        at += got;
    }
    return lines;
}

static void over(const char *place) { CHECK(!mount("over", place, "tmpfs", 0, NULL), "mount on %s", place); }

/* Mounts and unmounts by this name; where it is mounted elsewhere alone, not. */
static void one(const char *here, const char *name, int flags)
{
    int before = mounts();
    over(here);
    CHECK(mounts() == before + 1, "%s", here);
    CHECK(!umount2(name, flags), "%s as %s", here, name);
    CHECK(mounts() == before, "%s as %s", here, name);
}

static void none(const char *name, int flags, int expected)
{
    int before = mounts();
    CHECK(umount2(name, flags) == -1 && errno == expected, "%s", name);
    CHECK(mounts() == before, "%s took %d mounts away", name, before - mounts());
    CHECK(!access("/proc/self", F_OK), "/proc is gone");
}

/* Several at a time: one of them has it, and the others nothing. */
static void at_once(void)
{
    int before = mounts();
    for (int round = 0; round < 20; round++) {
        pid_t children[4];
        int had = 0;
        over("elsewhere");
        for (int i = 0; i < 4; i++)
            if ((children[i] = fork()) == 0)
                _exit(umount2("elsewhere", MNT_DETACH) == 0 ? 1 : errno == EINVAL ? 2 : 3);
        for (int i = 0; i < 4; i++) {
            const char *how = ended(children[i]);
            had += !strcmp(how, "exit 1");
            CHECK(!strcmp(how, "exit 1") || !strcmp(how, "exit 2"), "%s", how);
        }
        CHECK(had == 1 && mounts() == before, "round %d: %d had it, %d mounts are gone", round, had, before - mounts());
    }
}

/* Who may not unmount hears that. */
static void unprivileged(void)
{
    pid_t child = fork();
    if (child == 0) {
        if (setuid(65534))
            _exit(3);
        _exit(umount2("elsewhere", 0) != -1 || errno != EPERM);
    }
    const char *how = ended(child);
    CHECK(!strcmp(how, "exit 0"), "unprivileged: %s", how);
}

/* Another namespace, with mounts of its own. */
static pid_t another(void)
{
    int ready[2];
    char byte;
    if (pipe(ready))
        die("pipe");
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL))
            _exit(1);
        over("elsewhere");
        over("with a blank");
        CHECK(write(ready[1], "r", 1) == 1, "ready");
        for (;;)
            pause();
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        die("no other namespace");
    close(ready[0]);
    return child;
}

static int all(void)
{
    char name[PATH_MAX];
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) ||
        mount("own", top, "tmpfs", 0, NULL) || chdir(top) || (table = open("/proc/self/mountinfo", O_RDONLY)) < 0)
        die("a namespace");
    mkdir("here", 0755);
    mkdir("elsewhere", 0755);
    mkdir("with a blank", 0755);
    mkdir("deeper", 0755);
    mkdir("deeper/er", 0755);
    mkdir("deeper/in", 0755);
    symlink("here", "link");
    symlink("deeper/er", "to");
    pid_t other = another();
    for (int flags = 0; flags <= MNT_DETACH; flags += MNT_DETACH) {
        snprintf(name, sizeof name, "%s/elsewhere", top);
        none(name, flags, EINVAL);
        none("elsewhere", flags, EINVAL);
        none("../../proc/self/cwd/./elsewhere/", flags, EINVAL);
        none("with a blank", flags, EINVAL);
        none("here", flags, EINVAL);
        none("nothing", flags, ENOENT);
        none("", flags, ENOENT);
        CHECK(umount2((char *)8, flags) == -1 && errno == EFAULT, "no path");
        snprintf(name, sizeof name, "%s/here", top);
        one("here", name, flags);
        one("here", "./here/", flags);
        one("here", "link", flags);
        one("here", "elsewhere/../here", flags | UMOUNT_NOFOLLOW);
        one("with a blank", "with a blank", flags);
        /* Of where the link leads, not of where it lies. */
        one("deeper/in", "to/../in", flags);
        /* Mounted in both. */
        one("elsewhere", "elsewhere", flags);
    }
    at_once();
    unprivileged();
    /* Two on one point. */
    over("here");
    one("here", "here", MNT_DETACH);
    CHECK(!umount("here"), "the lower one");
    none("here", MNT_DETACH, EINVAL);
    /* As runc leaves the old root. */
    pid_t child = fork();
    if (child == 0) {
        int root;
        if (unshare(CLONE_NEWNS) || (root = open("/", O_PATH | O_DIRECTORY)) < 0 || chdir(top) ||
            syscall(SYS_pivot_root, ".", ".") || fchdir(root))
            _exit(1);
        _exit(umount2(".", MNT_DETACH) || access("/here", F_OK) ? 2 : 0);
    }
    const char *how = ended(child);
    CHECK(!strcmp(how, "exit 0"), "pivot_root: %s", how);
    /* Under another root. */
    mkdir("proc", 0755);
    CHECK(!mount("/proc", "proc", NULL, MS_BIND | MS_REC, NULL), "procfs");
    CHECK(!chroot(".") && !chdir("/here"), "chroot");
    one("/here", "/here", MNT_DETACH);
    one("/here", "/link", 0);
    kill(other, SIGKILL);
    ended(other);
    return verdict();
}

int main(void)
{
    /* Another process mounts on it, and takes another root. */
    if (!mkdtemp(top))
        die("mkdtemp");
    pid_t child = fork();
    if (child == 0)
        _exit(all());
    const char *how = ended(child);
    CHECK(!strcmp(how, "exit 0"), "%s", how);
    CHECK(!rmdir(top), "%s is left", top);
    return verdict();
}

/* A descriptor whose path the kernel seeks for ever, as gVisor does when a mount on its way lost its mount point from another mount
   namespace. Who is asked about is killed, with all that shares its mount or pid namespace; all others are served. ARGS: the last
   name of a fake's path. */
#include "guest.h"
#include <sys/utsname.h>

static char top[] = "/var/lib/sandbar-endless-XXXXXX";
static const char *name;
static int ready[2], go[2];

/* What runc does of a container's root, up to pivot_root. */
static int mounted(void)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) ||
        mount("rootfs", "rootfs", NULL, MS_BIND | MS_REC, NULL) || mount("tmpfs", "rootfs/dev", "tmpfs", 0, NULL))
        die("a mount of the holder");
    int root = open("rootfs", O_PATH | O_DIRECTORY), dev = open("rootfs/dev", O_PATH | O_DIRECTORY);
    if (root < 0 || dev < 0)
        die("the holder");
    return dev;
}

static void await_removal(void)
{
    char byte;
    if (write(ready[1], "r", 1) != 1 || read(go[0], &byte, 1) != 1)
        die("the holder");
}

/* Looks below the descriptor, with a child that keeps the mounts. */
static void looks(void)
{
    int dev = mounted();
    pid_t other = fork();
    if (other == 0)
        for (;;)
            pause();
    await_removal();
    long found = openat(dev, name, O_RDONLY);
    int right = found == -1 && errno == ENOENT;
    kill(other, SIGKILL);
    _exit(!right);
}

/* In a pid namespace, under a root below the mount. */
static void unmounts(void)
{
    if (unshare(CLONE_NEWPID))
        die("unshare");
    pid_t init = fork();
    if (init == 0) {
        pid_t child = fork();
        if (child == 0) {
            int dev = mounted();
            if (mkdirat(dev, "sub", 0755) || mkdirat(dev, "sub/x", 0755) || fchdir(dev) || chroot("sub"))
                die("chroot");
            await_removal();
            _exit(umount2("/x", 0) != -1 || errno != EINVAL);
        }
        const char *how = ended(child);
        CHECK(!strcmp(how, "exit 0"), "in its namespace the holder: %s", how);
        _exit(verdict());
    }
    const char *how = ended(init);
    _exit(!strcmp(how, "signal 9") ? 9 : strcmp(how, "exit 0") != 0);
}

static void look(void (*what)(void), const char *expected)
{
    char byte;
    if (mkdir("img", 0755) || mkdir("img/dev", 0755) || mkdir("rootfs", 0755) || pipe(ready) || pipe(go) ||
        mount("img", "rootfs", NULL, MS_BIND, NULL))
        die("the place");
    pid_t child = fork();
    if (child == 0) {
        close(ready[0]);
        close(go[1]);
        what();
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        die("nobody is ready");
    CHECK(!umount2("rootfs", MNT_DETACH), "umount2");
    CHECK(!rmdir("rootfs"), "rmdir");
    CHECK(write(go[1], "g", 1) == 1, "go");
    const char *how = ended(child);
    CHECK(!strcmp(how, expected), "%s instead of %s", how, expected);
    CHECK(!touch_paths(), "others are not served");
    rmdir("img/dev");
    rmdir("img");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 98;
    name = argv[1];
    struct utsname kernel;
    uname(&kernel);
    /* The only one that both generations have in common. */
    int gvisor = !strcmp(kernel.version, "#1 SMP Sun Jan 10 15:06:54 PST 2016");
    if (!mkdtemp(top) || chdir(top) || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) ||
        mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL))
        die("a namespace");
    look(looks, gvisor ? "signal 9" : "exit 0");
    look(unmounts, gvisor ? "exit 9" : "exit 0");
    CHECK(!chdir("/") && !rmdir(top), "nothing is left");
    return verdict();
}

/* openat2's RESOLVE_*: a fake's path below another root is no fake, nor is one through a link that may not be followed. ARGS: the path
   of a fake, and of a redirect where nothing is. */
#include "guest.h"

static long how(int dirfd, const char *path, uint64_t resolve, size_t size)
{
    uint64_t open_how[4] = {O_RDONLY, 0, resolve, 0};
    long got = outcome(syscall(SYS_openat2, dirfd, path, open_how, size));
    if (got < 0)
        return got;
    char text[64] = "";
    ssize_t length = read((int)got, text, sizeof text - 1);
    close((int)got);
    return length == 5 && !strcmp(text, "fake\n") ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    enum { NO_XDEV = 1, NO_MAGICLINKS = 2, NO_SYMLINKS = 4, BENEATH = 8, IN_ROOT = 16 };
    const char *path = argv[1];
    int root = open("/", O_PATH), tmp = open("/tmp", O_PATH), proc = open("/proc", O_PATH);
    if (how(root, path + 1, 0, 24) == -ENOSYS && how(root, "etc", 0, 24) == -ENOSYS) {
        puts("no openat2 here");
        return 0;
    }
    CHECK(how(AT_FDCWD, path, 0, 24) == 1, "plain");
    CHECK(how(root, path, IN_ROOT, 24) == 1, "in the real root");
    CHECK(how(tmp, path, IN_ROOT, 24) == -ENOENT, "in another root");
    CHECK(how(tmp, "../../proc/sys/x", IN_ROOT, 24) == -ENOENT, "dots in another root");
    CHECK(how(proc, path + strlen("/proc"), IN_ROOT, 24) == 1, "in procfs as a root");
    CHECK(how(proc, path + strlen("/proc/"), BENEATH, 24) == 1, "beneath");
    CHECK(how(proc, path, BENEATH, 24) == -EXDEV, "absolute, beneath");
    CHECK(how(tmp, "../proc/sys/kernel", BENEATH, 24) == -EXDEV, "out, beneath");
    char through[256];
    snprintf(through, sizeof through, "/proc/self/root%s", path);
    CHECK(how(AT_FDCWD, through, 0, 24) == 1, "through a magic link");
    CHECK(how(AT_FDCWD, through, NO_MAGICLINKS, 24) == -ELOOP, "through a magic link, which may not be");
    CHECK(how(AT_FDCWD, through, NO_SYMLINKS, 24) == -ELOOP, "through a link, which may not be");
    CHECK(how(root, through, IN_ROOT, 24) == -EXDEV, "through a magic link in a root");
    CHECK(how(AT_FDCWD, path, NO_MAGICLINKS | NO_SYMLINKS, 24) == 1, "without links");
    CHECK(how(AT_FDCWD, path, NO_XDEV, 24) == 1, "which filesystems lie between is not looked at");
    const char *redirect = argv[2];
    CHECK(how(AT_FDCWD, redirect, 0, 24) == 0, "a redirect");
    CHECK(how(root, redirect, IN_ROOT, 24) == -ENOENT, "a redirect in a root: the call as it is");
    CHECK(how(proc, redirect + strlen("/proc/"), BENEATH, 24) == -ENOENT, "a redirect beneath: the call as it is");
    CHECK(how(AT_FDCWD, path, 0, 8) == -EINVAL, "too small");
    CHECK(outcome(syscall(SYS_openat2, AT_FDCWD, path, 8L, 24)) == -EFAULT, "no how");
    return verdict();
}

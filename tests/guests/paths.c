/* Every trapped path call × every way to name a file. Arguments: a path, and `fake`, or the file that it is redirected to. */
#include "guest.h"
#include "table.h"

static const char *wanted; /* the file behind, or 0 for a read-only fake with the value "fake\n" */
static int calls;

static void check(const struct row *row, const char *how, int dirfd, const char *path)
{
    char out[512] = "";
    struct stat *stat_out = (struct stat *)out, real = {0};
    uint64_t open_how[3] = {O_RDONLY, 0, 0};
    long args[6] = {0};
    if (row->dirfd < 0 && dirfd != AT_FDCWD)
        return;
    if (row->dirfd >= 0)
        args[row->dirfd] = dirfd;
    args[row->path] = (long)path;
    if (row->flags >= 0)
        args[row->flags] = row->kind == KIND_OPEN_HOW ? (long)open_how : row->kind == KIND_ACCESS ? W_OK : O_RDONLY;
    if (row->kind == KIND_OPEN_HOW)
        args[3] = sizeof open_how;
    if (row->kind == KIND_READLINK) {
        args[row->path + 1] = (long)out;
        args[row->path + 2] = sizeof out;
    }
    if (row->kind == KIND_STATX)
        args[3] = 0x7ff;
    if (row->out >= 0)
        args[row->out] = (long)out;
    long got = outcome(syscall(row->number, args[0], args[1], args[2], args[3], args[4], args[5]));
    calls++;
    if (wanted && stat(wanted, &real))
        die(wanted);
    switch (row->kind) {
    case KIND_OPEN:
    case KIND_OPEN_HOW: {
        char text[64] = "", expected[64] = "fake\n";
        CHECK(got >= 0 && read((int)got, text, sizeof text - 1) >= 0, "%s %s: %ld", row->name, how, got);
        if (wanted)
            slurp(AT_FDCWD, wanted, expected, sizeof expected);
        CHECK(!strcmp(text, expected), "%s %s: read '%s'", row->name, how, text);
        close((int)got);
        break;
    }
    case KIND_CREAT:
        CHECK(wanted ? got >= 0 : got == -EACCES, "%s %s: %ld", row->name, how, got);
        if (got >= 0 && write((int)got, "redirected\n", 11) != 11)
            die("write");
        close((int)got);
        break;
    case KIND_STAT:
        CHECK(got == 0, "%s %s: %ld", row->name, how, got);
        CHECK(wanted ? stat_out->st_ino == real.st_ino : stat_out->st_mode == (S_IFREG | 0444), "%s %s: inode %ld mode %o",
              row->name, how, (long)stat_out->st_ino, stat_out->st_mode);
        break;
    case KIND_STATX: {
        struct statx *found = (struct statx *)out;
        CHECK(got == 0, "%s %s: %ld", row->name, how, got);
        CHECK(wanted ? found->stx_ino == real.st_ino : found->stx_mode == (S_IFREG | 0444), "%s %s: mode %o", row->name,
              how, found->stx_mode);
        break;
    }
    case KIND_ACCESS: CHECK(got == (wanted ? 0 : -EACCES), "%s %s: %ld", row->name, how, got); break;
    case KIND_READLINK: CHECK(got == -EINVAL, "%s %s: %ld", row->name, how, got); break;
    case KIND_TRUNCATE: CHECK(got == (wanted ? 0 : -EACCES), "%s %s: %ld", row->name, how, got); break;
    case KIND_STATFS: CHECK(got == (wanted ? 0 : -ENOENT), "%s %s: %ld", row->name, how, got); break;
    }
    if (row->kind == KIND_TRUNCATE && wanted) { /* for the next read */
        int fd = open(wanted, O_WRONLY);
        if (write(fd, "redirected\n", 11) != 11)
            die("write");
        close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    wanted = strcmp(argv[2], "fake") ? argv[2] : 0;
    char dir[256], text[512];
    snprintf(dir, sizeof dir, "%s", argv[1]);
    char *name = strrchr(dir, '/');
    *name++ = 0;
    const char *last = strrchr(dir, '/') + 1;
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY), top = open("/", O_PATH), pathfd = open(dir, O_PATH);
    if (dirfd < 0 || top < 0 || chdir(dir))
        die(dir);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (row->path < 0 || syscall(row->number, 0, 0, 0, 0, 0, 0) == -1 && errno == ENOSYS)
            continue;
        check(row, "absolute", AT_FDCWD, argv[1]);
        check(row, "relative", AT_FDCWD, name);
        check(row, "by a directory", dirfd, name);
        check(row, "by an O_PATH directory", pathfd, name);
        check(row, "by the root", top, argv[1] + 1);
        check(row, "absolute, with a bad descriptor", 999, argv[1]);
#define FORM(how, at, ...) snprintf(text, sizeof text, __VA_ARGS__); check(row, how, at, text)
        FORM("dot", AT_FDCWD, "./%s", name);
        FORM("dots", AT_FDCWD, "../%s/.//%s", last, name);
        FORM("dots by a directory", dirfd, "../%s/%s", last, name);
        FORM("slashes", AT_FDCWD, "/%s/.//%s", dir, name);
        FORM("dots above the root", AT_FDCWD, "/../..%s/../%s/%s", dir, last, name);
        FORM("/proc/self/root", AT_FDCWD, "/proc/self/root%s", argv[1]);
        FORM("/proc/self/cwd", AT_FDCWD, "/proc/self/cwd/%s", name);
        FORM("/proc/thread-self/cwd", AT_FDCWD, "/proc/thread-self/cwd/%s", name);
        FORM("/proc/N/cwd", AT_FDCWD, "/proc/%d/cwd/%s", getpid(), name);
        FORM("/proc/N/root", AT_FDCWD, "/proc/%d/root%s", getpid(), argv[1]);
        FORM("/proc/self/fd", AT_FDCWD, "/proc/self/fd/%d/%s", dirfd, name);
        FORM("/proc/self/fd and dots", AT_FDCWD, "/proc/self/fd/%d/../%s/%s", pathfd, last, name);
        FORM("/dev/fd", AT_FDCWD, "/dev/fd/%d/%s", dirfd, name);
    }
    printf("%d calls\n", calls);
    return verdict();
}

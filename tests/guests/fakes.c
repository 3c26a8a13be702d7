/* What a fake file is like: flags of open, refusals, writing and reading back by others. ARGS: a read-only and a writable fake. */
#include "guest.h"

static char text[256];

static long read_by_another(const char *path)
{
    int ends[2];
    if (pipe(ends))
        die("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        char value[64];
        long got = slurp(AT_FDCWD, path, value, sizeof value);
        _exit(got < 0 || write(ends[1], value, (size_t)got) != got);
    }
    ended(pid);
    close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    text[got < 0 ? 0 : got] = 0;
    close(ends[0]);
    return got;
}

static void put(const char *path, int flags, const char *value)
{
    int fd = open(path, flags, 0644);
    CHECK(fd >= 0, "open for writing, %o", flags);
    CHECK(write(fd, value, strlen(value)) == (ssize_t)strlen(value), "write");
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const char *ro = argv[1], *rw = argv[2];
    struct stat found;
    int fd = open(ro, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC, "close-on-exec");
    CHECK(read(fd, text, 2) == 2 && !memcmp(text, "fa", 2), "first bytes");
    CHECK(read(fd, text, 64) == 3 && !memcmp(text, "ke\n", 3), "the rest");
    CHECK(read(fd, text, 64) == 0, "end of file");
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && pread(fd, text, 64, 1) == 4, "seek");
    CHECK(write(fd, "x", 1) < 0, "written");
    CHECK(ftruncate(fd, 0) < 0, "truncated");
    CHECK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED, "mapped writable");
    char *map = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(map != MAP_FAILED && !memcmp(map, "fake\n", 5), "mapped");
    close(fd);
    fd = open(ro, O_RDONLY);
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == 0, "no close-on-exec");
    close(fd);
    fd = open(ro, O_RDONLY | O_NONBLOCK);
    CHECK(fd >= 0 && fcntl(fd, F_GETFL) & O_NONBLOCK, "O_NONBLOCK: %o", fcntl(fd, F_GETFL));
    close(fd);
    CHECK(open(ro, O_WRONLY) < 0 && errno == EACCES, "O_WRONLY");
    CHECK(open(ro, O_RDWR) < 0 && errno == EACCES, "O_RDWR");
    CHECK(open(ro, O_RDONLY | O_TRUNC) < 0 && errno == EACCES, "O_TRUNC");
    CHECK(open(ro, O_WRONLY | O_CREAT | O_TRUNC, 0644) < 0 && errno == EACCES, "O_CREAT | O_TRUNC");
    CHECK(open(ro, O_RDONLY | O_CREAT | O_EXCL, 0644) < 0 && errno == EEXIST, "O_EXCL");
    CHECK(open(ro, O_RDONLY | O_DIRECTORY) < 0 && errno == ENOTDIR, "O_DIRECTORY");
    fd = open(ro, O_RDONLY | O_CREAT, 0644);
    CHECK(fd >= 0, "O_CREAT of what exists");
    close(fd);
    snprintf(text, sizeof text, "%s/", ro);
    CHECK(open(text, O_RDONLY) < 0 && errno == ENOTDIR, "slash behind");
    CHECK(stat(text, &found) < 0 && errno == ENOTDIR, "slash behind, stat");
    CHECK(access(text, R_OK) < 0 && errno == ENOTDIR, "slash behind, access");
    snprintf(text, sizeof text, "%s/.", ro);
    CHECK(open(text, O_RDONLY) < 0 && errno == ENOTDIR, "dot behind");
    CHECK(stat(text, &found) < 0 && errno == ENOTDIR, "dot behind, stat");
    CHECK(access(ro, R_OK) == 0 && access(ro, X_OK) < 0 && errno == EACCES, "access");
    CHECK(access(ro, 64) < 0 && errno == EINVAL, "access of nonsense");
    CHECK(stat(ro, &found) == 0 && S_ISREG(found.st_mode) && found.st_size == 0 && found.st_nlink == 1, "stat");
    CHECK(stat(ro, (struct stat *)8) < 0 && errno == EFAULT, "stat into nowhere");
    CHECK(stat(rw, &found) == 0 && (found.st_mode & 0777) == 0644, "stat of a writable one");

    CHECK(read_by_another(rw) == 3 && !strcmp(text, "10\n"), "base value '%s'", text);
    put(rw, O_WRONLY, "20");
    CHECK(read_by_another(rw) == 3 && !strcmp(text, "20\n"), "written '%s'", text);
    put(rw, O_WRONLY | O_CREAT | O_TRUNC, "30\n");
    CHECK(read_by_another(rw) == 3 && !strcmp(text, "30\n"), "written '%s'", text);
    close(creat(rw, 0644));
    CHECK(read_by_another(rw) == 3 && !strcmp(text, "30\n"), "creat alone sets nothing: '%s'", text);
    fd = open(rw, O_RDWR | O_APPEND);
    CHECK(fd >= 0 && fcntl(fd, F_GETFL) & O_APPEND, "O_APPEND: %o", fcntl(fd, F_GETFL));
    CHECK(read(fd, text, 64) == 3, "read through a writable descriptor");
    close(fd);
    int reader = open(rw, O_RDONLY), writer = open(rw, O_WRONLY | O_CLOEXEC);
    CHECK(write(writer, "40", 2) == 2, "write");
    CHECK(read(reader, text, 64) == 3 && !memcmp(text, "30\n", 3), "an open reader keeps what it had");
    CHECK(read_by_another(rw) == 3 && !strcmp(text, "40\n"), "seen while the writer is open: '%s'", text);
    close(reader);
    close(writer);
    CHECK(truncate(rw, 0) == 0 && truncate(ro, 0) < 0, "truncate");
    pid_t pid = fork();
    if (pid == 0) {
        failures = 0;
        if (setgid(65534) || setuid(65534))
            _exit(99);
        CHECK(open(rw, O_WRONLY) < 0 && errno == EACCES, "written by another user");
        CHECK(access(rw, W_OK) < 0 && errno == EACCES && access(rw, R_OK) == 0, "access by another user");
        CHECK(truncate(rw, 0) < 0 && errno == EACCES, "truncate by another user");
        CHECK(slurp(AT_FDCWD, rw, text, sizeof text) == 3, "read by another user");
        fflush(stdout);
        _exit(failures != 0);
    }
    CHECK(!strcmp(ended(pid), "exit 0"), "another user");
    /* Walked one component at a time, as careful programs do. */
    int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *part, *rest = strdup(ro + 1);
    while ((part = strsep(&rest, "/"))) {
        int next = openat(at, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        CHECK(next >= 0, "O_PATH of %s", part);
        close(at);
        at = next;
    }
    snprintf(text, sizeof text, "/proc/self/fd/%d", at);
    char value[64];
    CHECK(slurp(AT_FDCWD, text, value, sizeof value) == 5 && !strcmp(value, "fake\n"), "the end of the walk");
    return verdict();
}

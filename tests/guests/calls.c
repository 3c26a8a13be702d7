/* Every trapped call, as the table lists them, with good and bad arguments: what the kernel answers is printed. */
#include "guest.h"
#include "table.h"

static char *edge; /* the last byte before a page that is not there */

static long make(const struct row *row, const char *path, int dirfd, int flags)
{
    static char out[8192];
    static uint64_t how[3];
    long args[6] = {0};
    how[0] = (uint64_t)flags;
    if (row->dirfd >= 0)
        args[row->dirfd] = dirfd;
    if (row->path >= 0)
        args[row->path] = (long)path;
    if (row->flags >= 0)
        args[row->flags] = row->kind == KIND_ACCESS ? R_OK : flags;
    if (row->kind == KIND_OPEN_HOW) {
        args[row->flags] = (long)how;
        args[3] = sizeof how;
    }
    if (row->kind == KIND_READLINK) {
        args[row->path + 1] = (long)out;
        args[row->path + 2] = sizeof out;
    }
    if (row->out >= 0)
        args[row->out] = (long)out;
    long got = outcome(syscall(row->number, args[0], args[1], args[2], args[3], args[4], args[5]));
    if (got >= 0 && (row->kind == KIND_OPEN || row->kind == KIND_OPEN_HOW || row->kind == KIND_CREAT)) {
        close((int)got);
        got = 1;
    }
    return got;
}

static char *at_edge(const char *text, int cut)
{
    size_t size = strlen(text) + 1 - (size_t)cut;
    return memcpy(edge + 1 - size, text, size);
}

int main(void)
{
    char *pages = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 2 * 4096, 4096);
    edge = pages + 2 * 4096 - 1;
    static char longest[5000], nested[4096];
    memset(longest, 'x', sizeof longest - 1);
    for (int i = 0; i < 4095; i++)
        nested[i] = i % 2 ? '.' : '/';
    nested[4094] = 0;
    int root = open("/", O_RDONLY | O_DIRECTORY), file = open("/dev/null", O_RDONLY), gone = 999;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (row->path < 0)
            continue;
        /* creat and truncate act on what they name */
        const char *good = row->kind == KIND_CREAT ? "/dev/null" : "/etc/hostname";
        if (row->kind == KIND_TRUNCATE)
            good = "/no/such";
        printf("%s:", row->name);
        printf(" %ld", make(row, good, AT_FDCWD, 0) >= 0 ? 1L : 0L);
        printf(" %ld", make(row, at_edge(good, 0), AT_FDCWD, 0) >= 0 ? 1L : 0L);
        printf(" %ld", make(row, at_edge("/no/nul/here", 1), AT_FDCWD, 0));
        printf(" %ld", make(row, "/no/such", AT_FDCWD, 0));
        printf(" %ld", make(row, "/dev/null/x", AT_FDCWD, 0));
        printf(" %ld", make(row, "", AT_FDCWD, 0));
        printf(" %ld", make(row, 0, AT_FDCWD, 0));
        printf(" %ld", make(row, (char *)8, AT_FDCWD, 0));
        printf(" %ld", make(row, (char *)-4096, AT_FDCWD, 0));
        printf(" %ld", make(row, (char *)0x8000000000000000, AT_FDCWD, 0));
        printf(" %ld", make(row, longest, AT_FDCWD, 0));
        printf(" %ld", make(row, nested, AT_FDCWD, 0) >= 0 ? 1L : 0L);
        printf(" %ld", make(row, "/no/\xff\xfe/utf8", AT_FDCWD, 0));
        if (row->dirfd >= 0) {
            printf(" | %ld", make(row, good + 1, root, 0) >= 0 ? 1L : 0L);
            printf(" %ld", make(row, "no/such", root, 0));
            printf(" %ld", make(row, "x", file, 0));
            printf(" %ld", make(row, "x", gone, 0));
            printf(" %ld", make(row, "x", -1, 0));
            printf(" %ld", make(row, good, gone, 0) >= 0 ? 1L : 0L);
        }
        puts("");
    }
    return 0;
}

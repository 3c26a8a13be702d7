/* What a traced program can still tell. Each argument names one item of docs/transparency.md; the answer is printed.
   Environment: FAKE, WRITABLE. */
#include "guest.h"
#include <dirent.h>
#include <sys/inotify.h>
#include <sys/xattr.h>

static const char *fake, *writable;
static char text[8192];

static void field(const char *file, const char *name)
{
    FILE *in = fopen(file, "r");
    while (in && fgets(text, sizeof text, in))
        if (!strncmp(text, name, strlen(name)))
            printf("%s", text);
}

static int listed(const char *path)
{
    char dir[256];
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = 0;
    DIR *entries = opendir(dir);
    struct dirent *entry;
    int found = 0;
    while (entries && (entry = readdir(entries)))
        found |= !strcmp(entry->d_name, strrchr(path, '/') + 1);
    return found;
}

static void item(const char *name)
{
    struct stat by_path, by_fd;
    if (!strcmp(name, "tracer-pid")) {
        field("/proc/self/status", "TracerPid:");
    } else if (!strcmp(name, "seccomp")) {
        field("/proc/self/status", "Seccomp:");
        field("/proc/self/status", "Seccomp_filters:");
        printf("prctl %d\n", prctl(PR_GET_SECCOMP));
    } else if (!strcmp(name, "ptrace")) {
        printf("traceme %ld\n", outcome(ptrace(PTRACE_TRACEME, 0, 0, 0)));
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        printf("attach %ld\n", outcome(ptrace(PTRACE_ATTACH, pid, 0, 0)));
        printf("seize %ld\n", outcome(ptrace(PTRACE_SEIZE, pid, 0, 0)));
        kill(pid, SIGKILL);
    } else if (!strcmp(name, "getdents")) {
        printf("listed %d\n", listed(fake));
    } else if (!strcmp(name, "inotify")) {
        printf("watch %ld\n", outcome(inotify_add_watch(inotify_init(), fake, IN_MODIFY)));
    } else if (!strcmp(name, "xattr")) {
        printf("getxattr %ld\n", outcome(getxattr(fake, "user.x", text, 16)));
        printf("listxattr %ld\n", outcome(listxattr(fake, text, 16)));
    } else if (!strcmp(name, "chmod")) {
        printf("chmod %ld chown %ld utimensat %ld unlink %ld\n", outcome(chmod(writable, 0600)),
               outcome(chown(writable, 0, 0)), outcome(utimensat(AT_FDCWD, writable, 0, 0)), outcome(unlink(writable)));
    } else if (!strcmp(name, "exec")) {
        char *argv[] = {"x", 0};
        printf("execve %ld\n", outcome(execve(fake, argv, environ)));
    } else if (!strcmp(name, "chdir")) {
        printf("chdir %ld mount %ld\n", outcome(chdir(fake)), outcome(mount(fake, "/tmp", 0, MS_BIND, 0)));
    } else if (!strcmp(name, "statfs")) {
        struct statfs found;
        printf("statfs %ld", outcome(statfs(fake, &found)));
        printf(" fstatfs %ld", outcome(fstatfs(open(fake, O_RDONLY), &found)));
        printf(" type %lx\n", (long)found.f_type);
    } else if (!strcmp(name, "identity")) {
        int fd = open(fake, O_RDONLY);
        stat(fake, &by_path);
        fstat(fd, &by_fd);
        printf("same inode %d same size %d size %ld and %ld same device %d\n", by_path.st_ino == by_fd.st_ino,
               by_path.st_size == by_fd.st_size, (long)by_path.st_size, (long)by_fd.st_size, by_path.st_dev == by_fd.st_dev);
    } else if (!strcmp(name, "link")) {
        int fd = open(fake, O_RDONLY);
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        text[readlink(path, text, sizeof text - 1)] = 0;
        printf("%s\n", text);
    } else if (!strcmp(name, "write")) {
        int fd = open(fake, O_RDONLY);
        printf("F_GETFL mode %d write %ld\n", fcntl(fd, F_GETFL) & O_ACCMODE, outcome(write(fd, "x", 1)));
        fd = open(writable, O_WRONLY);
        printf("read of a write-only one %ld\n", outcome(read(fd, text, 8)));
    } else if (!strcmp(name, "o-path")) {
        int fd = open(fake, O_PATH);
        printf("O_PATH %d read %ld\n", (fcntl(fd, F_GETFL) & O_PATH) != 0, outcome(read(fd, text, 8)));
    } else if (!strcmp(name, "partial-write")) {
        int fd = open(writable, O_RDWR);
        printf("write %ld", outcome(write(fd, "5", 1)));
        slurp(AT_FDCWD, writable, text, 64);
        printf(" reads %s", text);
        int bad = open(writable, O_WRONLY);
        printf("nonsense %ld\n", outcome(write(bad, "not a number", 12)));
    } else if (!strcmp(name, "reread")) {
        int fd = open(writable, O_RDONLY), other = open(writable, O_WRONLY);
        if (write(other, "77\n", 3) != 3)
            die("write");
        text[pread(fd, text, 64, 0)] = 0;
        printf("open reader still sees %s", text);
    } else if (!strcmp(name, "symlink")) {
        unlink("/tmp/guest-link");
        printf("symlink %ld", outcome(symlink(fake, "/tmp/guest-link")));
        printf(" open %ld\n", outcome(open("/tmp/guest-link", O_RDONLY)));
        unlink("/tmp/guest-link");
    } else if (!strcmp(name, "bind")) {
        if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount("/proc", "/mnt", 0, MS_BIND, 0))
            die("bind");
        snprintf(text, sizeof text, "/mnt%s", fake + strlen("/proc"));
        printf("open elsewhere %ld\n", outcome(open(text, O_RDONLY)));
    } else if (!strcmp(name, "other-process")) {
        snprintf(text, sizeof text, "/proc/%d/root%s", getppid(), fake);
        printf("open %ld\n", outcome(open(text, O_RDONLY)));
    } else if (!strcmp(name, "last-link")) {
        int dir = open("/proc/sys/kernel", O_RDONLY);
        snprintf(text, sizeof text, "/proc/self/fd/%d", dir);
        printf("a directory by its link %d\n", open(text, O_RDONLY) >= 0);
    } else if (!strcmp(name, "int80")) {
        long result;
        static char low[64] __attribute__((aligned(64)));
        strcpy(low, fake); /* a static program lies below 4 GB */
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(5L), "b"(low), "c"(0L), "d"(0L) : "memory");
        printf("open by int 0x80 %ld\n", result);
    } else if (!strcmp(name, "x32")) {
        printf("getpid as x32 %ld\n", outcome(syscall(0x40000000 | SYS_getpid)));
    } else if (!strcmp(name, "parent")) {
        snprintf(text, sizeof text, "/proc/%d/comm", getppid());
        char comm[32] = "";
        slurp(AT_FDCWD, text, comm, sizeof comm);
        printf("parent %s", comm);
        printf("group leader %d session leader %d\n", getpgrp() == getpid(), getsid(0) == getpid());
    } else if (!strcmp(name, "memfd-denied")) {
        struct { unsigned short code; unsigned char yes, no; unsigned k; } program[] = {
            {0x20, 0, 0, 0}, {0x15, 0, 1, SYS_memfd_create}, {0x06, 0, 0, 0x00050000 | EPERM}, {0x06, 0, 0, 0x7fff0000}};
        struct { unsigned short length; void *code; } filter = {4, program};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        prctl(PR_SET_SECCOMP, 2, &filter);
        printf("open %ld stat %ld\n", outcome(open(fake, O_RDONLY)), outcome(stat(fake, &by_path)));
    } else {
        printf("no such item\n");
    }
}

int main(int argc, char **argv)
{
    fake = getenv("FAKE"), writable = getenv("WRITABLE");
    if (argc != 2 || !fake || !writable)
        return 2;
    item(argv[1]);
    return 0;
}

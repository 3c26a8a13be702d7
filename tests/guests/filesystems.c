/* The type that statfs and fstatfs report under a rule for `/`: the one asked for there, the real one in procfs and elsewhere.
   ARGS: the expected magic number, in hex. */
#include "guest.h"

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    long wanted = strtol(argv[1], 0, 16);
    struct statfs found, other;
    CHECK(statfs("/", &found) == 0 && found.f_type == wanted, "type of /: %lx", (long)found.f_type);
    CHECK(chdir("/usr") == 0 && statfs(".", &other) == 0 && other.f_type == wanted, "type of .: %lx", (long)other.f_type);
    CHECK(statfs("bin/..", &other) == 0 && other.f_type == wanted, "type of bin/..: %lx", (long)other.f_type);
    CHECK(found.f_blocks > 0 && found.f_bsize > 0, "the rest of the answer");
    int fd = open("/usr", O_RDONLY);
    CHECK(fstatfs(fd, &found) == 0 && found.f_type == wanted, "type by descriptor: %lx", (long)found.f_type);
    close(fd);
    fd = open("/usr", O_PATH);
    CHECK(fstatfs(fd, &found) == 0 && found.f_type == wanted, "type by O_PATH descriptor: %lx", (long)found.f_type);
    CHECK(statfs("/proc", &found) == 0 && found.f_type == 0x9fa0, "procfs: %lx", (long)found.f_type);
    CHECK(statfs("/proc/self/fd", &found) == 0 && found.f_type == 0x9fa0, "procfs: %lx", (long)found.f_type);
    fd = open("/proc/self", O_RDONLY);
    CHECK(fstatfs(fd, &found) == 0 && found.f_type == 0x9fa0, "procfs by descriptor: %lx", (long)found.f_type);
    int ends[2];
    if (pipe(ends))
        die("pipe");
    CHECK(fstatfs(ends[0], &found) == 0 && found.f_type == 0x50495045, "a pipe: %lx", (long)found.f_type);
    CHECK(statfs("/no/such", &found) < 0 && errno == ENOENT, "a missing file");
    CHECK(statfs("/", (struct statfs *)8) < 0 && errno == EFAULT, "into nowhere");
    CHECK(fstatfs(999, &found) < 0 && errno == EBADF, "a closed descriptor");
    return verdict();
}

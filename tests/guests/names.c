/* Names in procfs that lead through its links, to fakes with the values "net\n" and "self\n". ARGS: the last segments of
   /proc/net/… and /proc/self/…. Paths that are made to be long end as the kernel ends them. */
#include "guest.h"

static void reads(const char *how, int dirfd, const char *path, const char *expected)
{
    char text[64] = "";
    long got = slurp(dirfd, path, text, sizeof text);
    CHECK(got == (long)strlen(expected) && !strcmp(text, expected), "%s, %s: %ld '%s'", how, path, got, text);
}

static const char *repeated(const char *head, const char *part, int times, const char *tail)
{
    static char path[4096];
    strcpy(path, head);
    for (int i = 0; i < times; i++)
        strcat(path, part);
    return strcat(path, tail);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    char net[128], self[128], path[256], own[32];
    struct stat found;
    snprintf(own, sizeof own, "/proc/%d", getpid());
    snprintf(net, sizeof net, "net/%s", argv[1]);
    snprintf(self, sizeof self, "self/%s", argv[2]);
#define READS(expected, how, at, ...) snprintf(path, sizeof path, __VA_ARGS__); reads(how, at, path, expected)
    READS("net\n", "as in the rule", AT_FDCWD, "/proc/%s", net);
    READS("net\n", "where the link leads", AT_FDCWD, "/proc/self/%s", net);
    READS("net\n", "by number", AT_FDCWD, "%s/%s", own, net);
    READS("self\n", "as in the rule", AT_FDCWD, "/proc/%s", self);
    READS("self\n", "by number", AT_FDCWD, "%s/%s", own, argv[2]);
    int proc = open("/proc", O_PATH), byself = open("/proc/self", O_RDONLY | O_DIRECTORY),
        bynumber = open(own, O_PATH), bynet = open("/proc/net", O_RDONLY | O_DIRECTORY);
    READS("net\n", "by /proc", proc, "%s", net);
    READS("self\n", "by /proc", proc, "%s", self);
    READS("self\n", "by /proc and a number", proc, "%s/%s", own + strlen("/proc/"), argv[2]);
    READS("self\n", "by /proc/self", byself, "%s", argv[2]);
    READS("self\n", "by /proc/self and dots", byself, "../%s", self);
    READS("net\n", "by /proc/self and dots", byself, "../%s", net);
    READS("net\n", "by /proc/self", byself, "%s", net);
    READS("self\n", "by /proc/N", bynumber, "%s", argv[2]);
    READS("net\n", "by /proc/net", bynet, "%s", argv[1]);
    READS("self\n", "by a link to it", AT_FDCWD, "/proc/self/fd/%d/%s", byself, argv[2]);
    CHECK(chdir("/proc/self") == 0, "chdir");
    READS("self\n", "in /proc/self", AT_FDCWD, "%s", argv[2]);
    READS("net\n", "in /proc/self", AT_FDCWD, "%s", net);
    READS("self\n", "by the link to the directory", AT_FDCWD, "/proc/self/cwd/%s", argv[2]);
    CHECK(fstatat(AT_FDCWD, argv[2], &found, 0) == 0 && S_ISREG(found.st_mode), "stat in /proc/self");
    CHECK(chdir("/proc/net") == 0, "chdir");
    READS("net\n", "in /proc/net", AT_FDCWD, "%s", argv[1]);
    char part[64];
    snprintf(part, sizeof part, "%s/..", own + strlen("/proc"));
    int times = 4000 / (int)strlen(part);
    CHECK(stat(repeated("/proc", part, times, "/."), &found) == 0, "many dots");
    READS("self\n", "behind many dots", AT_FDCWD, "%s/%s", repeated("/proc", part, 10, ""), self);
    CHECK(stat(repeated("", "/proc/self/root", 20, "/proc"), &found) == 0, "as many links as may be");
    CHECK(stat(repeated("", "/proc/self/root", 200, "/proc/."), &found) < 0 && errno == ELOOP, "too many links");
    return verdict();
}

/* Who sees which value: a node-wide fake cannot be written from another mount namespace; net.* has a value per network namespace. */
#include "guest.h"

static char value[64];

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) > 0, "writing %s", path);
    close(fd);
}

#define SEES(path, text) CHECK(slurp(AT_FDCWD, path, value, sizeof value) > 0 && !strcmp(value, text), "sees '%s'", value)

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const char *node = argv[1], *net = argv[2]; /* "10\n" and "7\n" */
    put(node, "11\n");
    put(net, "8\n");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        failures = 0;
        if (unshare(CLONE_NEWNS))
            _exit(90);
        SEES(node, "11\n");
        CHECK(open(node, O_WRONLY) < 0 && errno == EROFS, "written from another mount namespace");
        CHECK(open(node, O_RDWR | O_TRUNC) < 0 && errno == EROFS, "truncated from another mount namespace");
        put(net, "9\n");
        SEES(net, "9\n");
        fflush(stdout);
        _exit(failures != 0);
    }
    CHECK(!strcmp(ended(pid), "exit 0"), "mount namespace");
    SEES(net, "9\n");
    pid = fork();
    if (pid == 0) {
        failures = 0;
        if (unshare(CLONE_NEWNET))
            _exit(90);
        SEES(net, "7\n");
        put(net, "21\n");
        SEES(net, "21\n");
        SEES(node, "11\n");
        put(node, "12\n");
        fflush(stdout);
        _exit(failures != 0);
    }
    CHECK(!strcmp(ended(pid), "exit 0"), "network namespace");
    SEES(net, "9\n");
    SEES(node, "12\n");
    /* The kernel gives the number of a namespace that is gone to the next one: nobody sees what an earlier one wrote. */
    for (int i = 0; i < 12; i++) {
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            failures = 0;
            if (unshare(CLONE_NEWNET))
                _exit(90);
            SEES(net, "7\n");
            put(net, "21\n");
            SEES(net, "21\n");
            fflush(stdout);
            _exit(failures != 0);
        }
        CHECK(!strcmp(ended(pid), "exit 0"), "network namespace %d", i);
        usleep(100000); /* until it is gone */
    }
    /* A value outlives its writer where others live, however long they do nothing but live. */
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        failures = 0;
        if (unshare(CLONE_NEWNET))
            _exit(90);
        fflush(stdout);
        pid_t writer = fork();
        if (writer == 0) {
            put(net, "21\n");
            _exit(failures != 0);
        }
        CHECK(!strcmp(ended(writer), "exit 0"), "writer");
        for (int i = 0; i < 35; i++)
            usleep(100000), touch_paths();
        SEES(net, "21\n");
        fflush(stdout);
        _exit(failures != 0);
    }
    CHECK(!strcmp(ended(pid), "exit 0"), "value without its writer");
    SEES(net, "9\n");
    return verdict();
}

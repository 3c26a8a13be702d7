/* A thread's exec takes the number of the first one over while a call of that is being answered: the new program must begin at its own
   start, with its own memory. ARGS: the path of a fake. */
#include "guest.h"

static char top[] = "/tmp/sandbar-exec-XXXXXX";
static const char *self, *fake;
static int pause_us;

static void *executes(void *unused)
{
    (void)unused;
    usleep(pause_us);
    char *argv[] = {(char *)self, NULL};
    execve("/proc/self/exe", argv, environ);
    _exit(77);
}

static void asks(int unmounting)
{
    pthread_t thread;
    struct stat found;
    if (pthread_create(&thread, NULL, executes, NULL))
        _exit(78);
    for (;;)
        if (unmounting)
            umount2("directory", MNT_DETACH);
        else
            stat(fake, &found);
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return 0;
    self = argv[0];
    fake = argv[1];
    if (!mkdtemp(top) || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) ||
        mount("own", top, "tmpfs", 0, NULL) || chdir(top) || mkdir("directory", 0755))
        die("a place");
    int killed = 0, rounds = 60;
    for (int round = 0; round < rounds; round++) {
        pid_t children[4];
        for (int i = 0; i < 4; i++) {
            pause_us = (round * 4 + i) * 7919 % 20000;
            if ((children[i] = fork()) == 0)
                asks(i % 2);
        }
        for (int i = 0; i < 4; i++) {
            const char *how = ended(children[i]);
            /* In gVisor, where it came between a last look and the answer. */
            killed += !strcmp(how, "signal 9");
            CHECK(!strcmp(how, "exit 0") || !strcmp(how, "signal 9"), "round %d: %s", round, how);
        }
    }
    CHECK(killed <= rounds, "%d of %d were killed", killed, rounds * 4);
    umount2(top, MNT_DETACH);
    CHECK(!chdir("/") && !rmdir(top), "nothing is left");
    return verdict();
}

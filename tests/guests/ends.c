/* Ends as told: `exit N`, `signal N`, `thread N` (exit_group elsewhere), `abort`, `null`, `illegal`, `divide`, `masked N`. */
#include "guest.h"

static void *leave(void *code) { syscall(SYS_exit_group, (int)(long)code); return 0; }

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    int number = argc > 2 ? atoi(argv[2]) : 0;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (touch_paths())
        return 98;
    if (!strcmp(argv[1], "signal"))
        kill(getpid(), number);
    if (!strcmp(argv[1], "abort"))
        abort();
    if (!strcmp(argv[1], "null"))
        *(volatile char *)8 = 1;
    if (!strcmp(argv[1], "illegal"))
        __asm__ volatile("ud2");
    if (!strcmp(argv[1], "divide"))
        __asm__ volatile("xorl %%eax, %%eax\n\tcltd\n\tidivl %%eax" ::: "eax", "edx");
    if (!strcmp(argv[1], "masked")) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, 0);
        *(volatile char *)8 = 1;
    }
    if (!strcmp(argv[1], "thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, leave, (void *)(long)number);
        pthread_join(thread, 0);
    }
    return number;
}

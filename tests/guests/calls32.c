/* A 32-bit program without a C library: its own system calls on real files, a fake, a redirect. ARGS: none, or a fake and a redirect. */
typedef unsigned u32;
typedef unsigned long long u64;

static long call(long number, long a, long b, long c, long d, long e)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
}

static int length(const char *text)
{
    int n = 0;
    while (text[n])
        n++;
    return n;
}

static void say(const char *text) { call(4, 1, (long)text, length(text), 0, 0); }

static void number(const char *what, long value)
{
    char digits[16];
    int at = 15;
    u32 rest = value < 0 ? (u32)-value : (u32)value;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        digits[--at] = '-';
    say(what);
    say(" ");
    say(digits + at);
    say("\n");
}

static void show(const char *path)
{
    char text[64];
    long fd = call(5, (long)path, 0, 0, 0, 0);
    if (fd < 0) {
        number("open", fd);
        return;
    }
    long got = call(3, fd, (long)text, 63, 0, 0);
    text[got > 0 ? got : 0] = 0;
    say(text);
    call(6, fd, 0, 0, 0, 0);
}

static void look(const char *path)
{
    struct { u64 dev; u32 pad, ino32, mode, nlink, uid, gid; char rest[64]; u64 ino; char more[64]; } found = {0};
    struct { unsigned short a[128]; } old = {0};
    u32 statx[64] = {0};
    char link[16];
    number("stat64", call(195, (long)path, (long)&found, 0, 0, 0));
    number("mode", (long)found.mode);
    number("stat", call(106, (long)path, (long)&old, 0, 0, 0));
    number("mode", old.a[4]);
    number("fstatat64", call(300, -100, (long)path, (long)&found, 0, 0));
    number("mode", (long)found.mode);
    number("statx", call(383, -100, (long)path, 0, 0x7ff, (long)statx));
    number("mode", (long)(statx[7] & 0xffff));
    number("access", call(33, (long)path, 4, 0, 0, 0));
    number("faccessat", call(307, -100, (long)path, 4, 0, 0));
    number("readlink", call(85, (long)path, (long)link, 16, 0, 0));
    long fd = call(295, -100, (long)path, 04000, 0, 0); /* O_NONBLOCK */
    number("openat", fd >= 0);
    number("flags", call(55, fd, 3, 0, 0, 0) & 04000);
    call(6, fd, 0, 0, 0, 0);
}

__attribute__((used)) void start(long *stack)
{
    long count = stack[0];
    char **arguments = (char **)(stack + 1);
    look("/dev/null");
    number("missing", call(5, (long)"/no/such", 0, 0, 0, 0));
    number("bad pointer", call(5, 8, 0, 0, 0, 0));
    long pid = call(2, 0, 0, 0, 0, 0);
    if (pid == 0) {
        call(5, (long)"/dev/null", 0, 0, 0, 0);
        call(1, 5, 0, 0, 0, 0);
    }
    int status = 0;
    call(7, pid, (long)&status, 0, 0, 0);
    number("child", status);
    for (long i = 1; i < count; i++) {
        show(arguments[i]);
        look(arguments[i]);
    }
    call(1, 3, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tmovl %esp, %eax\n\tandl $-16, %esp\n\tsubl $12, %esp\n\tpushl %eax\n\tcall start\n");

/* A FUSE server that is traced, with traced clients which pass path strings that lie in pages of its file that nobody has read yet:
   to serve such a fault the server makes trapped calls itself. Also the same with userfaultfd. Ends within 20 s, or hangs.
   `swapped FAKE`: a file of a server that never answers FLUSH, so that whoever closes it waits, is put in the place of a fake
   that is being opened. `silent COMMAND...`: COMMAND (which says "served") inherits such a file. Others are served all the same. */
#include "guest.h"
#include <linux/fuse.h>
#include <linux/userfaultfd.h>

enum { PAGES = 96, CLIENTS = 12, PAGE = 4096 };
static int answers = -1; /* to so many FLUSHes, then none; all: -1 */
static char mountpoint[] = "/tmp/guest-fuse-XXXXXX";

static void attributes(struct fuse_attr *attr, uint64_t node)
{
    *attr = (struct fuse_attr){.ino = node, .nlink = 1};
    attr->mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644;
    attr->size = node == 1 ? 0 : PAGES * PAGE;
}

static void answer(int fd, const struct fuse_in_header *in, int error, const void *body, size_t size)
{
    struct fuse_out_header out = {.len = (uint32_t)(sizeof out + size), .error = error, .unique = in->unique};
    struct iovec parts[] = {{&out, sizeof out}, {(void *)body, size}};
    if (writev(fd, parts, size ? 2 : 1) < 0 && errno != ENOENT)
        _exit(70);
}

static void serve(int fd)
{
    static char request[1 << 17], data[1 << 17];
    for (;;) {
        ssize_t got = read(fd, request, sizeof request);
        if (got < 0 && (errno == EINTR || errno == ENOENT))
            continue;
        if (got < 0)
            _exit(errno == ENODEV ? 0 : 71); /* unmounted */
        struct fuse_in_header *in = (struct fuse_in_header *)request;
        void *body = request + sizeof *in;
        /* What makes it stop for the tracer while a client waits. */
        if (in->opcode != FUSE_FORGET && touch_paths())
            _exit(72);
        switch (in->opcode) {
        case FUSE_INIT: {
            struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096};
            answer(fd, in, 0, &init, sizeof init);
            break;
        }
        case FUSE_LOOKUP: {
            struct fuse_entry_out entry = {.nodeid = 2, .attr_valid = 100, .entry_valid = 100};
            attributes(&entry.attr, 2);
            answer(fd, in, strcmp(body, "file") ? -ENOENT : 0, &entry, strcmp(body, "file") ? 0 : sizeof entry);
            break;
        }
        case FUSE_GETATTR: {
            struct fuse_attr_out attr = {.attr_valid = 100};
            attributes(&attr.attr, in->nodeid);
            answer(fd, in, 0, &attr, sizeof attr);
            break;
        }
        case FUSE_OPEN: {
            struct fuse_open_out open = {.open_flags = FOPEN_KEEP_CACHE};
            answer(fd, in, 0, &open, sizeof open);
            break;
        }
        case FUSE_READ: {
            struct fuse_read_in *what = body;
            memset(data, 0, sizeof data);
            for (size_t at = 0; at < what->size; at += PAGE)
                strcpy(data + at, "/dev/null");
            usleep(500);
            answer(fd, in, 0, data, what->size);
            break;
        }
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET: break;
        case FUSE_FLUSH:
            if (answers == 0)
                break;
            answers -= answers > 0;
            /* fall through */
        case FUSE_RELEASE: answer(fd, in, 0, 0, 0); break;
        default: answer(fd, in, -ENOSYS, 0, 0);
        }
    }
}

static int file(void)
{
    char path[64];
    snprintf(path, sizeof path, "%s/file", mountpoint);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        die(path);
    return fd;
}

static void *client(void *first)
{
    int fd = file();
    char *map = mmap(0, PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    madvise(map, PAGES * PAGE, MADV_RANDOM);
    long bad = 0;
    for (long page = (long)first; page < PAGES; page += CLIENTS) {
        struct stat found;
        int file = open(map + page * PAGE, O_RDONLY); /* the first touch of the page is the tracer's */
        bad += file < 0;
        close(file);
        bad += stat(map + page * PAGE, &found) != 0;
    }
    return (void *)bad;
}

static void *fill(void *fd)
{
    struct uffd_msg message;
    char page[PAGE] __attribute__((aligned(4096))) = "/dev/null";
    while (read((int)(long)fd, &message, sizeof message) == sizeof message) {
        touch_paths();
        struct uffdio_copy copy = {.dst = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1), .src = (uint64_t)page, .len = PAGE};
        ioctl((int)(long)fd, UFFDIO_COPY, &copy);
    }
    return 0;
}

static void user_faults(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) {
        puts("userfaultfd: not here");
        return;
    }
    char *area = mmap(0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {.range = {(uint64_t)area, 16 * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    ioctl(fd, UFFDIO_REGISTER, &range);
    pthread_t thread;
    pthread_create(&thread, 0, fill, (void *)(long)fd);
    for (int i = 0; i < 16; i++)
        CHECK(access(area + i * PAGE, R_OK) == 0, "page %d", i);
}

/* Mounts and starts the server; its pid. */
static pid_t mounted(void)
{
    if (!mkdtemp(mountpoint))
        die("mkdtemp");
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
    if (fd < 0 || unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount("guest", mountpoint, "fuse", 0, options)) {
        int saved = errno;
        rmdir(mountpoint);
        errno = saved;
        die("no FUSE here");
    }
    pid_t server = fork();
    if (server == 0)
        serve(fd);
    close(fd);
    return server;
}

/* Without its server nobody waits any more. */
static int without(pid_t server)
{
    umount2(mountpoint, MNT_DETACH);
    kill(server, SIGKILL);
    ended(server);
    rmdir(mountpoint);
    return verdict();
}

static const char *fake;
static volatile int target;

static void *swaps(void *fd)
{
    while (fcntl(target, F_GETFD) < 0)
        ;
    dup2((int)(long)fd, target);
    return 0;
}

static void *opens(void *unused)
{
    open(fake, O_RDONLY | O_NONBLOCK);
    return unused;
}

static int swapped(void)
{
    char text[64];
    int begin[2];
    if (pipe(begin))
        die("pipe");
    /* Has none of the files, whose last close would wait. */
    pid_t bystander = fork();
    if (bystander == 0) {
        if (read(begin[0], text, 1) != 1 || touch_paths())
            _exit(1);
        _exit(slurp(AT_FDCWD, fake, text, sizeof text) != 5);
    }
    pid_t server = mounted();
    int fd = file();
    for (int round = 0; round < 4; round++) {
        pthread_t thread;
        target = dup(0);
        close(target);
        pthread_create(&thread, 0, swaps, (void *)(long)fd);
        pthread_create(&thread, 0, opens, 0);
        usleep(50000);
    }
    if (write(begin[1], "x", 1) != 1)
        die("write");
    int status = -1;
    CHECK(wait_soon(bystander, &status, 0) == bystander && status == 0, "another process: %#x", (unsigned)status);
    return without(server);
}

static int inherited(char **command)
{
    char text[64] = "";
    int out[2];
    pid_t server = mounted();
    file();
    if (pipe(out))
        die("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        execv(command[0], command);
        _exit(127);
    }
    close(out[1]);
    struct pollfd said = {.fd = out[0], .events = POLLIN};
    CHECK(poll(&said, 1, 10000) == 1 && read(out[0], text, sizeof text - 1) == 7, "said nothing");
    CHECK(!strcmp(text, "served\n"), "said '%s'", text);
    int result = without(server);
    ended(pid);
    return result;
}

int main(int argc, char **argv)
{
    alarm(20);
    if (argc == 3 && !strcmp(argv[1], "swapped"))
        return answers = 0, fake = argv[2], swapped();
    /* The process in front and the one that probes close it before the command is launched. */
    if (argc > 2)
        return answers = 2, inherited(argv + 2);
    user_faults();
    pid_t server = mounted();
    pthread_t threads[CLIENTS];
    for (long i = 0; i < CLIENTS; i++)
        pthread_create(&threads[i], 0, client, (void *)i);
    for (int i = 0; i < CLIENTS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        CHECK(bad == 0, "client %d: %ld wrong", i, (long)bad);
    }
    /* Others are served meanwhile and afterwards. */
    CHECK(touch_paths() == 0, "plain calls");
    return without(server);
}

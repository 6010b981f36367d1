/* Faults at chosen system calls, for tests/faults: a library that is preloaded (LD_PRELOAD) and counts every call that
 * changes files below one folder. At a chosen count the process is killed, or the call fails with a chosen error.
 *
 * A write that is hit puts down half of its bytes first, as a full disk and a kill in the middle of it do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, KILL, FAIL_ONCE, FAIL_ON };

static char root[PATH_MAX];
static int log_fd = -1, mode = OFF, fault_errno, hit_at, is_full, counter;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* From now on, count calls below `folder`; `log` gets a line per call; at call number `at` (from 1) `how` happens. */
void fault_arm(const char *folder, const char *log, int at, int how, int error) {
    log_fd = log && *log ? REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (log_fd >= 0) { /* out of the way of programs that close low numbers */
        int high = fcntl(log_fd, F_DUPFD_CLOEXEC, 700);
        if (high >= 0) { close(log_fd); log_fd = high; }
    }
    hit_at = at, fault_errno = error, counter = 0, is_full = 0;
    snprintf(root, sizeof root, "%s", folder);
    mode = how;
}

__attribute__((constructor)) static void from_environment(void) { /* for the programs that ours start: ffmpeg */
    const char *folder = getenv("FAULT_ROOT"), *at = getenv("FAULT_AT"), *how = getenv("FAULT_MODE");
    const char *program = getenv("FAULT_PROGRAM");
    char name[64] = "";
    int fd = REAL(open)("/proc/self/comm", O_RDONLY);
    if (fd >= 0) { (void)!read(fd, name, sizeof name - 1); close(fd); }
    if (folder && at && how && program && strstr(name, program))
        fault_arm(folder, getenv("FAULT_LOG"), atoi(at), atoi(how), atoi(getenv("FAULT_ERRNO")));
}

static int is_below(const char *path) {
    char whole[PATH_MAX];
    if (!root[0] || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        size_t length = strlen(whole);
        snprintf(whole + length, sizeof whole - length, "/%s", path);
        path = whole;
    }
    if (strncmp(path, root, strlen(root)) != 0) return 0;
    char next = path[strlen(root)];
    return next == '/' || !next;
}

static const char *path_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    buffer[length < 0 ? 0 : length] = 0;
    return buffer;
}

/* 1: the call must fail with errno; `is_growth` calls need room on the disk. */
static int hit(const char *call, const char *path, int is_growth, int fd, const void *bytes, size_t count) {
    if (mode == OFF || !is_below(path)) return 0;
    int number = __atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST);
    if (log_fd >= 0) dprintf(log_fd, "%d\t%s\t%s\n", number, call, path);
    int is_now = number == hit_at;
    if (!is_now && !(is_full && is_growth)) return 0;
    if (is_now && bytes && count > 1) (void)!REAL(write)(fd, bytes, count / 2);
    if (mode == KILL) { kill(getpid(), SIGKILL); for (;;) pause(); }
    if (mode == FAIL_ON) is_full = 1;
    errno = fault_errno;
    return 1;
}

#define HIT_PATH(call, path, growth) \
    do { \
        if (hit(call, path, growth, -1, 0, 0)) return -1; \
    } while (0)
#define HIT_FD(call, fd, growth, bytes, count) \
    do { \
        char buffer[PATH_MAX]; \
        if (mode != OFF && hit(call, path_of(fd, buffer), growth, fd, bytes, count)) return -1; \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fd != log_fd) HIT_FD("write", fd, 1, bytes, count);
    return REAL(write)(fd, bytes, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    HIT_FD("write", fd, 1, 0, 0);
    return REAL(pwrite)(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    HIT_FD("write", fd, 1, 0, 0);
    return REAL(pwrite64)(fd, bytes, count, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    HIT_FD("write", fd, 1, parts[0].iov_base, parts[0].iov_len);
    return REAL(writev)(fd, parts, count);
}
int ftruncate(int fd, off_t size) { HIT_FD("truncate", fd, 0, 0, 0); return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { HIT_FD("truncate", fd, 0, 0, 0); return REAL(ftruncate64)(fd, size); }
int fsync(int fd) { HIT_FD("fsync", fd, 0, 0, 0); return REAL(fsync)(fd); }
int fdatasync(int fd) { HIT_FD("fsync", fd, 0, 0, 0); return REAL(fdatasync)(fd); }
int fchmod(int fd, mode_t bits) { HIT_FD("chmod", fd, 0, 0, 0); return REAL(fchmod)(fd, bits); }
int chmod(const char *path, mode_t bits) { HIT_PATH("chmod", path, 0); return REAL(chmod)(path, bits); }
int fchmodat(int at, const char *path, mode_t bits, int flags) {
    HIT_PATH("chmod", path, 0);
    return REAL(fchmodat)(at, path, bits, flags);
}
int rename(const char *from, const char *to) { HIT_PATH("rename", to, 0); return REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    HIT_PATH("rename", to, 0);
    return REAL(renameat)(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    HIT_PATH("rename", to, 0);
    return REAL(renameat2)(a, from, b, to, flags);
}
int link(const char *from, const char *to) { HIT_PATH("link", to, 1); return REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    HIT_PATH("link", to, 1);
    return REAL(linkat)(a, from, b, to, flags);
}
int mkdir(const char *path, mode_t bits) { HIT_PATH("mkdir", path, 1); return REAL(mkdir)(path, bits); }
int mkdirat(int at, const char *path, mode_t bits) { HIT_PATH("mkdir", path, 1); return REAL(mkdirat)(at, path, bits); }
int unlink(const char *path) { HIT_PATH("unlink", path, 0); return REAL(unlink)(path); }
int unlinkat(int at, const char *path, int flags) { HIT_PATH("unlink", path, 0); return REAL(unlinkat)(at, path, flags); }
int rmdir(const char *path) { HIT_PATH("unlink", path, 0); return REAL(rmdir)(path); }

#define BITS(flags) ({ mode_t m = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list l; va_start(l, flags); m = va_arg(l, mode_t); va_end(l); } m; })
int open(const char *path, int flags, ...) {
    mode_t bits = BITS(flags);
    if (flags & O_CREAT) HIT_PATH("create", path, 1);
    return REAL(open)(path, flags, bits);
}
int open64(const char *path, int flags, ...) {
    mode_t bits = BITS(flags);
    if (flags & O_CREAT) HIT_PATH("create", path, 1);
    return REAL(open64)(path, flags, bits);
}
int openat(int at, const char *path, int flags, ...) {
    mode_t bits = BITS(flags);
    if (flags & O_CREAT) HIT_PATH("create", path, 1);
    return REAL(openat)(at, path, flags, bits);
}
int openat64(int at, const char *path, int flags, ...) {
    mode_t bits = BITS(flags);
    if (flags & O_CREAT) HIT_PATH("create", path, 1);
    return REAL(openat64)(at, path, flags, bits);
}

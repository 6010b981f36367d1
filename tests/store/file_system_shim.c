/* What poor file systems refuse, for LD_PRELOAD: SHIM is a list of words. Free to copy. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

static int on(const char *word) {
  const char *words = getenv("SHIM");
  return words && strstr(words, word);
}

static int refuse(int number) {
  errno = number;
  return -1;
}

/* Only files of the test: libraries are mapped too. */
static int is_ours(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return strstr(path, "/shim-here/") && !strstr(path, ".so");
}

int fsync(int fd) {
  struct stat about;
  if (on("allfsync")) return refuse(EINVAL);
  if (on("dirfsync") && !fstat(fd, &about) && S_ISDIR(about.st_mode)) return refuse(EINVAL);
  return REAL(int (*)(int), "fsync")(fd);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
  if (fd >= 0 && on("nommap") && is_ours(fd)) {
    errno = ENODEV;
    return MAP_FAILED;
  }
  return REAL(void *(*)(void *, size_t, int, int, int, off_t), "mmap")(at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
  return mmap(at, size, protection, flags, fd, offset);
}

int flock(int fd, int operation) {
  return on("flock") ? refuse(ENOLCK) : REAL(int (*)(int, int), "flock")(fd, operation);
}

int link(const char *from, const char *to) {
  return on("nolink") ? refuse(EPERM) : REAL(int (*)(const char *, const char *), "link")(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
  return on("nolink") ? refuse(EPERM)
                      : REAL(int (*)(int, const char *, int, const char *, int), "linkat")(a, from, b, to, flags);
}

int rename(const char *from, const char *to) {
  struct stat about;
  if (on("norename") || (on("renameover") && !stat(to, &about))) return refuse(on("norename") ? ENOSYS : EEXIST);
  return REAL(int (*)(const char *, const char *), "rename")(from, to);
}

int chmod(const char *path, mode_t mode) {
  return on("nochmod") ? refuse(EPERM) : REAL(int (*)(const char *, mode_t), "chmod")(path, mode);
}

int fchmodat(int fd, const char *path, mode_t mode, int flags) {
  return on("nochmod") ? refuse(EPERM)
                       : REAL(int (*)(int, const char *, mode_t, int), "fchmodat")(fd, path, mode, flags);
}

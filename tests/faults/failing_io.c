/* Preloaded into a process: from its n-th call on a file below a folder on, input and output fail, for so many calls.
 *
 * failing_io("/folder", n, how_many, kind) arms it, how_many = 0 only counts; failing_io_calls() says how many there were.
 * Calls that only read count and fail for EIO and for SIGKILL, not for a disk that is full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { IO_ERROR = 1, DISK_FULL = 2, SHORT_WRITE = 3, KILL = 4 };

static char folder[4096];
static long first, how_many, calls;
static int kind;

void failing_io(const char *below, long nth, long n, int what) {
    strncpy(folder, below, sizeof folder - 1);
    first = nth, how_many = n, kind = what, calls = 0;
}

long failing_io_calls(void) { return calls; }

static int is_below(const char *path) { return folder[0] && strncmp(path, folder, strlen(folder)) == 0; }

static int is_file_below(int fd) {
    char link[64], path[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_below(path);
}

/* What becomes of this call: 0 it succeeds, else it fails with that errno; -1 it writes half. */
static int fate(int writes) {
    if (!writes && (kind == DISK_FULL || kind == SHORT_WRITE)) return 0;
    calls++;
    if (how_many == 0 || calls < first || calls >= first + how_many) return 0;
    if (kind == KILL) raise(SIGKILL);
    if (kind == SHORT_WRITE && calls == first) return -1;
    return kind == IO_ERROR ? EIO : ENOSPC;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL_IF(below, writes) do { int e = (below) ? fate(writes) : 0; if (e > 0) { errno = e; return -1; } } while (0)

#define WRITE(name, parameters, half, whole)                                                                              \
    ssize_t name parameters {                                                                                             \
        REAL(name);                                                                                                       \
        int e = is_file_below(fd) ? fate(1) : 0;                                                                          \
        if (e > 0) { errno = e; return -1; }                                                                              \
        return e < 0 && n > 1 ? real half : real whole;                                                                   \
    }
WRITE(write, (int fd, const void *b, size_t n), (fd, b, n / 2), (fd, b, n))
WRITE(pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n / 2, at), (fd, b, n, at))
WRITE(pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n / 2, at), (fd, b, n, at))

#define CALL(type, name, parameters, arguments, below, writes)                                                            \
    type name parameters { REAL(name); FAIL_IF(below, writes); return real arguments; }
CALL(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), is_file_below(fd), 0)
CALL(ssize_t, pread, (int fd, void *b, size_t n, off_t at), (fd, b, n, at), is_file_below(fd), 0)
CALL(ssize_t, pread64, (int fd, void *b, size_t n, off64_t at), (fd, b, n, at), is_file_below(fd), 0)
CALL(int, fsync, (int fd), (fd), is_file_below(fd), 1)
CALL(int, fdatasync, (int fd), (fd), is_file_below(fd), 1)
CALL(int, ftruncate, (int fd, off_t n), (fd, n), is_file_below(fd), 1)
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n), is_file_below(fd), 1)
CALL(int, unlink, (const char *path), (path), is_below(path), 1)

#define OPEN(name)                                                                                                        \
    int name(const char *path, int flags, ...) {                                                                          \
        REAL(name);                                                                                                       \
        va_list more;                                                                                                     \
        va_start(more, flags);                                                                                            \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;                                         \
        va_end(more);                                                                                                     \
        FAIL_IF(is_below(path), (flags & O_CREAT) != 0);                                                                  \
        return real(path, flags, mode);                                                                                   \
    }
OPEN(open)
OPEN(open64)

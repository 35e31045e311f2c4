/* Preloaded: keeps a journal of what a process does to the files below one folder, and of what it made durable.

   POWER_FOLDER is the folder (its real path), POWER_JOURNAL an existing folder outside of it: each process writes its
   own file there, `<time>-<pid>`. A record is written after the call that it tells of has succeeded; calls and their
   records follow one another under one lock, so the order of the file is the order of the calls. An fsync is two
   records: only what came before the first is durable, and only if the second is there.

   Files are told apart by inode numbers, so that descriptors may be duplicated, inherited and sent. Seen are the calls
   that Python, SQLite and the embedded ClickHouse make through libc: not system calls made directly, stdio, memory
   that is mapped and written. A call on a file outside the folder costs one look at a table. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <dlfcn.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, LINK, ALLOCATE, EXCHANGE };
enum { UNKNOWN, OUTSIDE, INSIDE, INSIDE_SYNC };
enum { DESCRIPTORS = 1 << 20, MAGIC = 0x4c525750 };

struct record {
    uint32_t magic;
    uint16_t op;
    uint16_t mode;      /* st_mode of what was created; of WRITE: 1 if it was durable on return */
    uint16_t path;      /* bytes of the first path, relative to the folder */
    uint16_t to;        /* of the second */
    uint32_t data;
    uint64_t when_ns;   /* CLOCK_MONOTONIC */
    uint64_t inode;
    uint64_t at;        /* offset; length of TRUNCATE; number of a SYNC */
    uint64_t size;      /* of ALLOCATE */
};

static char folder[PATH_MAX], journal_folder[PATH_MAX];
static size_t folder_length;
static int journal = -1;
static pid_t journal_of;
static uint64_t syncs;
static unsigned char known[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The next definition of the same function. */
#define NEXT(result, name, ...) \
    static result (*next)(__VA_ARGS__); \
    if (!next) next = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static void fail(const char *what) {
    dprintf(2, "power shim: %s: %s\n", what, strerror(errno));
    abort();
}

static void open_journal(void) {
    char path[PATH_MAX + 64];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(path, sizeof path, "%s/%020llu-%d", journal_folder, (unsigned long long)now.tv_sec * 1000000000ull + now.tv_nsec,
             (int)getpid());
    int made = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (made < 0) fail(path);
    /* Out of the way of programs that close or use low numbers. */
    journal = (int)syscall(SYS_fcntl, made, F_DUPFD_CLOEXEC, 900);
    if (journal < 0) journal = made;
    else syscall(SYS_close, made);
    journal_of = getpid();
}

__attribute__((constructor)) static void begin(void) {
    const char *below = getenv("POWER_FOLDER"), *into = getenv("POWER_JOURNAL");
    if (!below || !into) return;
    if (strlen(below) >= PATH_MAX || strlen(into) >= PATH_MAX) return;
    strcpy(folder, below);
    strcpy(journal_folder, into);
    folder_length = strlen(folder);
    open_journal();
}

static void put(struct record *record, const char *path, const char *to, const struct iovec *data, int pieces, size_t bytes) {
    struct iovec out[3 + IOV_MAX];
    struct timespec now;
    int count = 0;
    size_t left = bytes;
    if (getpid() != journal_of) open_journal();
    clock_gettime(CLOCK_MONOTONIC, &now);
    record->magic = MAGIC;
    record->when_ns = (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
    record->path = path ? (uint16_t)strlen(path) : 0;
    record->to = to ? (uint16_t)strlen(to) : 0;
    record->data = (uint32_t)bytes;
    out[count++] = (struct iovec){record, sizeof *record};
    if (record->path) out[count++] = (struct iovec){(void *)path, record->path};
    if (record->to) out[count++] = (struct iovec){(void *)to, record->to};
    for (int i = 0; i < pieces && left && count < IOV_MAX; i++) {
        size_t take = data[i].iov_len < left ? data[i].iov_len : left;
        if (take) out[count++] = (struct iovec){data[i].iov_base, take};
        left -= take;
    }
    for (int first = 0; first < count;) {
        ssize_t done = syscall(SYS_writev, journal, out + first, count - first);
        if (done < 0) {
            if (errno == EINTR) continue;
            fail("journal");
        }
        while (first < count && (size_t)done >= out[first].iov_len) done -= (ssize_t)out[first++].iov_len;
        if (first < count) {
            out[first].iov_base = (char *)out[first].iov_base + done;
            out[first].iov_len -= (size_t)done;
        }
    }
}

/* The path below the folder, in `out`; NULL if it is not there. The last name is not followed if it is a link. */
static const char *below(int at, const char *path, char *out) {
    char whole[2 * PATH_MAX + 2], real[PATH_MAX];
    int kept = errno;
    const char *found = NULL;
    if (!folder_length || !path || !*path) return NULL;
    if (path[0] == '/') {
        if (strncmp(path, folder, folder_length)) return NULL;
        if (strlen(path) >= sizeof whole) return NULL;
        strcpy(whole, path);
    } else {
        char base[PATH_MAX];
        if (at == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) goto out;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t length = readlink(link, base, sizeof base - 1);
            if (length < 0) goto out;
            base[length] = 0;
        }
        if (strlen(base) + strlen(path) + 2 > PATH_MAX) goto out;
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    for (size_t end = strlen(whole); end > 1 && whole[end - 1] == '/';) whole[--end] = 0;
    char *name = strrchr(whole, '/');
    if (!strcmp(name, "/.") || !strcmp(name, "/..")) {
        if (!realpath(whole, real)) goto out;
    } else {
        *name = 0;
        if (!realpath(*whole ? whole : "/", real)) goto out;
        if (strlen(real) + strlen(name + 1) + 2 > sizeof real) goto out;
        strcat(real, "/");
        strcat(real, name + 1);
    }
    if (strncmp(real, folder, folder_length)) goto out;
    if (real[folder_length] == 0) found = strcpy(out, ".");
    else if (real[folder_length] == '/') found = strcpy(out, real + folder_length + 1);
out:
    errno = kept;
    return found;
}

static int is_inside(int fd) {
    if (!folder_length || fd < 0 || fd >= DESCRIPTORS) return 0;
    if (known[fd] == UNKNOWN) {
        char link[64], path[PATH_MAX];
        struct stat about;
        int kept = errno;
        known[fd] = OUTSIDE;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (!fstat(fd, &about) && (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) {
            ssize_t length = readlink(link, path, sizeof path - 1);
            if (length > (ssize_t)folder_length - 1 && !strncmp(path, folder, folder_length)) {
                int flags = fcntl(fd, F_GETFL);
                known[fd] = flags & O_DSYNC ? INSIDE_SYNC : INSIDE;
            }
        }
        errno = kept;
    }
    return known[fd] >= INSIDE;
}

static uint64_t inode(int fd) {
    struct stat about;
    return fstat(fd, &about) ? 0 : about.st_ino;
}

static void forget(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS) known[fd] = UNKNOWN;
}

/* The embedded ClickHouse is loaded so that it finds libc before us; it runs as well the other way round. */
void *dlopen(const char *path, int flags) {
    NEXT(void *, dlopen, const char *, int);
    return next(path, folder_length ? flags & ~RTLD_DEEPBIND : flags);
}

/* ---- opening and closing ---- */

static int opened(int at, const char *path, int flags, mode_t mode, int (*call)(int, const char *, int, mode_t)) {
    char name[PATH_MAX];
    const char *inside = below(at, path, name);
    struct stat about;
    if (!inside) {
        int fd = call(at, path, flags, mode);
        forget(fd);
        return fd;
    }
    pthread_mutex_lock(&lock);
    int kept = errno;
    int is_new = flags & O_CREAT && fstatat(at, path, &about, 0) != 0;
    errno = kept;
    int fd = call(at, path, flags, mode);
    kept = errno;
    if (fd >= 0 && !fstat(fd, &about)) {
        if (fd < DESCRIPTORS) known[fd] = flags & O_DSYNC ? INSIDE_SYNC : INSIDE;
        if (is_new) {
            struct record record = {.op = CREATE, .mode = (uint16_t)about.st_mode, .inode = about.st_ino};
            put(&record, inside, NULL, NULL, 0, 0);
        } else if (flags & O_TRUNC) {
            struct record record = {.op = TRUNCATE, .inode = about.st_ino};
            put(&record, NULL, NULL, NULL, 0, 0);
        }
    }
    errno = kept;
    pthread_mutex_unlock(&lock);
    return fd;
}

static int call_openat(int at, const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, last); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode, call_openat); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode, call_openat); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode, call_openat); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode, call_openat); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, call_openat); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    NEXT(int, close, int);
    forget(fd);
    return next(fd);
}

int dup2(int fd, int to) {
    NEXT(int, dup2, int, int);
    forget(to);
    return next(fd, to);
}

int dup3(int fd, int to, int flags) {
    NEXT(int, dup3, int, int, int);
    forget(to);
    return next(fd, to, flags);
}

int close_range(unsigned first, unsigned last, int flags) {
    NEXT(int, close_range, unsigned, unsigned, int);
    for (unsigned fd = first; fd <= last && fd < DESCRIPTORS; fd++) known[fd] = UNKNOWN;
    return next(first, last, flags);
}

/* ---- writing ---- */

/* `at` < 0: at the file's position, which the call has moved. */
static void wrote(int fd, off_t at, const struct iovec *data, int pieces, ssize_t bytes, int is_durable) {
    int kept = errno;
    if (bytes > 0) {
        if (at < 0) at = lseek(fd, 0, SEEK_CUR) - bytes;
        struct record record = {
            .op = WRITE, .mode = is_durable || known[fd] == INSIDE_SYNC, .inode = inode(fd), .at = (uint64_t)at};
        put(&record, NULL, NULL, data, pieces, (size_t)bytes);
    }
    errno = kept;
}

/* Data that passed us by: read it back. */
static void wrote_unseen(int fd, off_t at, ssize_t bytes) {
    int kept = errno;
    if (bytes > 0) {
        char link[64], buffer[65536];
        if (at < 0) at = lseek(fd, 0, SEEK_CUR) - bytes;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int again = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
        while (bytes > 0) {
            ssize_t got = syscall(SYS_pread64, again, buffer, bytes < (ssize_t)sizeof buffer ? (size_t)bytes : sizeof buffer, at);
            if (got <= 0) fail("reading back");
            struct iovec piece = {buffer, (size_t)got};
            wrote(fd, at, &piece, 1, got, 0);
            at += got;
            bytes -= got;
        }
        syscall(SYS_close, again);
    }
    errno = kept;
}

#define WRITING(call, at, data, pieces, durable) \
    pthread_mutex_lock(&lock); \
    ssize_t done = call; \
    wrote(fd, at, data, pieces, done, durable); \
    pthread_mutex_unlock(&lock); \
    return done

ssize_t write(int fd, const void *buffer, size_t size) {
    NEXT(ssize_t, write, int, const void *, size_t);
    if (!is_inside(fd)) return next(fd, buffer, size);
    struct iovec piece = {(void *)buffer, size};
    WRITING(next(fd, buffer, size), -1, &piece, 1, 0);
}

ssize_t writev(int fd, const struct iovec *data, int pieces) {
    NEXT(ssize_t, writev, int, const struct iovec *, int);
    if (!is_inside(fd)) return next(fd, data, pieces);
    WRITING(next(fd, data, pieces), -1, data, pieces, 0);
}

static ssize_t write_at(int fd, const void *buffer, size_t size, off_t at) {
    NEXT(ssize_t, pwrite64, int, const void *, size_t, off_t);
    if (!is_inside(fd)) return next(fd, buffer, size, at);
    struct iovec piece = {(void *)buffer, size};
    WRITING(next(fd, buffer, size, at), at, &piece, 1, 0);
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t at) { return write_at(fd, buffer, size, at); }
ssize_t pwrite64(int fd, const void *buffer, size_t size, off_t at) { return write_at(fd, buffer, size, at); }

static ssize_t write_gathered_at(int fd, const struct iovec *data, int pieces, off_t at, int flags) {
    NEXT(ssize_t, pwritev64v2, int, const struct iovec *, int, off_t, int);
    if (!is_inside(fd)) return next(fd, data, pieces, at, flags);
    WRITING(next(fd, data, pieces, at, flags), at, data, pieces, flags & (RWF_DSYNC | RWF_SYNC));
}

ssize_t pwritev(int fd, const struct iovec *data, int pieces, off_t at) { return write_gathered_at(fd, data, pieces, at, 0); }
ssize_t pwritev64(int fd, const struct iovec *data, int pieces, off_t at) { return write_gathered_at(fd, data, pieces, at, 0); }
ssize_t pwritev2(int fd, const struct iovec *data, int pieces, off_t at, int flags) { return write_gathered_at(fd, data, pieces, at, flags); }
ssize_t pwritev64v2(int fd, const struct iovec *data, int pieces, off_t at, int flags) { return write_gathered_at(fd, data, pieces, at, flags); }

static ssize_t sent(int fd, int from, off_t *at, size_t size) {
    NEXT(ssize_t, sendfile64, int, int, off_t *, size_t);
    if (!is_inside(fd)) return next(fd, from, at, size);
    pthread_mutex_lock(&lock);
    ssize_t done = next(fd, from, at, size);
    wrote_unseen(fd, -1, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t sendfile(int fd, int from, off_t *at, size_t size) { return sent(fd, from, at, size); }
ssize_t sendfile64(int fd, int from, off_t *at, size_t size) { return sent(fd, from, at, size); }

ssize_t copy_file_range(int from, off64_t *from_at, int fd, off64_t *at, size_t size, unsigned flags) {
    NEXT(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    if (!is_inside(fd)) return next(from, from_at, fd, at, size, flags);
    pthread_mutex_lock(&lock);
    off64_t first = at ? *at : -1;
    ssize_t done = next(from, from_at, fd, at, size, flags);
    wrote_unseen(fd, first, done);
    pthread_mutex_unlock(&lock);
    return done;
}

/* ---- size ---- */

static int truncated(int fd, off_t size) {
    NEXT(int, ftruncate64, int, off_t);
    if (!is_inside(fd)) return next(fd, size);
    pthread_mutex_lock(&lock);
    int done = next(fd, size), kept = errno;
    if (!done) {
        struct record record = {.op = TRUNCATE, .inode = inode(fd), .at = (uint64_t)size};
        put(&record, NULL, NULL, NULL, 0, 0);
    }
    errno = kept;
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

static int truncated_by_name(const char *path, off_t size) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int done = truncated(fd, size), kept = errno;
    close(fd);
    errno = kept;
    return done;
}

int truncate(const char *path, off_t size) { return truncated_by_name(path, size); }
int truncate64(const char *path, off_t size) { return truncated_by_name(path, size); }

static void allocated(int fd, int mode, off_t at, off_t size) {
    if (mode & FALLOC_FL_KEEP_SIZE && !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))) return;
    struct record record = {
        .op = ALLOCATE, .mode = (uint16_t)mode, .inode = inode(fd), .at = (uint64_t)at, .size = (uint64_t)size};
    put(&record, NULL, NULL, NULL, 0, 0);
}

static int allocating(int fd, int mode, off_t at, off_t size) {
    NEXT(int, fallocate64, int, int, off_t, off_t);
    if (!is_inside(fd)) return next(fd, mode, at, size);
    pthread_mutex_lock(&lock);
    int done = next(fd, mode, at, size), kept = errno;
    if (!done) allocated(fd, mode, at, size);
    errno = kept;
    pthread_mutex_unlock(&lock);
    return done;
}

int fallocate(int fd, int mode, off_t at, off_t size) { return allocating(fd, mode, at, size); }
int fallocate64(int fd, int mode, off_t at, off_t size) { return allocating(fd, mode, at, size); }
int posix_fallocate(int fd, off_t at, off_t size) { return allocating(fd, 0, at, size) ? errno : 0; }
int posix_fallocate64(int fd, off_t at, off_t size) { return allocating(fd, 0, at, size) ? errno : 0; }

/* ---- names ---- */

static int named(int op, int at, const char *path, int to_at, const char *to, int (*call)(int, const char *, int, const char *, int),
                 int flags) {
    char name[PATH_MAX], to_name[PATH_MAX];
    const char *inside = below(at, path, name), *to_inside = to ? below(to_at, to, to_name) : NULL;
    if (!inside && !to_inside) return call(at, path, to_at, to, flags);
    if (to && (!inside || !to_inside)) {
        errno = EXDEV; /* across the border: programs copy then, and that we see */
        return -1;
    }
    pthread_mutex_lock(&lock);
    int done = call(at, path, to_at, to, flags), kept = errno;
    if (!done) {
        struct stat about = {0};
        fstatat(to ? to_at : at, to ? to : path, &about, AT_SYMLINK_NOFOLLOW);
        struct record record = {.op = (uint16_t)op, .mode = (uint16_t)about.st_mode, .inode = about.st_ino};
        put(&record, inside, to_inside, NULL, 0, 0);
    }
    errno = kept;
    pthread_mutex_unlock(&lock);
    return done;
}

static int call_rename(int at, const char *path, int to_at, const char *to, int flags) {
    return (int)syscall(SYS_renameat2, at, path, to_at, to, flags);
}
static int call_unlink(int at, const char *path, int to_at, const char *to, int flags) {
    (void)to_at, (void)to;
    return (int)syscall(SYS_unlinkat, at, path, flags);
}
static int call_link(int at, const char *path, int to_at, const char *to, int flags) {
    return (int)syscall(SYS_linkat, at, path, to_at, to, flags);
}
static int call_mkdir(int at, const char *path, int to_at, const char *to, int mode) {
    (void)to_at, (void)to;
    return (int)syscall(SYS_mkdirat, at, path, mode);
}

#define RENAME_EXCHANGE_FLAG 2
int rename(const char *path, const char *to) { return named(RENAME, AT_FDCWD, path, AT_FDCWD, to, call_rename, 0); }
int renameat(int at, const char *path, int to_at, const char *to) { return named(RENAME, at, path, to_at, to, call_rename, 0); }
int renameat2(int at, const char *path, int to_at, const char *to, unsigned flags) {
    return named(flags & RENAME_EXCHANGE_FLAG ? EXCHANGE : RENAME, at, path, to_at, to, call_rename, (int)flags);
}
int unlink(const char *path) { return named(UNLINK, AT_FDCWD, path, 0, NULL, call_unlink, 0); }
int unlinkat(int at, const char *path, int flags) { return named(UNLINK, at, path, 0, NULL, call_unlink, flags); }
int rmdir(const char *path) { return named(UNLINK, AT_FDCWD, path, 0, NULL, call_unlink, AT_REMOVEDIR); }
int link(const char *path, const char *to) { return named(LINK, AT_FDCWD, path, AT_FDCWD, to, call_link, 0); }
int linkat(int at, const char *path, int to_at, const char *to, int flags) { return named(LINK, at, path, to_at, to, call_link, flags); }
int mkdir(const char *path, mode_t mode) { return named(CREATE, AT_FDCWD, path, 0, NULL, call_mkdir, (int)mode); }
int mkdirat(int at, const char *path, mode_t mode) { return named(CREATE, at, path, 0, NULL, call_mkdir, (int)mode); }

int remove(const char *path) {
    int done = unlink(path);
    return done && errno == EISDIR ? rmdir(path) : done;
}

/* ---- durability ---- */

static int synced(int fd, int (*call)(int)) {
    struct record record = {.op = SYNC_BEGIN, .inode = inode(fd)};
    pthread_mutex_lock(&lock);
    uint64_t number = record.at = ++syncs;
    put(&record, NULL, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    int done = call(fd), kept = errno;
    if (!done) {
        record.op = SYNC_END;
        record.at = number;
        pthread_mutex_lock(&lock);
        put(&record, NULL, NULL, NULL, 0, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = kept;
    return done;
}

int fsync(int fd) {
    NEXT(int, fsync, int);
    return is_inside(fd) ? synced(fd, next) : next(fd);
}

int fdatasync(int fd) {
    NEXT(int, fdatasync, int);
    return is_inside(fd) ? synced(fd, next) : next(fd);
}

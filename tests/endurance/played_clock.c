/* The clocks of one program, played: preloaded, it asks a page in memory what time it is.

   SLNG_EDGE_TEST_CLOCK names the page, which played_clock.py writes. Every clock is a straight line
   over the host's own: it may run faster, stop, or jump. Waits are held in slices and looked at
   again, so that one that has begun follows a clock that changes meanwhile. What the kernel and
   the C library time by themselves (TCP, SO_SNDTIMEO, the resolver) stays in real time.

   At a great speed a machine that gives the program no processor for a moment would be a device
   that stood still for long. Where the page says `forgiving`, such moments are left out of all
   clocks: each thread that waits looks every SLICE_NS, so a time in which none looked is one. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL
#define SLICE_NS 20000000LL /* the latest that a wait notices a clock that goes faster now */
#define STALL_NS 40000000LL

enum { REAL, MONOTONIC, BOOT, MEDIA, CLOCKS };

struct lines {
    int64_t host_ns;
    int64_t ns[CLOCKS];
    double rate[CLOCKS];
    int64_t forgiving;
    int64_t left_out_ns; /* written by the program, which is the only one of its page */
};
struct page {
    volatile uint32_t current, reserved;
    struct lines lines[2];
};

static struct page *page;
static int opened;
static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
static int64_t looked_ns;
static int (*next_clock_gettime)(clockid_t, struct timespec *);
static int (*next_clock_nanosleep)(clockid_t, int, const struct timespec *, struct timespec *);
static int (*next_sem_clockwait)(sem_t *, clockid_t, const struct timespec *);
static int (*next_cond_clockwait)(pthread_cond_t *, pthread_mutex_t *, clockid_t,
                                  const struct timespec *);
static int (*next_ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
static int (*next_pselect)(int, fd_set *, fd_set *, fd_set *, const struct timespec *,
                           const sigset_t *);
static int (*next_epoll_pwait)(int, struct epoll_event *, int, int, const sigset_t *);

static void find_next(void) {
    next_clock_nanosleep = dlsym(RTLD_NEXT, "clock_nanosleep");
    next_sem_clockwait = dlsym(RTLD_NEXT, "sem_clockwait");
    next_cond_clockwait = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    next_ppoll = dlsym(RTLD_NEXT, "ppoll");
    next_pselect = dlsym(RTLD_NEXT, "pselect");
    next_epoll_pwait = dlsym(RTLD_NEXT, "epoll_pwait");
    next_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
}

/* At the first call, which comes before there is a second thread: tcc knows no constructors. */
static void open_page(void) {
    const char *path = getenv("SLNG_EDGE_TEST_CLOCK");
    int file;
    void *mapped;

    find_next();
    opened = 1;
    if (!path || (file = open(path, O_RDWR | O_CLOEXEC)) < 0)
        return;
    mapped = mmap(0, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        page = mapped;
}

static int is_played(void) {
    if (!opened)
        open_page();
    return page != 0;
}

static int64_t ns_of(const struct timespec *at) { return at->tv_sec * NS + at->tv_nsec; }

static struct timespec timespec_of(int64_t ns) {
    struct timespec at;
    at.tv_sec = ns / NS;
    at.tv_nsec = ns % NS;
    if (at.tv_nsec < 0) {
        at.tv_nsec += NS;
        at.tv_sec -= 1;
    }
    return at;
}

static int64_t host_ns(void) {
    struct timespec now;
    next_clock_gettime(CLOCK_MONOTONIC, &now);
    return ns_of(&now);
}

static int which(clockid_t clock) {
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return REAL;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
        return MONOTONIC;
    case CLOCK_BOOTTIME:
        return BOOT;
    }
    return -1; /* a processor's clock */
}

static int64_t played_ns(int line) {
    struct lines *now;
    int64_t host, passed;
    pthread_mutex_lock(&looking); /* or a clock could be read out of order, and go back */
    now = &page->lines[page->current & 1];
    host = host_ns();
    if (now->forgiving && looked_ns > now->host_ns && host - looked_ns > STALL_NS)
        now->left_out_ns += host - looked_ns;
    looked_ns = host;
    passed = host - now->host_ns - now->left_out_ns;
    pthread_mutex_unlock(&looking);
    return now->ns[line] + (int64_t)((double)passed * now->rate[line]);
}

/* How long to wait in real time before looking again; 0 when `until_ns` has come. */
static int64_t slice_ns(int line, int64_t until_ns) {
    double rate = page->lines[page->current & 1].rate[line];
    int64_t left_ns = until_ns - played_ns(line);
    if (left_ns <= 0)
        return 0;
    if (rate <= 0 || left_ns / rate > SLICE_NS)
        return SLICE_NS;
    return (int64_t)(left_ns / rate) + 1;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!is_played() || which(clock) < 0)
        return next_clock_gettime(clock, at);
    *at = timespec_of(played_ns(which(clock)));
    return 0;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left) {
    int64_t until_ns, wait_ns;
    if (!is_played() || which(clock) < 0)
        return next_clock_nanosleep(clock, flags, at, left);
    until_ns = ns_of(at) + (flags & TIMER_ABSTIME ? 0 : played_ns(which(clock)));
    while ((wait_ns = slice_ns(which(clock), until_ns)) > 0) {
        struct timespec wait = timespec_of(wait_ns);
        int error = next_clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, 0);
        if (error) {
            if (left && !(flags & TIMER_ABSTIME))
                *left = timespec_of(until_ns - played_ns(which(clock)));
            return error;
        }
    }
    return 0;
}

int nanosleep(const struct timespec *wait, struct timespec *left) {
    errno = clock_nanosleep(CLOCK_MONOTONIC, 0, wait, left);
    return errno ? -1 : 0;
}

int usleep(useconds_t us) {
    struct timespec wait = timespec_of(us * 1000LL);
    return nanosleep(&wait, 0);
}

int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until) {
    if (!is_played())
        return next_sem_clockwait(semaphore, clock, until);
    for (;;) {
        int64_t wait_ns = slice_ns(which(clock), ns_of(until));
        struct timespec end = timespec_of(host_ns() + wait_ns);
        if (next_sem_clockwait(semaphore, CLOCK_MONOTONIC, &end) == 0)
            return 0;
        if (errno != ETIMEDOUT || wait_ns == 0)
            return -1;
    }
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    return sem_clockwait(semaphore, CLOCK_REALTIME, until);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
    if (!is_played())
        return next_cond_clockwait(condition, mutex, clock, until);
    for (;;) {
        int64_t wait_ns = slice_ns(which(clock), ns_of(until));
        struct timespec end = timespec_of(host_ns() + wait_ns);
        int error = next_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &end);
        if (error != ETIMEDOUT || wait_ns == 0)
            return error;
    }
}

/* Python makes its conditions with CLOCK_MONOTONIC; nothing else here waits with a time. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *until) {
    return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
}

int ppoll(struct pollfd *files, nfds_t count, const struct timespec *wait, const sigset_t *mask) {
    int64_t until_ns;
    if (!is_played() || !wait)
        return next_ppoll(files, count, wait, mask);
    until_ns = played_ns(MONOTONIC) + ns_of(wait);
    for (;;) {
        int64_t wait_ns = slice_ns(MONOTONIC, until_ns);
        struct timespec slice = timespec_of(wait_ns);
        int ready = next_ppoll(files, count, &slice, mask);
        if (ready != 0 || wait_ns == 0)
            return ready;
    }
}

int poll(struct pollfd *files, nfds_t count, int wait_ms) {
    struct timespec wait = timespec_of(wait_ms * 1000000LL);
    return ppoll(files, count, wait_ms < 0 ? 0 : &wait, 0);
}

int __poll_chk(struct pollfd *files, nfds_t count, int wait_ms, size_t size) {
    (void)size;
    return poll(files, count, wait_ms);
}

int pselect(int count, fd_set *read, fd_set *write, fd_set *except, const struct timespec *wait,
            const sigset_t *mask) {
    int64_t until_ns;
    fd_set kept[3], *sets[3];
    int i;
    if (!is_played() || !wait)
        return next_pselect(count, read, write, except, wait, mask);
    sets[0] = read, sets[1] = write, sets[2] = except;
    for (i = 0; i < 3; i++)
        if (sets[i])
            kept[i] = *sets[i];
    until_ns = played_ns(MONOTONIC) + ns_of(wait);
    for (;;) {
        int64_t wait_ns = slice_ns(MONOTONIC, until_ns);
        struct timespec slice = timespec_of(wait_ns);
        int ready = next_pselect(count, read, write, except, &slice, mask);
        if (ready != 0 || wait_ns == 0)
            return ready;
        for (i = 0; i < 3; i++)
            if (sets[i])
                *sets[i] = kept[i];
    }
}

int select(int count, fd_set *read, fd_set *write, fd_set *except, struct timeval *wait) {
    struct timespec exact;
    if (wait)
        exact = timespec_of(wait->tv_sec * NS + wait->tv_usec * 1000LL);
    return pselect(count, read, write, except, wait ? &exact : 0, 0);
}

int epoll_pwait(int epoll, struct epoll_event *events, int count, int wait_ms,
                const sigset_t *mask) {
    int64_t until_ns;
    if (!is_played() || wait_ms < 0)
        return next_epoll_pwait(epoll, events, count, wait_ms, mask);
    until_ns = played_ns(MONOTONIC) + wait_ms * 1000000LL;
    for (;;) {
        int64_t wait_ns = slice_ns(MONOTONIC, until_ns);
        int ready = next_epoll_pwait(epoll, events, count, (int)((wait_ns + 999999) / 1000000),
                                     mask);
        if (ready != 0 || wait_ns == 0)
            return ready;
    }
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int wait_ms) {
    return epoll_pwait(epoll, events, count, wait_ms, 0);
}

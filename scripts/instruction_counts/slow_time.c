/* Time that passes SLOW_TIME times as fast (0.25: four seconds are one), for a program that is counted
 * by something much slower than a processor: whatever it waits for, it waits for in its own time, and
 * the media, timeouts and pings of a minute still meet in a minute.
 *
 *     cc -shared -fPIC -O2 -o slow_time.so slow_time.c && SLOW_TIME=0.25 LD_PRELOAD=... PROGRAM
 *
 * The clocks that count on (CLOCK_MONOTONIC and its kin) are slowed, and every wait on them that
 * CPython makes. The time of day is as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL
#define LONGEST_UPTIME_S 500000000 /* a later moment is one of the time of day */

static double slow = 1.0;

__attribute__((constructor)) static void read_speed(void)
{
    const char *told = getenv("SLOW_TIME");
    slow = told ? atof(told) : 1.0;
    if (slow <= 0)
        abort();
}

static int is_slowed(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME ||
           clock == CLOCK_MONOTONIC_COARSE;
}

static struct timespec times(const struct timespec *at, double factor)
{
    int64_t ns = (int64_t)((double)(at->tv_sec * NS + at->tv_nsec) * factor);
    return (struct timespec){ns / NS, ns % NS};
}

/* All of it by the kernel's numbers and not by the library's functions: those are the ones below. */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && is_slowed(clock))
        *now = times(now, slow);
    return (int)failed;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *span, struct timespec *left)
{
    struct timespec longer = clock == CLOCK_REALTIME && (flags & TIMER_ABSTIME) ? *span : times(span, 1 / slow);
    if (syscall(SYS_clock_nanosleep, clock, flags, &longer, left) == 0)
        return 0;
    return errno; /* returned, as that function does */
}

int nanosleep(const struct timespec *span, struct timespec *left)
{
    struct timespec longer = times(span, 1 / slow);
    return (int)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &longer, left);
}

int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until)
{
    static int (*next)(sem_t *, clockid_t, const struct timespec *);
    struct timespec later = is_slowed(clock) ? times(until, 1 / slow) : *until;
    if (!next)
        next = dlsym(RTLD_NEXT, "sem_clockwait");
    return next(semaphore, clock, &later);
}

int pthread_cond_timedwait(pthread_cond_t *changed, pthread_mutex_t *guard, const struct timespec *until)
{
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec later = until->tv_sec < LONGEST_UPTIME_S ? times(until, 1 / slow) : *until;
    if (!next) /* the plain name is that of a predecessor on x86-64 */
        next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!next)
        next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return next(changed, guard, &later);
}

static const struct timespec *longer_ms(int ms, struct timespec *span)
{
    if (ms < 0)
        return NULL;
    *span = (struct timespec){ms / 1000, ms % 1000 * 1000000L};
    *span = times(span, 1 / slow);
    return span;
}

int poll(struct pollfd *watched, nfds_t count, int ms)
{
    struct timespec span;
    return (int)syscall(SYS_ppoll, watched, count, longer_ms(ms, &span), NULL, 0);
}

int epoll_wait(int queue, struct epoll_event *events, int count, int ms)
{
    return (int)syscall(SYS_epoll_pwait, queue, events, count, ms < 0 ? ms : (int)ceil(ms / slow), NULL, 0);
}

int select(int count, fd_set *in, fd_set *out, fd_set *odd, struct timeval *wait)
{
    struct timespec span;
    if (wait)
        span = (struct timespec){wait->tv_sec, wait->tv_usec * 1000L}, span = times(&span, 1 / slow);
    return (int)syscall(SYS_pselect6, count, in, out, odd, wait ? &span : NULL, NULL);
}

/* A wall clock that somebody sets while a program runs: preloaded, it adds an offset to what the
 * kernel says, read anew each time from a file that is mapped. All other clocks are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

static const volatile int64_t *offset_ns;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TALLY_TEST_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void *mapped;
    if (file < 0)
        return;
    mapped = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        offset_ns = mapped;
}

static struct timespec moved(struct timespec at, int64_t ns)
{
    int64_t fine = at.tv_nsec + ns % SECOND_NS;
    at.tv_sec += ns / SECOND_NS;
    if (fine < 0) {
        fine += SECOND_NS;
        at.tv_sec -= 1;
    } else if (fine >= SECOND_NS) {
        fine -= SECOND_NS;
        at.tv_sec += 1;
    }
    at.tv_nsec = fine;
    return at;
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int failed;
    if (real_clock_gettime == NULL)
        real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    failed = real_clock_gettime(clock, at);
    if (failed == 0 && offset_ns != NULL
        && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        *at = moved(*at, *offset_ns);
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return (time_t)-1;
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}

/* The kernel waits until a time of its own clock. CPython 3.10 has its locks wait this way. */
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    struct timespec real = offset_ns == NULL ? *until : moved(*until, -*offset_ns);
    if (real_sem_timedwait == NULL)
        real_sem_timedwait = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    return real_sem_timedwait(semaphore, &real);
}

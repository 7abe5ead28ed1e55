/* When preloaded, it moves the time of day by CLOCK_OFFSET_SECONDS, and lets it pass CLOCK_SPEED times as fast.
 * Monotonic clocks are unchanged.
 *
 * gettimeofday and timespec_get are unchanged too: Kafka's client computes from them the deadline of cnd_timedwait,
 * which the kernel compares with its own clock.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static long long start, offset, speed;

static long long nanoseconds(const struct timespec *time) {
    return time->tv_sec * SECOND + time->tv_nsec;
}

static long long number(const char *variable, long long absent) {
    const char *text = getenv(variable);
    return text ? atoll(text) : absent;
}

__attribute__((constructor)) static void read_variables(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    start = nanoseconds(&now);
    offset = number("CLOCK_OFFSET_SECONDS", 0) * SECOND;
    speed = number("CLOCK_SPEED", 1);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) {
        long long time = start + (nanoseconds(now) - start) * speed + offset;
        now->tv_sec = time / SECOND;
        now->tv_nsec = time % SECOND;
    }
    return failed;
}

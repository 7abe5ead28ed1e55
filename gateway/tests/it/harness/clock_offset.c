/* When preloaded, it moves the time of day by CLOCK_OFFSET_SECONDS. Monotonic clocks are unchanged.
 *
 * gettimeofday and timespec_get are unchanged too: Kafka's client computes from them the deadline of cnd_timedwait,
 * which the kernel compares with its own clock.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static time_t offset;

__attribute__((constructor)) static void read_offset(void) {
    const char *seconds = getenv("CLOCK_OFFSET_SECONDS");
    offset = seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME)
        now->tv_sec += offset;
    return failed;
}

/* How every floor counts: nanoseconds of each turn, and their median at the end, alone on a line. */
#include <time.h>

#include "require.h"

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static int compare(const void *left, const void *right) {
    long a = *(const long *)left, b = *(const long *)right;
    return (a > b) - (a < b);
}

static void print_median(long *taken, int turns) {
    qsort(taken, (size_t)turns, sizeof *taken, compare);
    printf("%ld\n", (taken[(turns - 1) / 2] + taken[turns / 2]) / 2);
}

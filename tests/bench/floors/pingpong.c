/* pingpong CHILD REQUEST-FILE TURNS: one kept child; a line is written, and read until the line feed of the reply. */
#include "spawn.h"

int main(int count, char **arguments) {
    static char request[65536], reply[65536];
    int turns = atoi(arguments[count - 1]), file = open(arguments[2], O_RDONLY);
    ssize_t length = read(file, request, sizeof request);
    require(length > 0, arguments[2]);
    long *taken = calloc((size_t)turns, sizeof *taken);
    struct child child = start(arguments[1]);
    for (int turn = -200; turn < turns; turn++) { /* some to warm up */
        long began = now();
        require(write(child.in, request, (size_t)length) == length, "write");
        size_t size = 0;
        while (size == 0 || reply[size - 1] != '\n') {
            ssize_t got = read(child.out, reply + size, sizeof reply - size);
            require(got > 0, "read");
            size += (size_t)got;
        }
        if (turn >= 0)
            taken[turn] = now() - began;
    }
    close(child.in);
    finish(child);
    print_median(taken, turns);
    return 0;
}

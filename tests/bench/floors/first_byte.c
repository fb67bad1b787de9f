/* first_byte CHILD REQUEST-FILE TURNS: pipes, posix_spawn, write, the first read of the reply. What comes after that is not counted. */
#include "spawn.h"

int main(int count, char **arguments) {
    static char request[65536], reply[65536];
    int turns = atoi(arguments[count - 1]), file = open(arguments[2], O_RDONLY);
    ssize_t length = read(file, request, sizeof request);
    require(length > 0, arguments[2]);
    long *taken = calloc((size_t)turns, sizeof *taken);
    for (int turn = -1; turn < turns; turn++) { /* one to warm up */
        long began = now();
        struct child child = start(arguments[1]);
        require(write(child.in, request, (size_t)length) == length, "write");
        close(child.in);
        require(read(child.out, reply, sizeof reply) > 0, "no reply");
        if (turn >= 0)
            taken[turn] = now() - began;
        while (read(child.out, reply, sizeof reply) > 0)
            ;
        finish(child);
    }
    print_median(taken, turns);
    return 0;
}

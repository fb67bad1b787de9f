/* large CHILD SIZE TURNS: that many bytes through a child that echoes them, through large pipes, into one growing buffer. */
#include "spawn.h"

#define PIPE (1024 * 1024)

int main(int count, char **arguments) {
    int turns = atoi(arguments[count - 1]);
    size_t length = (size_t)atol(arguments[2]);
    char *request = malloc(length);
    for (size_t at = 0; at < length; at++)
        request[at] = at + 1 < length ? 'x' : '\n';
    long *taken = calloc((size_t)turns, sizeof *taken);
    for (int turn = -1; turn < turns; turn++) { /* one to warm up */
        long began = now();
        struct child child = start(arguments[1]);
        fcntl(child.in, F_SETPIPE_SZ, PIPE);
        fcntl(child.out, F_SETPIPE_SZ, PIPE);
        fcntl(child.in, F_SETFL, O_NONBLOCK);
        size_t sent = 0, size = 0, room = PIPE;
        char *reply = malloc(room);
        struct pollfd ends[2] = {{child.out, POLLIN, 0}, {child.in, POLLOUT, 0}};
        for (ssize_t got = 1; got > 0;) {
            require(poll(ends, 2, -1) > 0, "poll");
            if (ends[1].revents) {
                ssize_t put = write(child.in, request + sent, length - sent);
                require(put > 0, "write");
                sent += (size_t)put;
                if (sent == length) {
                    close(child.in);
                    ends[1].fd = -1; /* poll passes over it */
                }
            }
            if (ends[0].revents) {
                if (size == room)
                    reply = realloc(reply, room *= 2);
                got = read(child.out, reply + size, room - size);
                size += got > 0 ? (size_t)got : 0;
            }
        }
        finish(child);
        require(size == length, "the echo differs");
        free(reply);
        if (turn >= 0)
            taken[turn] = now() - began;
    }
    print_median(taken, turns);
    return 0;
}

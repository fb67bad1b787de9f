/* pingpong_large CHILD SIZE TURNS: one kept child that echoes lines; that many bytes there and back, through large pipes, into one buffer. */
#include "spawn.h"

#define PIPE (1024 * 1024)

int main(int count, char **arguments) {
    int turns = atoi(arguments[count - 1]);
    size_t length = (size_t)atol(arguments[2]);
    char *request = malloc(length);
    for (size_t at = 0; at < length; at++)
        request[at] = at + 1 < length ? 'x' : '\n';
    long *taken = calloc((size_t)turns, sizeof *taken);
    struct child child = start(arguments[1]);
    fcntl(child.in, F_SETPIPE_SZ, PIPE);
    fcntl(child.out, F_SETPIPE_SZ, PIPE);
    fcntl(child.in, F_SETFL, O_NONBLOCK);
    for (int turn = -2; turn < turns; turn++) { /* two to warm up */
        long began = now();
        size_t sent = 0, size = 0, room = PIPE;
        char *reply = malloc(room);
        struct pollfd ends[2] = {{child.out, POLLIN, 0}, {child.in, POLLOUT, 0}};
        while (size < length) {
            require(poll(ends, 2, -1) > 0, "poll");
            if (ends[1].revents) {
                ssize_t put = write(child.in, request + sent, length - sent);
                require(put > 0, "write");
                sent += (size_t)put;
                if (sent == length)
                    ends[1].fd = -1; /* poll passes over it */
            }
            if (ends[0].revents) {
                if (size == room)
                    reply = realloc(reply, room *= 2);
                ssize_t got = read(child.out, reply + size, room - size);
                require(got > 0, "read");
                size += (size_t)got;
            }
        }
        require(size == length && reply[length - 1] == '\n', "the echo differs");
        free(reply);
        if (turn >= 0)
            taken[turn] = now() - began;
    }
    close(child.in);
    finish(child);
    print_median(taken, turns);
    return 0;
}

/* bootstrap_server CHILD EVENT-FILE TURNS: the Runtime API for one kept child. It asks, gets the event, posts its answer, and hears that it was taken. */
#include "spawn.h"
#include "listen.h"

int main(int count, char **arguments) {
    static char event[65536], invocation[sizeof event + 1024];
    int turns = atoi(arguments[count - 1]), file = open(arguments[2], O_RDONLY);
    ssize_t length = read(file, event, sizeof event);
    require(length > 0, arguments[2]);
    int size = snprintf(
        invocation, sizeof invocation,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        "Lambda-Runtime-Aws-Request-Id: 8f507cfc-xmpl-4697-b07a-ac58fc914c95\r\n"
        "Lambda-Runtime-Deadline-Ms: 1743896940000\r\n"
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:bench\r\n"
        "Lambda-Runtime-Trace-Id: Root=1-67f1c0de-1234567890abcdef12345678;Parent=53995c3f42cd8ad8;Sampled=0\r\n"
        "Date: Sat, 05 Apr 2025 23:48:30 GMT\r\nContent-Length: %zd\r\n\r\n%.*s",
        length, (int)length, event);
    long *taken = calloc((size_t)turns, sizeof *taken);
    int listener = listening();
    struct child child = start(arguments[1]);
    int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    require(accepted >= 0, "accept4");
    struct connection client = connection(accepted);
    for (int turn = -200; turn < turns; turn++) { /* some to warm up */
        long began = now();
        require(receive(&client) && memcmp(client.bytes, "GET ", 4) == 0, "no one asks");
        put(&client, invocation, (size_t)size);
        require(receive(&client) && memcmp(client.bytes, "POST ", 5) == 0 && client.body > 0, "no answer");
        put(&client, taken_in, sizeof taken_in - 1);
        if (turn >= 0)
            taken[turn] = now() - began;
    }
    require(receive(&client), "no one asks after the last"); /* so that nothing is unread when the connection ends */
    close(client.socket);
    close(child.in);
    finish(child);
    print_median(taken, turns);
    return 0;
}

/* HTTP/1.1 on a kept connection: one message after another, each as long as its Content-Length says. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "require.h"

struct connection {
    int socket;
    char *bytes; /* what has been read: head and body of the message, then whatever came after it */
    size_t held, room, head, body;
};

static struct connection connection(int socket) {
    struct connection made = {.socket = socket, .bytes = malloc(65536), .room = 65536};
    int on = 1;
    require(made.bytes && setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "a connection");
    return made;
}

/* The value of a header of the message that is held, or NULL. */
static const char *header(const struct connection *from, const char *name, size_t *length) {
    const size_t named = strlen(name);
    const char *line = from->bytes, *end = line + from->head - 2; /* the empty line */
    while ((line = (char *)memchr(line, '\n', (size_t)(end - line)) + 1) < end) {
        const char *until = memchr(line, '\r', (size_t)(end - line));
        if (!until || (size_t)(until - line) <= named || line[named] != ':' || strncasecmp(line, name, named) != 0)
            continue;
        line += named + 1;
        line += strspn(line, " \t");
        *length = (size_t)(until - line);
        return line;
    }
    return NULL;
}

static int read_more(struct connection *from) {
    if (from->held == from->room)
        require((from->bytes = realloc(from->bytes, from->room *= 2)) != NULL, "realloc");
    ssize_t got = recv(from->socket, from->bytes + from->held, from->room - from->held, 0);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) /* reset: the other end has left something unread */
        return 0;
    require(got > 0, "recv");
    from->held += (size_t)got;
    return 1;
}

/* Holds the next message; 0 where the connection ends instead. */
static int receive(struct connection *from) {
    static const char empty[] = "\r\n\r\n";
    from->held -= from->head + from->body;
    memmove(from->bytes, from->bytes + from->head + from->body, from->held);
    from->head = from->body = 0;
    const char *end;
    while (!(end = memmem(from->bytes, from->held, empty, sizeof empty - 1)))
        if (!read_more(from)) {
            require(from->held == 0, "half a head");
            return 0;
        }
    from->head = (size_t)(end - from->bytes) + sizeof empty - 1;
    size_t length;
    const char *said = header(from, "Content-Length", &length);
    from->body = said ? strtoul(said, NULL, 10) : 0;
    while (from->held < from->head + from->body)
        require(read_more(from), "half a body");
    return 1;
}

static void put(const struct connection *to, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(to->socket, bytes, length, MSG_NOSIGNAL);
        require(sent > 0, "send");
        bytes += sent;
        length -= (size_t)sent;
    }
}

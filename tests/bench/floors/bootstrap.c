/* The child of the bootstrap row: a custom runtime on one kept connection, which asks for the next invocation and answers it, until that ends. */
#include "http.h"

#include <netdb.h>

#define PATH "/2018-06-01/runtime/invocation/"

static int connected(const char *api) {
    char *host = strdup(api), *colon = strrchr(host, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    require(colon != NULL, api);
    *colon = 0;
    require(getaddrinfo(host, colon + 1, &hints, &found) == 0, api);
    int made = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(made >= 0 && connect(made, found->ai_addr, found->ai_addrlen) == 0, api);
    freeaddrinfo(found);
    free(host);
    return made;
}

int main(void) {
    static const char answer[] = "{\"statusCode\":200,\"body\":\"ok\"}";
    char next[512], reply[1024];
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    require(api != NULL, "AWS_LAMBDA_RUNTIME_API");
    struct connection server = connection(connected(api));
    int asked = snprintf(next, sizeof next, "GET " PATH "next HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n\r\n", api);
    require(asked < (int)sizeof next, api);
    for (;;) {
        put(&server, next, (size_t)asked);
        if (!receive(&server))
            return 0;
        size_t length;
        const char *id = header(&server, "Lambda-Runtime-Aws-Request-Id", &length);
        require(memcmp(server.bytes, "HTTP/1.1 200", 12) == 0 && id && server.body > 0, "no event");
        int said = snprintf(
            reply, sizeof reply,
            "POST " PATH "%.*s/response HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n"
            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
            (int)length, id, api, sizeof answer - 1, answer);
        require(said < (int)sizeof reply, "a long id");
        put(&server, reply, (size_t)said);
        if (!receive(&server))
            return 0;
        require(memcmp(server.bytes, "HTTP/1.1 202", 12) == 0, "the answer was not taken");
    }
}

/* Where a server of the Runtime API listens, and what it says when it has taken something in. */
#include "http.h"

#include <arpa/inet.h>

static const char taken_in[] =
    "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nDate: Sat, 05 Apr 2025 23:48:30 GMT\r\n"
    "Content-Length: 16\r\n\r\n{\"status\":\"OK\"}\n";

/* A port of its own, which whoever is started then finds in AWS_LAMBDA_RUNTIME_API. */
static int listening(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct timeval patience = {.tv_sec = 10};
    char api[32];
    int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(made >= 0 && bind(made, (struct sockaddr *)&address, size) == 0 && listen(made, 4) == 0, "listen");
    require(setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0, "SO_RCVTIMEO");
    require(getsockname(made, (struct sockaddr *)&address, &size) == 0, "getsockname");
    snprintf(api, sizeof api, "127.0.0.1:%d", ntohs(address.sin_port));
    require(setenv("AWS_LAMBDA_RUNTIME_API", api, 1) == 0, "setenv");
    return made;
}

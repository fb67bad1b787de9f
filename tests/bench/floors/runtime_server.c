/* runtime_server WHAT EVENT-FILE LEAST TURNS RUNTIME ARGUMENT…: the Runtime API for the runtime that it starts with that command line.

   It gives it the event, TURNS times and a half more before that to warm up, and takes its answers, of at least so many bytes. WHAT is printed:
     turn    nanoseconds from the event to the next question: how long the environment is busy with it;
     answer  nanoseconds from the event to the last byte of the answer: how long the caller waits;
     memory  bytes of the runtime's highest resident memory in those turns, above what it had when it asked for its first event.
   An error that the runtime posts, and its end, end this as well. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "listen.h"

#define NEXT "GET /2018-06-01/runtime/invocation/next "
#define ID "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
#define RESPONSE "POST /2018-06-01/runtime/invocation/" ID "/response "
#define DEADLINE "Lambda-Runtime-Deadline-Ms: "
#define REGISTER "POST /2020-01-01/extension/register "
#define PARKED "GET /2020-01-01/extension/event/next "
#define PATIENCE 60 /* seconds without a word from the runtime */
#define MOST 8

extern char **environ;

static pid_t runtime;

/* Whatever the runtime has started falls to us, and ends when its pipes do: nothing is left to others. */
static void end_runtime(void) {
    kill(runtime, SIGKILL);
    while (wait(NULL) > 0)
        ;
}

/* What it prints is no part of what we print. */
static void start_runtime(char **command) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 2, 1);
    require(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "PR_SET_CHILD_SUBREAPER");
    require(posix_spawn(&runtime, command[0], &actions, NULL, command, environ) == 0, command[0]);
    posix_spawn_file_actions_destroy(&actions);
    require(atexit(end_runtime) == 0, "atexit");
}

/* Bytes that a line of the runtime's /proc/…/status tells in kB. */
static long memory(const char *name) {
    char path[64], line[256];
    long kilobytes = -1;
    snprintf(path, sizeof path, "/proc/%d/status", runtime);
    FILE *status = fopen(path, "r");
    require(status != NULL, path);
    while (kilobytes < 0 && fgets(line, sizeof line, status))
        if (strncmp(line, name, strlen(name)) == 0)
            kilobytes = atol(line + strlen(name));
    fclose(status);
    require(kilobytes >= 0, name);
    return kilobytes * 1024;
}

/* The highest is counted from now on: what its start has taken at most is no part of it. */
static long memory_at_rest(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/clear_refs", runtime);
    int file = open(path, O_WRONLY);
    require(file >= 0 && write(file, "5", 1) == 1, path);
    close(file);
    return memory("VmRSS:");
}

struct server {
    int listener, process; /* the latter of the runtime, to see its end */
    int count;
    struct connection connections[MOST];
};

/* Holds the next request of a connection; 0 where that has ended, which then is forgotten. */
static int heard_from(struct server *server, int each) {
    struct connection *from = &server->connections[each];
    if (receive(from))
        return 1;
    close(from->socket);
    free(from->bytes);
    *from = server->connections[--server->count];
    return 0;
}

/* The next connection with a whole request; others stay open, as the one that is parked. */
static struct connection *heard(struct server *server) {
    for (;;) {
        struct pollfd ends[MOST + 2] = {{server->listener, POLLIN, 0}, {server->process, POLLIN, 0}};
        for (int each = 0; each < server->count; each++) {
            const struct connection *from = &server->connections[each];
            if (from->held > from->head + from->body) { /* it came with the one before */
                require(heard_from(server, each), "half a request");
                return &server->connections[each];
            }
            ends[2 + each] = (struct pollfd){from->socket, POLLIN, 0};
        }
        require(poll(ends, 2 + (nfds_t)server->count, PATIENCE * 1000) > 0, "the runtime says nothing");
        int each = 0;
        while (each < server->count && !ends[2 + each].revents)
            each++;
        if (each < server->count) {
            if (heard_from(server, each))
                return &server->connections[each];
        } else if (ends[0].revents) {
            int accepted = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
            require(accepted >= 0 && server->count < MOST, "accept4");
            server->connections[server->count++] = connection(accepted);
        } else
            require(0, "the runtime has ended");
    }
}

/* Takes so many bytes out, from behind the head. */
static void drop(struct connection *from, size_t length) {
    while (from->held - from->head < length) {
        length -= from->held - from->head;
        from->held = from->head;
        require(read_more(from), "half a chunk");
    }
    from->held -= length;
    memmove(from->bytes + from->head, from->bytes + from->head + length, from->held - from->head);
}

/* The length of the next line behind the head, with its end. */
static size_t line(struct connection *from) {
    const char *end;
    while (!(end = memmem(from->bytes + from->head, from->held - from->head, "\r\n", 2)))
        require(read_more(from), "half a line");
    return (size_t)(end - from->bytes) + 2 - from->head;
}

/* How long a body in chunks is, of which nothing is kept. A trailer would tell an error. */
static size_t chunks(struct connection *from) {
    for (size_t total = 0, size;; total += size) {
        size_t length = line(from);
        size = strtoul(from->bytes + from->head, NULL, 16);
        drop(from, length + size);
        require(line(from) == 2, "a trailer, or no end of a chunk");
        drop(from, 2);
        if (size == 0)
            return total;
    }
}

static int asks(const struct connection *from, const char *what) {
    return from->head > strlen(what) && memcmp(from->bytes, what, strlen(what)) == 0;
}

static size_t size_of_body(struct connection *from) {
    size_t length;
    return header(from, "Transfer-Encoding", &length) ? chunks(from) : from->body;
}

struct answer {
    char *bytes, *deadline;
    size_t length;
};

/* What NEXT is answered. It is made once; only the deadline is of each turn. */
static struct answer answer_of(const char *path) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: " ID "\r\n"
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:bench\r\n"
        "Lambda-Runtime-Trace-Id: Root=1-67f1c0de-1234567890abcdef12345678;Parent=53995c3f42cd8ad8;Sampled=0\r\n"
        DEADLINE "1743896940000\r\nDate: Sat, 05 Apr 2025 23:48:30 GMT\r\nContent-Length: %ld\r\n\r\n";
    struct answer made;
    FILE *file = fopen(path, "r");
    require(file && fseek(file, 0, SEEK_END) == 0, path);
    long length = ftell(file);
    require(length > 0 && (made.bytes = malloc((size_t)length + sizeof head + 32)) != NULL, path);
    int size = snprintf(made.bytes, sizeof head + 32, head, length);
    rewind(file);
    require(fread(made.bytes + size, 1, (size_t)length, file) == (size_t)length, path);
    fclose(file);
    made.deadline = strstr(made.bytes, DEADLINE) + strlen(DEADLINE);
    made.length = (size_t)(size + length);
    return made;
}

static void give(const struct connection *to, const struct answer *event) {
    char digits[16];
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    snprintf(digits, sizeof digits, "%013lld", (long long)(time.tv_sec + 30) * 1000);
    memcpy(event->deadline, digits, 13);
    put(to, event->bytes, event->length);
}

static void fail(const struct connection *from) {
    fprintf(stderr, "%.*s\n", (int)(from->head + from->body), from->bytes);
    exit(1);
}

int main(int count, char **arguments) {
    static const char registered[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        "Lambda-Extension-Identifier: 5ad2a2d4-6f0e-4b5e-9c1b-3a1de9d0a3c7\r\nDate: Sat, 05 Apr 2025 23:48:30 GMT\r\n"
        "Content-Length: 77\r\n\r\n"
        "{\"functionName\":\"bench\",\"functionVersion\":\"$LATEST\",\"handler\":\"shim.handler\"}";
    require(count > 5, "too few arguments");
    const char *what = arguments[1];
    struct answer event = answer_of(arguments[2]);
    size_t least = (size_t)atol(arguments[3]);
    int turns = atoi(arguments[4]), turn = -(turns / 2);
    long *turned = calloc((size_t)turns, sizeof *turned), *answered = calloc((size_t)turns, sizeof *answered);
    long began = 0, rest = 0;
    int has_answered = 1;
    struct server server = {.listener = listening()};
    start_runtime(arguments + 5);
    server.process = (int)syscall(SYS_pidfd_open, runtime, 0);
    require(server.process >= 0, "pidfd_open");
    for (;;) {
        struct connection *from = heard(&server);
        long at = now();
        if (asks(from, NEXT)) {
            require(has_answered, "no answer to the last one");
            if (!began)
                rest = memory_at_rest();
            else if (turn++ >= 0)
                turned[turn - 1] = at - began;
            if (turn == turns)
                break;
            has_answered = 0;
            began = now();
            give(from, &event);
        } else if (asks(from, RESPONSE)) {
            require(size_of_body(from) >= least, "the answer is short");
            if (turn >= 0)
                answered[turn] = now() - began;
            has_answered = 1;
            put(from, taken_in, sizeof taken_in - 1);
        } else if (asks(from, REGISTER))
            put(from, registered, sizeof registered - 1);
        else if (!asks(from, PARKED))
            fail(from);
    }
    if (strcmp(what, "memory") == 0)
        printf("%ld\n", memory("VmHWM:") - rest);
    else
        print_median(strcmp(what, "turn") == 0 ? turned : answered, turns);
    return 0;
}

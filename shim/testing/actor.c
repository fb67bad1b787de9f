/* A program that does what its arguments say, one after the other, so that tests can compose every way in which an executable behaves.
 *
 *   read:N          reads N bytes of standard input (or less, at its end)      read-all        reads to the end
 *   write:FD:HEX    writes these bytes                                         fill:FD:N       writes N times the letter x
 *   flood:FD        writes the letter x for ever                               copy            standard input to standard output
 *   close:FD        closes the descriptor                                      sleep:MS        sleeps; 0 is for ever
 *   exit:N          ends with that code                                        raise:N         sends itself that signal
 *   ignore:N        ignores that signal from now on                            stop            stops itself, as SIGSTOP does
 *   fork:MS         leaves a process in its group that holds all descriptors and sleeps
 *   leave:MS        the same, in a session of its own
 *   vanish:MS       the same, with an environment that was wiped and descriptors that were closed
 *   describe        writes as JSON what it was born with: descriptors, signals, arguments, environment, folder, session
 *
 * Without an exit it ends with code 0. A word that it does not know is exit code 99, a system call that failed 98. It needs only POSIX. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(void) { _exit(98); }

/* Writes all of it. A reader that has gone is no failure of ours: the action ends there. */
static int put(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -1;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static void nap(long ms) {
    struct timespec left = {ms / 1000, (ms % 1000) * 1000000L};
    if (ms == 0)
        for (;;) pause();
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

static void take(long length) { /* negative: all of it */
    static char buffer[65536];
    while (length != 0) {
        size_t want = length < 0 || length > (long)sizeof buffer ? sizeof buffer : (size_t)length;
        ssize_t got = read(0, buffer, want);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return;
        if (length > 0) length -= got;
    }
}

static void copy(void) {
    static char buffer[65536];
    for (;;) {
        ssize_t got = read(0, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || put(1, buffer, (size_t)got) != 0) return;
    }
}

static void write_hex(int fd, const char *hex) {
    size_t length = strlen(hex) / 2;
    char *bytes = malloc(length + 1);
    if (bytes == NULL) fail();
    for (size_t i = 0; i < length; i++) {
        unsigned value;
        if (sscanf(hex + 2 * i, "%2x", &value) != 1) fail();
        bytes[i] = (char)value;
    }
    put(fd, bytes, length);
    free(bytes);
}

static void fill(int fd, long long count) { /* negative: for ever */
    static char block[65536];
    memset(block, 'x', sizeof block);
    while (count != 0) {
        size_t length = count < 0 || count > (long long)sizeof block ? sizeof block : (size_t)count;
        if (put(fd, block, length) != 0) return;
        if (count > 0) count -= (long long)length;
    }
}

static void leave_behind(long ms, int own_session, int wiped, char *self) {
    int left[2]; /* its end of file tells us that a process that vanishes has vanished */
    if (pipe2(left, O_CLOEXEC) != 0) fail();
    pid_t pid = fork();
    if (pid < 0) fail();
    if (pid > 0) {
        char nothing;
        close(left[1]);
        if (wiped) while (read(left[0], &nothing, 1) < 0 && errno == EINTR) {}
        close(left[0]);
        return;
    }
    if (own_session) {
        setsid();
        if (fork() > 0) _exit(0); /* so that the one that stays is an orphan at once */
    }
    if (wiped) {
        char text[32];
        snprintf(text, sizeof text, "sleep:%ld", ms);
        for (int fd = 0; fd < 64; fd++)
            if (fd != left[1]) close(fd);
        char *arguments[] = {self, text, NULL}, *nothing[] = {NULL};
        execve(self, arguments, nothing);
        _exit(97);
    }
    close(left[0]);
    close(left[1]);
    nap(ms);
    _exit(0);
}

static void put_json_text(FILE *out, const char *text) {
    putc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') fprintf(out, "\\%c", *c);
        else if (*c < 0x20 || *c > 0x7e) fprintf(out, "\\u%04x", *c); /* a byte a character: Latin-1 */
        else putc(*c, out);
    }
    putc('"', out);
}

static void put_json_texts(FILE *out, char **texts) {
    putc('[', out);
    for (int i = 0; texts[i]; i++) {
        if (i) putc(',', out);
        put_json_text(out, texts[i]);
    }
    putc(']', out);
}

static void describe(char **argv) {
    char *text = NULL, folder[4096];
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    fputs("{\"descriptors\":[", out);
    int first = 1;
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) != -1) {
            fprintf(out, first ? "%d" : ",%d", fd);
            first = 0;
        }
    fputs("],\"signals\":{", out);
    FILE *status = fopen("/proc/self/status", "re");
    char line[256];
    first = 1;
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "Sig", 3) == 0 && strncmp(line, "SigQ", 4) != 0 && strlen(line) > 8) {
            fprintf(out, first ? "\"%.6s\":\"%.16s\"" : ",\"%.6s\":\"%.16s\"", line, line + 8);
            first = 0;
        }
    fprintf(out, "},\"pid\":%d,\"session\":%d,\"group\":%d,\"folder\":", getpid(), getsid(0), getpgrp());
    put_json_text(out, getcwd(folder, sizeof folder) ? folder : "");
    fputs(",\"arguments\":", out);
    put_json_texts(out, argv);
    fputs(",\"environment\":", out);
    put_json_texts(out, environ);
    fputs("}", out);
    fclose(out);
    put(1, text, length);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *word = argv[i], *colon = strchr(word, ':'), *second = colon ? strchr(colon + 1, ':') : NULL;
        size_t length = colon ? (size_t)(colon - word) : strlen(word);
        long number = colon ? strtol(colon + 1, NULL, 10) : 0;
        const char *rest = second ? second + 1 : "";
#define IS(name) (length == sizeof(name) - 1 && strncmp(word, name, length) == 0)
        if (IS("read")) take(number);
        else if (IS("read-all")) take(-1);
        else if (IS("write")) write_hex((int)number, rest);
        else if (IS("fill")) fill((int)number, strtoll(rest, NULL, 10));
        else if (IS("flood")) fill((int)number, -1);
        else if (IS("copy")) copy();
        else if (IS("close")) close((int)number);
        else if (IS("sleep")) nap(number);
        else if (IS("exit")) _exit((int)number);
        else if (IS("raise")) kill(getpid(), (int)number);
        else if (IS("ignore")) signal((int)number, SIG_IGN);
        else if (IS("stop")) raise(SIGSTOP);
        else if (IS("fork")) leave_behind(number, 0, 0, argv[0]);
        else if (IS("leave")) leave_behind(number, 1, 0, argv[0]);
        else if (IS("vanish")) leave_behind(number, 1, 1, argv[0]);
        else if (IS("describe")) describe(argv);
        else _exit(99);
    }
    return 0;
}

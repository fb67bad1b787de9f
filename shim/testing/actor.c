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
 *   await:N         waits for that signal, which does nothing else then        exit-if:N:FILE  ends with that code if the file is there
 *
 *   serve           does what each line of standard input says, until its end: the words of its first text "do":"…", separated by blanks.
 *                   The words of "early":"…" in its first 4,096 bytes are done when it has read those and the line goes on.
 *   reply:FD        writes the line that is being served                       answer:FD       writes {"id":its id,"value":its event}
 *   refuse:FD       writes {"id":its id,"error":its event}                     event:FD        writes its event, as its bytes are
 *   value:FD:HEX    writes {"id":its id,"value":these bytes}                   error:FD:HEX    writes {"id":its id,"error":these bytes}
 *   line            reads a line, of which the words above speak from then on; at the end of input it ends with code 0
 *   again:N         goes back to the N-th word, of which 0 is the first
 *   note:FILE       appends "PID start" to the file now, and then of each line that is served "PID begin TOKEN" and "PID end TOKEN",
 *                   TOKEN being its text "token":"…"
 *
 * What follows a second colon of `reply`, `answer`, `refuse` and `event`, and a third one of `value` and `error`, is bytes as those of `write`,
 * which are written with the line feed at once.
 * Of a line these words know no escapes: a text ends at the next quote. Without an exit it ends with code 0. A word that it does not know is
 * exit code 99, a system call that failed 98.
 *
 * A fake executable is this program with its words behind it: each ends with a NUL, then come their length as eight bytes, the lowest first, and
 * the eight bytes "shim-act". Then the arguments are not read. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
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

static void put_hex(FILE *out, const char *hex) {
    for (; hex[0] && hex[0] != ':'; hex += 2) {
        char digits[] = {hex[0], hex[1], 0}, *end; /* sscanf would look for the end of it all each time */
        putc((int)strtol(digits, &end, 16), out);
        if (end != digits + 2) fail();
    }
}

static void write_hex(int fd, const char *hex) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL) fail();
    put_hex(out, hex);
    if (fclose(out) != 0) fail();
    put(fd, text, length);
    free(text);
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

static const char *own_file(void) { return (const char *)getauxval(AT_EXECFN); }

static void leave_behind(long ms, int own_session, int wiped) {
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
        char without_name[] = "", *arguments[] = {without_name, text, NULL}, *nothing[] = {NULL};
        execve(own_file(), arguments, nothing);
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
    if (status) fclose(status);
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

enum { CHUNK = 4096 };
static struct {
    char *bytes;
    size_t length, room;
} input; /* what was read of standard input, from the line on that is being served */
static size_t served; /* the bytes of that line, as far as it was read, without its line feed */
static const char *noted;

static void note(const char *what, const char *token, size_t length) {
    char *text = NULL;
    size_t size = 0;
    int file = noted ? open(noted, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (noted == NULL) return;
    FILE *out = open_memstream(&text, &size);
    if (file < 0 || out == NULL) fail();
    fprintf(out, "%d %s%s%.*s\n", getpid(), what, length ? " " : "", (int)length, token);
    if (fclose(out) != 0 || put(file, text, size) != 0) fail();
    free(text);
    close(file);
}

/* The text that is the value of that name, which ends with its colon, in the first `within` bytes of the line; or NULL. */
static const char *text_of(const char *name, size_t within, size_t *length) {
    if (within > served) within = served;
    const char *start = within ? memmem(input.bytes, within, name, strlen(name)) : NULL, *behind = input.bytes + within;
    *length = 0;
    if (start == NULL) return NULL;
    for (start += strlen(name); start < behind && *start == ' ';) start++;
    const char *end = start < behind && *start == '"' ? memchr(start + 1, '"', (size_t)(behind - start) - 1) : NULL;
    if (end == NULL) return NULL;
    *length = (size_t)(end - start) - 1;
    return start + 1;
}

static void note_token(const char *what) {
    size_t length;
    const char *token = text_of("\"token\":", served, &length);
    note(what, token ? token : "", length);
}

/* The length of the JSON value that begins there and ends before `end`. */
static size_t length_of(const char *value, const char *end) {
    int depth = 0, quoted = 0;
    const char *c = value;
    for (; c < end; c++) {
        if (quoted && *c == '\\') c++;
        else if (*c == '"') quoted = !quoted;
        else if (quoted) continue;
        else if (*c == '{' || *c == '[') depth++;
        else if (depth == 0 && (*c == ',' || *c == '}')) break;
        else if (*c == '}' || *c == ']') depth--;
    }
    return (size_t)((c < end ? c : end) - value);
}

static void put_event(FILE *out) {
    const char *event = served ? memmem(input.bytes, served, "\"event\":", 8) : NULL;
    if (event == NULL) return;
    for (event += 8; event < input.bytes + served && *event == ' ';) event++;
    fwrite(event, 1, length_of(event, input.bytes + served), out);
}

/* Writes what the line that is being served has, and what else there is, at once: all of it (`what` is NULL), its event (""), or an envelope
 * that has under that name its event, or the bytes. */
static void respond(int fd, const char *what, const char *hex, int with_bytes) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL) fail();
    if (what == NULL) fwrite(input.bytes, 1, served, out);
    else if (*what == '\0') put_event(out);
    else {
        size_t size;
        const char *id = text_of("\"id\":", served, &size);
        fprintf(out, "{\"id\":\"%.*s\",\"%s\":", (int)size, id ? id : "", what);
        if (with_bytes) put_hex(out, hex);
        else put_event(out);
        putc('}', out);
    }
    putc('\n', out);
    if (with_bytes) hex = strchr(hex, ':') ? strchr(hex, ':') + 1 : "";
    put_hex(out, hex);
    if (fclose(out) != 0) fail();
    put(fd, text, length);
    free(text);
}

static void wait_for(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || sigwait(&set, &number) != 0) fail();
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static char **script;
static long next_word;
static void serve(char **argv);
static void take_line(char **argv);

static void act(char *word, char **argv) {
    char *colon = strchr(word, ':'), *second = colon ? strchr(colon + 1, ':') : NULL;
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
    else if (IS("exit-if") && access(rest, F_OK) == 0) _exit((int)number);
    else if (IS("exit-if")) return;
    else if (IS("raise")) kill(getpid(), (int)number);
    else if (IS("ignore")) signal((int)number, SIG_IGN);
    else if (IS("await")) wait_for((int)number);
    else if (IS("stop")) raise(SIGSTOP);
    else if (IS("fork")) leave_behind(number, 0, 0);
    else if (IS("leave")) leave_behind(number, 1, 0);
    else if (IS("vanish")) leave_behind(number, 1, 1);
    else if (IS("describe")) describe(argv);
    else if (IS("serve")) serve(argv);
    else if (IS("line")) take_line(argv);
    else if (IS("again") && number >= 0 && number < next_word) next_word = number;
    else if (IS("reply")) respond((int)number, NULL, rest, 0);
    else if (IS("event")) respond((int)number, "", rest, 0);
    else if (IS("answer")) respond((int)number, "value", rest, 0);
    else if (IS("refuse")) respond((int)number, "error", rest, 0);
    else if (IS("value")) respond((int)number, "value", rest, 1);
    else if (IS("error")) respond((int)number, "error", rest, 1);
    else if (IS("note")) note("start", noted = strdup(colon ? colon + 1 : ""), 0);
    else _exit(99);
}

static void act_all(const char *words, size_t length, char **argv) {
    char *copy = malloc(length + 1), *rest = NULL;
    if (copy == NULL) fail();
    memcpy(copy, words, length);
    copy[length] = '\0';
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) act(word, argv);
    free(copy);
}

/* Reads until there is a whole line; 0 at the end of input. */
static int read_line(char **argv) {
    int begun = 0;
    for (;;) {
        char *end = input.length > served ? memchr(input.bytes + served, '\n', input.length - served) : NULL;
        served = end ? (size_t)(end - input.bytes) : input.length;
        size_t length;
        const char *early = end || begun ? NULL : text_of("\"early\":", CHUNK, &length);
        if (!begun && (end || early)) {
            begun = 1;
            note_token("begin");
            if (early) act_all(early, length, argv);
        }
        if (end) return 1;
        if (input.room < input.length + CHUNK) {
            input.room = 2 * input.room + CHUNK;
            input.bytes = realloc(input.bytes, input.room);
            if (input.bytes == NULL) fail();
        }
        ssize_t got = read(0, input.bytes + input.length, CHUNK);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        input.length += (size_t)got;
    }
}

static void drop_line(void) {
    note_token("end");
    input.length -= served + 1;
    memmove(input.bytes, input.bytes + served + 1, input.length);
    served = 0;
}

static void take_line(char **argv) {
    static int has_line;
    if (has_line) drop_line();
    if (!read_line(argv)) _exit(0);
    has_line = 1;
}

static void serve(char **argv) {
    while (served = 0, read_line(argv)) {
        size_t length;
        const char *words = text_of("\"do\":", served, &length);
        if (words) act_all(words, length, argv);
        drop_line();
    }
}

/* The words behind this program, or NULL where there are none. */
static char **own_script(void) {
    static const char mark[] = "shim-act";
    unsigned char end[16];
    int file = open(own_file(), O_RDONLY | O_CLOEXEC);
    off_t size = file < 0 ? -1 : lseek(file, -16, SEEK_END);
    if (size < 0 || read(file, end, 16) != 16 || memcmp(end + 8, mark, 8) != 0) {
        close(file);
        return NULL;
    }
    size_t length = 0, words = 0, got = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | end[i];
    char *bytes = malloc(length + 1);
    if (bytes == NULL || lseek(file, size - (off_t)length, SEEK_SET) < 0) fail();
    while (got < length) {
        ssize_t more = read(file, bytes + got, length - got);
        if (more <= 0 && !(more < 0 && errno == EINTR)) fail();
        if (more > 0) got += (size_t)more;
    }
    close(file);
    for (size_t i = 0; i < length; i++) words += bytes[i] == '\0';
    char **found = calloc(words + 1, sizeof *found);
    if (found == NULL) fail();
    for (size_t i = 0, at = 0; i < words; at += strlen(found[i++]) + 1) found[i] = bytes + at;
    return found;
}

int main(int argc, char **argv) {
    int vanished = argc > 0 && argv[0][0] == '\0'; /* into a process that does what its arguments say */
    script = vanished ? NULL : own_script();
    if (script == NULL) script = argv + (argc > 0);
    while (script[next_word]) act(script[next_word++], argv);
    return 0;
}

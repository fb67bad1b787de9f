/* The child of the kept rows: answers each line that begins with {"id":"X" under that id, until its input ends; it passes over others.
   The whole line is held before it is answered, as a program that parses it must; the buffer grows once and stays for the lines after. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int answer(const char *line, const char *end) {
    static const char opening[] = "{\"id\":\"", value[] = "\",\"value\":{\"statusCode\":200,\"body\":\"ok\"}}\n";
    static char reply[256];
    const size_t before = sizeof opening - 1, after = sizeof value - 1;
    if ((size_t)(end - line) < before || memcmp(line, opening, before) != 0)
        return 1;
    const char *quote = memchr(line + before, '"', (size_t)(end - line) - before);
    if (!quote || (size_t)(quote - line) + after > sizeof reply)
        return 0;
    size_t length = (size_t)(quote - line);
    memcpy(reply, line, length); /* the answer begins as the line does */
    memcpy(reply + length, value, after);
    length += after;
    return write(1, reply, length) == (ssize_t)length;
}

int main(void) {
    size_t room = 65536, length = 0;
    char *buffer = malloc(room);
    for (;;) {
        if (length == room)
            buffer = realloc(buffer, room *= 2);
        if (!buffer)
            return 1;
        ssize_t got = read(0, buffer + length, room - length);
        if (got <= 0)
            return got < 0 || length > 0; /* half a line is a mistake of who wrote it */
        char *line = buffer, *unseen = buffer + length, *end = unseen + got, *feed;
        while ((feed = memchr(unseen, '\n', (size_t)(end - unseen)))) {
            if (!answer(line, feed))
                return 1;
            line = unseen = feed + 1;
        }
        length = (size_t)(end - line);
        if (line != buffer)
            memmove(buffer, line, length);
    }
}

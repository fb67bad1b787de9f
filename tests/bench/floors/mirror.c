/* The child of the large kept rows: answers the line {"id":…,"event":E,…} with {"id":…,"value":E,…}, which is as long. Until its input ends. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    size_t room = 65536, length = 0;
    char *line = malloc(room);
    for (;;) {
        if (length == room)
            line = realloc(line, room *= 2);
        if (!line)
            return 1;
        ssize_t got = read(0, line + length, room - length);
        if (got <= 0)
            return got < 0 || length > 0;
        length += (size_t)got;
        if (line[length - 1] != '\n')
            continue;
        char *member = memmem(line, length < 256 ? length : 256, "\"event\":", 8);
        if (!member)
            return 1;
        memcpy(member, "\"value\":", 8);
        for (size_t put = 0; put < length;) {
            ssize_t now = write(1, line + put, length - put);
            if (now <= 0)
                return 1;
            put += (size_t)now;
        }
        length = 0;
    }
}

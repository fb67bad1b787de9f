/* The child of the warm row: answers each line with one small JSON line, until its input ends. */
#include <unistd.h>

int main(void) {
    static char line[65536];
    static const char answer[] = "{\"statusCode\":200,\"body\":\"ok\"}\n";
    size_t length = 0;
    for (;;) {
        ssize_t got = read(0, line + length, sizeof line - length);
        if (got <= 0)
            return got < 0;
        length += (size_t)got;
        if (line[length - 1] != '\n')
            continue;
        length = 0;
        if (write(1, answer, sizeof answer - 1) != sizeof answer - 1)
            return 1;
    }
}

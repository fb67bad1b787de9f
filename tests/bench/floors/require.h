/* What a program of these does when something that must hold doesn't. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

static void require(int holds, const char *what) {
    if (!holds) {
        perror(what);
        exit(1);
    }
}

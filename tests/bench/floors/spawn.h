/* A child with two pipes, as a plain C program starts one. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

extern char **environ;

struct child {
    pid_t pid;
    int in, out; /* our ends */
};

static struct child start(char *path) {
    struct child child;
    int in[2], out[2];
    require(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    char *arguments[] = {path, NULL};
    require(posix_spawn(&child.pid, path, &actions, NULL, arguments, environ) == 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    child.in = in[1];
    child.out = out[0];
    return child;
}

static void finish(struct child child) {
    int status;
    struct rusage usage;
    close(child.out);
    require(wait4(child.pid, &status, 0, &usage) == child.pid && status == 0, "the child failed");
}

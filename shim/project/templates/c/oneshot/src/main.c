/* Mode oneshot: the program is started for each event. It reads one line, {"event": …, "context": …, "shim": 1}, writes its answer as JSON,
 * and ends. A failure is an answer with an errorType, and an exit code other than 0. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>

#include "answer.h"
#include "json.h"

int main(void)
{
	struct failure failure;
	json_error_t error;
	json_t *request, *event, *reply = NULL;
	char *line = NULL;
	size_t room = 0;
	ssize_t length = getline(&line, &room, stdin);
	int code = 0;

	if (length == -1) {
		fputs("{{name}}: there is no line on standard input\n", stderr);
		free(line);
		return 1;
	}
	request = read_json(line, (size_t)length, &error);
	event = json_object_get(request, "event");
	free(line);
	if (event != NULL) {
		reply = answer(event, &failure);
	} else {
		/* No JSON, or some that jansson does not take: half a surrogate pair, a number of more than 64 bits. */
		failure.type = "EventUnknown";
		snprintf(failure.message, sizeof failure.message, "the line can't be read: %s", request ? "it has no event" : error.text);
		fprintf(stderr, "{{name}}: %s\n", failure.message);
	}
	if (reply == NULL) {
		code = 1;
		reply = json_pack("{s:s, s:s}", "errorType", failure.type, "errorMessage", failure.message);
	}
	/* What is written is in a buffer first: only the flush tells whether it has arrived. */
	if (json_dumpf(reply, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF || fflush(stdout) != 0) {
		perror("{{name}}: standard output");
		code = 1;
	}
	json_decref(reply);
	json_decref(request);
	return code;
}

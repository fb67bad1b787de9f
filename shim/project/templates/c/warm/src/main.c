/* Mode warm: the program is kept. For each line {"id": …, "event": …, "context": …, "shim": 1} it writes one, {"id": …, "value": …} or
 * {"id": …, "error": …}, until its input ends. What costs time once, such as reading a model, belongs before the loop. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "json.h"

/* Some JSON jansson does not take: a number of more than 64 bits, more than 2,048 levels, half a surrogate pair. */
static int is_odd(const json_error_t *error)
{
	switch (json_error_code(error)) {
	case json_error_numeric_overflow:
	case json_error_stack_overflow:
		return 1;
	default:
		return strncmp(error->text, "invalid Unicode '", 17) == 0;
	}
}

/* The id of a line with such JSON in it, which is failed like any other request: the id is in front. */
static json_t *id_in_front(const char *line)
{
	int at = 0;

	sscanf(line, " { \"id\" : %n", &at);
	return at > 0 ? json_loads(line + at, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, NULL) : NULL;
}

static json_t *answer_line(char *line, size_t length)
{
	struct failure failure = {"EventUnknown", "the line has no event"};
	const char *why = "there is no memory left";
	json_error_t error;
	json_t *request = read_json(line, length, &error), *event = json_object_get(request, "event");
	json_t *id = NULL, *value = NULL, *reply = NULL;

	if (request != NULL) {
		id = json_incref(json_object_get(request, "id"));
	} else if (is_odd(&error)) {
		id = id_in_front(line);
		snprintf(failure.message, sizeof failure.message, "the line can't be read: %s", error.text);
	}
	if (event != NULL)
		value = answer(event, &failure);
	if (!json_is_string(id))
		why = request ? "it has no id" : error.text;
	else if (value != NULL)
		reply = json_pack("{s:O, s:O}", "id", id, "value", value);
	else
		reply = json_pack("{s:O, s:{s:s, s:s}}", "id", id, "error", "errorType", failure.type, "errorMessage", failure.message);
	if (reply == NULL)
		fprintf(stderr, "{{name}}: a line can't be answered: %s\n", why);
	json_decref(value);
	json_decref(id);
	json_decref(request);
	return reply;
}

int main(void)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length;

	while ((length = getline(&line, &room, stdin)) != -1) {
		json_t *reply = answer_line(line, (size_t)length);

		if (reply == NULL)
			return 1;
		/* The next line comes only after the reply, which must not wait in a buffer. */
		if (json_dumpf(reply, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF || fflush(stdout) != 0) {
			perror("{{name}}: standard output");
			return 1;
		}
		json_decref(reply);
	}
	if (!feof(stdin)) {
		perror("{{name}}: standard input");
		return 1;
	}
	free(line);
	return 0;
}

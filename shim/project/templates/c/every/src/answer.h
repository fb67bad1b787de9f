/* What the function does, in whatever way it is asked. */
#ifndef ANSWER_H
#define ANSWER_H

#include <jansson.h>

/* Why there is no answer. The caller gets both. Step Functions match on the type, which is one word. */
struct failure {
	const char *type;
	char message[256];
};

/* The answer to an event, which is the caller's to json_decref; or NULL, and why. */
json_t *answer(json_t *event, struct failure *failure);

#endif

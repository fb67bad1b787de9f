/* Reads JSON. */
#ifndef JSON_H
#define JSON_H

#include <jansson.h>

/* The value of a text, with a NUL behind its end; or NULL, and what is wrong. The text may be changed. */
json_t *read_json(char *text, size_t length, json_error_t *error);

#endif

/* What jansson reads is not quite all that is JSON. Lambda hands over more. */
#include <string.h>

#include "json.h"

/* Replaces NUL in the names of members, which jansson refuses (web requests can have such parameters), by U+FFFD, which is written as long. */
static void replace_nul_in_names(char *text, size_t length)
{
	size_t at, begin, end;

	for (at = 0; at < length; at++) {
		if (text[at] != '"')
			continue;
		begin = at++;
		while (at < length && text[at] != '"')
			at += text[at] == '\\' ? 2 : 1;
		if (at >= length)
			return;
		end = at + 1 + strspn(text + at + 1, " \t\r\n");
		if (text[end] != ':')
			continue;
		for (; begin < at; begin += text[begin] == '\\' ? 2 : 1) {
			if (strncmp(text + begin, "\\u0000", 6) == 0)
				memcpy(text + begin + 2, "fffd", 4);
		}
	}
}

json_t *read_json(char *text, size_t length, json_error_t *error)
{
	json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, error);

	if (value == NULL && json_error_code(error) == json_error_null_byte_in_key) {
		replace_nul_in_names(text, length);
		value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, error);
	}
	return value;
}

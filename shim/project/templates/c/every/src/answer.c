/* What the function does: it lists the objects of an S3 event, and counts the text of a web request. Change it to what yours shall do.
 *
 * Strings of an event may contain NUL, so each goes with its length. */
#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"

static json_t *fail(struct failure *failure, const char *type, const char *format, ...)
{
	va_list arguments;

	failure->type = type;
	va_start(arguments, format);
	vsnprintf(failure->message, sizeof failure->message, format, arguments);
	va_end(arguments);
	return NULL;
}

static int digit(char byte)
{
	return isdigit((unsigned char)byte) ? byte - '0' : tolower((unsigned char)byte) - 'a' + 10;
}

/* S3 encodes a key as a browser does a form: + is a blank, %XX a byte. What is decoded is no longer than what was encoded. */
static size_t decode_key(const char *key, size_t length, char *decoded)
{
	size_t from, to = 0;

	for (from = 0; from < length; from++) {
		if (key[from] == '+') {
			decoded[to++] = ' ';
		} else if (key[from] == '%' && length - from > 2 && isxdigit((unsigned char)key[from + 1]) &&
			   isxdigit((unsigned char)key[from + 2])) {
			decoded[to++] = (char)(digit(key[from + 1]) * 16 + digit(key[from + 2]));
			from += 2;
		} else {
			decoded[to++] = key[from];
		}
	}
	return to;
}

/* Standard error is the log, and tells what was done. */
static void log_object(const char *bucket, size_t bucket_length, const char *key, size_t key_length, json_int_t bytes)
{
	fputs("s3://", stderr);
	fwrite(bucket, 1, bucket_length, stderr);
	fputc('/', stderr);
	fwrite(key, 1, key_length, stderr);
	fprintf(stderr, " has %" JSON_INTEGER_FORMAT " bytes\n", bytes);
}

static json_t *list_object(json_t *record, struct failure *failure)
{
	const char *bucket, *encoded;
	size_t bucket_length, encoded_length, length;
	json_int_t bytes = 0; /* a deletion has no size */
	json_error_t error;
	json_t *object;
	char *key;

	if (json_unpack_ex(record, &error, 0, "{s:{s:{s:s%}, s:{s:s%, s?I}}}", "s3", "bucket", "name", &bucket, &bucket_length,
			   "object", "key", &encoded, &encoded_length, "size", &bytes) != 0)
		return json_error_code(&error) == json_error_out_of_memory
			? NULL
			: fail(failure, "EventUnknown", "a record is not as S3 sends it: %s", error.text);
	if (bytes < 0)
		return fail(failure, "EventUnknown", "an object has a negative size");

	key = malloc(encoded_length + 1);
	if (key == NULL)
		return NULL;
	length = decode_key(encoded, encoded_length, key);
	object = json_pack_ex(&error, 0, "{s:s%, s:s%, s:I}", "bucket", bucket, bucket_length, "key", key, length, "bytes", bytes);
	if (object != NULL)
		log_object(bucket, bucket_length, key, length, bytes);
	else if (json_error_code(&error) == json_error_invalid_utf8)
		fail(failure, "EventUnknown", "a key is not UTF-8");
	free(key);
	return object;
}

static json_t *list_objects(json_t *records, struct failure *failure)
{
	json_t *objects = json_array(), *record;
	json_int_t sum = 0;
	size_t index;

	json_array_foreach(records, index, record) {
		json_t *object = list_object(record, failure);
		json_int_t bytes = json_integer_value(json_object_get(object, "bytes"));

		if (json_array_append_new(objects, object) != 0) {
			json_decref(objects);
			return NULL;
		}
		if (bytes > LLONG_MAX - sum) {
			json_decref(objects);
			return fail(failure, "EventUnknown", "the sizes have too large a sum");
		}
		sum += bytes;
	}
	return json_pack("{s:o, s:I}", "objects", objects, "bytes", sum);
}

/* Decodes base64 to at most length / 4 * 3 bytes. Returns how many they are, or -1 where it is none. */
static long decode_base64(const char *text, size_t length, unsigned char *bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t padding = 0, from, to = 0;
	unsigned long group = 0;

	if (length % 4 != 0)
		return -1;
	while (padding < 2 && padding < length && text[length - padding - 1] == '=')
		padding++;
	for (from = 0; from < length; from++) {
		const char *digit = from < length - padding ? memchr(digits, text[from], 64) : digits;

		if (digit == NULL)
			return -1;
		group = group << 6 | (unsigned long)(digit - digits);
		if (from % 4 == 3) {
			bytes[to++] = group >> 16 & 255;
			bytes[to++] = group >> 8 & 255;
			bytes[to++] = group & 255;
		}
	}
	while (padding-- > 0) {
		if (bytes[--to] != 0) /* bits that belong to no byte */
			return -1;
	}
	return (long)to;
}

/* Counts as wc does. */
static json_t *count_text(const unsigned char *text, size_t length)
{
	size_t index, lines = 0, words = 0;
	int in_word = 0;
	char counts[100];

	for (index = 0; index < length; index++) {
		int is_space = isspace(text[index]) != 0;

		lines += text[index] == '\n';
		words += !in_word && !is_space;
		in_word = !is_space;
	}
	/* Lambda wants the body of a response as a text, so this is JSON within JSON. */
	snprintf(counts, sizeof counts, "{\"lines\":%zu,\"words\":%zu,\"bytes\":%zu}", lines, words, length);
	return json_pack("{s:i, s:{s:s}, s:s}", "statusCode", 200, "headers", "content-type", "application/json", "body", counts);
}

static json_t *count_body(json_t *event, struct failure *failure)
{
	json_t *body = json_object_get(event, "body"), *response;
	json_t *is_encoded = json_object_get(event, "isBase64Encoded");
	const char *text = json_string_value(body);
	size_t length = json_string_length(body);
	unsigned char *bytes;
	long decoded;

	if (body != NULL && !json_is_string(body) && !json_is_null(body))
		return fail(failure, "EventUnknown", "the body is no text");
	if (is_encoded != NULL && !json_is_boolean(is_encoded))
		return fail(failure, "EventUnknown", "isBase64Encoded is neither true nor false");
	if (!json_is_true(is_encoded))
		return count_text((const unsigned char *)text, length);

	bytes = malloc(length + 1);
	if (bytes == NULL)
		return NULL;
	decoded = decode_base64(text, length, bytes);
	response = decoded < 0 ? fail(failure, "EventUnknown", "the body is no base64") : count_text(bytes, (size_t)decoded);
	free(bytes);
	return response;
}

static int are_from_s3(json_t *records)
{
	json_t *record;
	size_t index;

	json_array_foreach(records, index, record) {
		if (json_object_get(record, "s3") == NULL)
			return 0;
	}
	return json_array_size(records) > 0;
}

json_t *answer(json_t *event, struct failure *failure)
{
	json_t *records = json_object_get(event, "Records");
	json_t *request = json_object_get(json_object_get(event, "requestContext"), "http");

	fail(failure, "OutOfMemory", "there is no memory left"); /* unless another reason is known */
	if (are_from_s3(records))
		return list_objects(records, failure);
	if (json_is_object(request))
		return count_body(event, failure);
	return fail(failure, "EventUnknown", "the event is neither an S3 event nor a web request");
}

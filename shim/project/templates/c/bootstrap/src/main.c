/* Mode bootstrap: the program speaks Lambda's Runtime API. It asks for the next invocation, posts a response or an error, and asks again, until it
 * is ended. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html */
#define _POSIX_C_SOURCE 200809L
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "answer.h"
#include "json.h"

enum { OK = 200, ACCEPTED = 202 };

static void give_up(const char *what, const char *why)
{
	fprintf(stderr, "{{name}}: %s: %s\n", what, why);
	exit(1); /* Lambda starts another */
}

/* Sends a GET, or a POST of what is to be sent, and returns the status. The body of the response is the caller's to free. */
static long call(CURL *curl, const char *path, struct curl_slist *headers, const char *sent, char **received, size_t *length)
{
	char url[1024];
	long status = 0;
	CURLcode code;
	FILE *body = open_memstream(received, length);

	if (body == NULL)
		give_up(path, "there is no memory left");
	if (snprintf(url, sizeof url, "http://%s/2018-06-01/runtime/%s", getenv("AWS_LAMBDA_RUNTIME_API"), path) >= (int)sizeof url)
		give_up(path, "the URL is too long");
	curl_easy_reset(curl); /* the connection stays open */
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	if (sent != NULL)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, sent);
	code = curl_easy_setopt(curl, CURLOPT_URL, url);
	if (code == CURLE_OK)
		code = curl_easy_perform(curl); /* as long as it takes: the next invocation may come tomorrow */
	if (code != CURLE_OK)
		give_up(path, curl_easy_strerror(code));
	if (fclose(body) != 0)
		give_up(path, "there is no memory left");
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static void post(CURL *curl, const char *path, struct curl_slist *headers, const json_t *value)
{
	/* Else curl would ask, before it sends a large body, and wait for a second. */
	struct curl_slist expect = {"Expect:", headers}, type = {"Content-Type: application/json", &expect};
	char *sent = json_dumps(value, JSON_COMPACT), *received;
	size_t length;
	long status;

	if (sent == NULL)
		give_up(path, "there is no memory left");
	status = call(curl, path, &type, sent, &received, &length);
	if (status != ACCEPTED) /* a response that is too large, for example: the caller has been told */
		fprintf(stderr, "{{name}}: %s: %ld %s\n", path, status, received);
	free(received);
	free(sent);
}

static void serve_next(CURL *curl)
{
	struct failure failure;
	struct curl_header *id;
	json_error_t error;
	json_t *event, *value = NULL;
	char *received, path[512], header[128];
	size_t length;

	if (call(curl, "invocation/next", NULL, NULL, &received, &length) != OK)
		give_up("invocation/next", received);
	if (curl_easy_header(curl, "Lambda-Runtime-Aws-Request-Id", 0, CURLH_HEADER, -1, &id) != CURLHE_OK)
		give_up("invocation/next", "the invocation has no id");

	event = read_json(received, length, &error);
	free(received);
	if (event != NULL) {
		value = answer(event, &failure);
	} else {
		/* Half a surrogate pair, or a number of more than 64 bits, which jansson does not take. */
		failure.type = "EventUnknown";
		snprintf(failure.message, sizeof failure.message, "the event can't be read: %s", error.text);
	}
	json_decref(event);

	if (snprintf(path, sizeof path, "invocation/%s/%s", id->value, value ? "response" : "error") >= (int)sizeof path)
		give_up("invocation/next", "the invocation's id is too long");
	if (value != NULL) {
		post(curl, path, NULL, value);
	} else {
		struct curl_slist type = {header, NULL};

		snprintf(header, sizeof header, "Lambda-Runtime-Function-Error-Type: Function.%s", failure.type);
		value = json_pack("{s:s, s:s}", "errorType", failure.type, "errorMessage", failure.message);
		post(curl, path, &type, value);
	}
	json_decref(value);
}

int main(void)
{
	CURL *curl;

	if (getenv("AWS_LAMBDA_RUNTIME_API") == NULL)
		give_up("AWS_LAMBDA_RUNTIME_API", "it is not set: this program is run by Lambda, or by shim");
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (curl = curl_easy_init()) == NULL)
		give_up("curl", "it can't be used");
	for (;;)
		serve_next(curl);
}

// What the function does: an event comes in, an answer or an error goes out. How it is asked, and how it replies, is in main.go.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"unicode/utf8"
)

// What is read of an event; the rest of it is passed over. A pointer is nil where something is missing. (encoding/json takes names in any case.)
type event struct {
	Records         []record       `json:"Records"`
	RequestContext  requestContext `json:"requestContext"`
	Body            text           `json:"body"`
	IsBase64Encoded bool           `json:"isBase64Encoded"`
}

type record struct {
	S3 *entity `json:"s3"`
}

type entity struct {
	Bucket bucket `json:"bucket"`
	Object object `json:"object"`
}

type bucket struct {
	Name *text `json:"name"`
}

type object struct {
	Key  *text `json:"key"`
	Size int64 `json:"size"` // of an object that was deleted none is told
}

type requestContext struct {
	HTTP *struct{} `json:"http"` // a function URL and an HTTP API tell of the request here
}

type objects struct {
	Objects []stored `json:"objects"`
	Bytes   int64    `json:"bytes"`
}

type stored struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Bytes  int64  `json:"bytes"`
}

type response struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

type counts struct {
	Lines int `json:"lines"`
	Words int `json:"words"`
	Bytes int `json:"bytes"`
}

// answer tells which objects an S3 event is about, and counts the text that a web request brings. What is written to log is the function's log.
func answer(sent []byte, log io.Writer) (any, error) {
	var event event
	if err := json.Unmarshal(sent, &event); err != nil {
		return nil, unknown("the event is neither an S3 event nor a web request: %v", err)
	}
	switch {
	case len(event.Records) > 0:
		return tell(event.Records, log)
	case event.RequestContext.HTTP != nil:
		return count(event)
	}
	return nil, unknown("the event is neither an S3 event nor a web request")
}

// tell says which objects the records are about, and how many bytes these have together.
func tell(records []record, log io.Writer) (any, error) {
	var told objects
	for number, record := range records {
		if record.S3 == nil || record.S3.Bucket.Name == nil || record.S3.Object.Key == nil {
			return nil, unknown("record %d names no object in a bucket", number)
		}
		// S3 writes keys as a browser writes a form: a blank is a plus sign, and other bytes are %XX.
		key, err := url.QueryUnescape(string(*record.S3.Object.Key))
		if err != nil || !utf8.ValidString(key) {
			return nil, unknown("the key of record %d is no UTF-8, once decoded", number)
		}
		size := record.S3.Object.Size
		sum := told.Bytes + size
		if (sum > told.Bytes) != (size > 0) { // Go does not say when an integer overflows
			return nil, unknown("the objects have more bytes than can be counted")
		}
		told.Objects = append(told.Objects, stored{string(*record.S3.Bucket.Name), key, size})
		told.Bytes = sum
	}
	for _, object := range told.Objects {
		fmt.Fprintf(log, "s3://%s/%s has %d bytes\n", object.Bucket, object.Key, object.Bytes)
	}
	return told, nil
}

// count counts the text of a web request as wc does.
func count(event event) (any, error) {
	text := []byte(event.Body)
	if event.IsBase64Encoded {
		decoded, err := base64.StdEncoding.DecodeString(string(event.Body))
		if err != nil {
			return nil, unknown("the body is no base64: %v", err)
		}
		text = decoded
	}
	counted := counts{Lines: bytes.Count(text, []byte{'\n'}), Bytes: len(text)}
	blank := true
	for _, char := range text {
		before := blank
		blank = char == ' ' || '\t' <= char && char <= '\r'
		if before && !blank {
			counted.Words++
		}
	}
	body, err := json.Marshal(counted)
	return response{200, map[string]string{"content-type": "application/json"}, string(body)}, err
}

// failure is an error with a name, which the caller can match on.
type failure struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (f failure) Error() string { return f.Message }

func unknown(format string, values ...any) error {
	return failure{"EventUnknown", fmt.Sprintf(format, values...)}
}

// failed is the failure that an error is, also one that has no name of its own.
func failed(err error) failure {
	var named failure
	if errors.As(err, &named) {
		return named
	}
	return failure{"Error", err.Error()}
}

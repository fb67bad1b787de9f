package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

// Lambda's Runtime API. A client without Timeout, since nobody knows when the next invocation comes, and without Proxy, since HTTP_PROXY is not
// meant for it.
var (
	invocations = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	client      = http.Client{Transport: &http.Transport{}}
)

// It asks for an invocation, posts its answer or its failure, and asks again. Standard output and standard error are the function's log.
func main() {
	log.SetFlags(0)
	for {
		about, event, err := call(http.MethodGet, "next", nil, nil)
		if err != nil {
			log.Fatalln("there is no next invocation:", err)
		}
		id := about.Get("Lambda-Runtime-Aws-Request-Id")
		path, header := id+"/response", http.Header{"Content-Type": {"application/json"}}
		value, err := answer(event, os.Stderr)
		if err != nil {
			failure := failed(err)
			path, value = id+"/error", failure
			header.Set("Lambda-Runtime-Function-Error-Type", "Function."+failure.Type)
		}
		body, err := json.Marshal(value)
		if err != nil {
			log.Fatalln("the answer can't be written:", err)
		}
		// What is refused here, such as an answer that is too large, Lambda has told the caller itself.
		if _, _, err := call(http.MethodPost, path, header, body); err != nil {
			log.Println(err)
		}
	}
}

// call asks the Runtime API, and gives the header and the body of what it says.
func call(method, path string, header http.Header, body []byte) (http.Header, []byte, error) {
	request, err := http.NewRequest(method, invocations+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if header != nil {
		request.Header = header
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s %s", path, response.Status, said)
	}
	return response.Header, said, err
}

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"os"
)

// It is started for each invocation: one line of JSON comes in, and what is written to standard output is the answer. With an exit code that is
// not 0 it is the failure. Standard error is the function's log.
func main() {
	log.SetFlags(0)
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	if err != nil && err != io.EOF {
		log.Fatalln("no request can be read:", err)
	}
	var request struct {
		Event json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal(line, &request); err != nil {
		log.Fatalln("this is no request:", err)
	}
	code := 0
	value, err := answer(request.Event, os.Stderr)
	if err != nil {
		value, code = failed(err), 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatalln("the answer can't be written:", err)
	}
	os.Exit(code)
}

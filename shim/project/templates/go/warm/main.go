package main

import (
	"bufio"
	"encoding/json"
	"log"
	"math"
	"os"
)

// One process serves many invocations: each is a line of JSON with an id, and its answer is a line that bears the same id. At the end of its
// input it ends. Standard error is the function's log.
func main() {
	log.SetFlags(0)
	requests := bufio.NewScanner(os.Stdin)
	requests.Buffer(nil, math.MaxInt) // a line may have any size, and a Scanner takes 64 KiB by itself
	replies := json.NewEncoder(os.Stdout)
	for requests.Scan() {
		var request struct {
			ID    string          `json:"id"`
			Event json.RawMessage `json:"event"`
		}
		if err := json.Unmarshal(requests.Bytes(), &request); err != nil {
			log.Fatalln("this is no request:", err)
		}
		reply := map[string]any{"id": request.ID}
		if value, err := answer(request.Event, os.Stderr); err != nil {
			reply["error"] = failed(err)
		} else {
			reply["value"] = value
		}
		if err := replies.Encode(reply); err != nil {
			log.Fatalln("the answer can't be written:", err)
		}
	}
	if err := requests.Err(); err != nil {
		log.Fatalln("no request can be read:", err)
	}
}

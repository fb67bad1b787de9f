package main

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"
)

// text is a string of JSON, exactly as it was sent. JSON may hold half a character ("\ud800"), which UTF-8 can't: encoding/json puts U+FFFD in
// its place and says nothing, and a key would be that of another object.
type text string

func (t *text) UnmarshalJSON(sent []byte) error {
	var decoded string
	if err := json.Unmarshal(sent, &decoded); err != nil {
		return err
	}
	if strings.ContainsRune(decoded, utf8.RuneError) && !(utf8.Valid(sent) && whole.Match(sent)) {
		return errors.New("a text with half a character in it")
	}
	*t = text(decoded)
	return nil
}

// whole matches texts, as JSON writes them, whose halves of characters ("\ud83d\ude00") come in pairs.
var whole = regexp.MustCompile(`^(?:[^\\]|\\[^u]|\\u(?:[^dD]|[dD][0-7])|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*$`)

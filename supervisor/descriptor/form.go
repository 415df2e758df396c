package descriptor

import (
	"regexp"
	"sync"
)

// form is what a string must look like. It is compiled when it is first needed: a counted repetition becomes hundreds of instructions, all
// forms together 27,000 allocations, and every runner begins as this program, which reads no descriptor.
type form struct {
	text     string
	compiled func() *regexp.Regexp
}

// formOf takes an expression that is legal in RE2 and ECMA 262 alike.
func formOf(text string) *form {
	return &form{text: text, compiled: sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// MatchString reports whether s has the form.
func (f *form) MatchString(s string) bool { return f.compiled().MatchString(s) }

func (f *form) String() string { return f.text }

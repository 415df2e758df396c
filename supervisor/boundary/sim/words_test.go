package sim

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// expand turns "k1" in an expected line into the start of its key; trim takes spaces from the end of an actual one.
func expand(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		if name, ok := strings.CutPrefix(w, "@"); ok {
			words[i] = string(key(name)[:4])
		}
	}
	return strings.Join(words, " ")
}

func trim(s string) string { return strings.Join(strings.Fields(s), " ") }

func lines(s []string) string { return "  " + strings.Join(s, "\n  ") }

// killer ends the process by SIGKILL after the n-th commit, before its answers are sent.
func killer() func() {
	n, err := strconv.Atoi(os.Getenv(simChild + "_KILL_AT"))
	if err != nil {
		return nil
	}
	return func() {
		if n--; n == 0 {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			select {}
		}
	}
}

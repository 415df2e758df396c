// Command generate writes docs/capabilities.md anew. Run it at the top of the repository: make docs.
package main

import (
	"fmt"
	"os"

	"github.com/msup/msup/tests/capabilities"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	index, err := capabilities.Read(".")
	if err != nil {
		return err
	}
	if err := os.WriteFile(capabilities.Path, []byte(index.Markdown()), 0o644); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	problems := index.Problems()
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s is written, and %d statements contradict each other", capabilities.Path, len(problems))
	}
	return nil
}

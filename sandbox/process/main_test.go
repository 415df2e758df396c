package process

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	Init(testPrograms...)
	if os.Getenv(landlockEnv) != "" {
		tryLandlock() // never returns
	}
	if os.Getenv(outerEnv) != "" {
		if err := stayBehindFilter(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

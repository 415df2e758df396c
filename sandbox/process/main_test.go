package process

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	Init()
	if os.Getenv(landlockEnv) != "" {
		tryLandlock() // never returns
	}
	os.Exit(m.Run())
}

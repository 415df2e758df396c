package process

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	Init(testPrograms...)
	if os.Getenv(landlockEnv) != "" {
		tryLandlock() // never returns
	}
	os.Exit(m.Run())
}

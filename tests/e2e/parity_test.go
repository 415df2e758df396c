package e2e

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/msup/msup/tests/recordings"
)

// Proves: NN-1, NN-7, BC-N, DOD-1, SB-L1, SB-L2, SB-L3
func TestParity(t *testing.T) {
	for file, events := range map[string]int{
		"lean/Data/forex/fxcm/tick/eurusd/20140508_quote.zip": 6000,
		"hftbacktest/usdm/btcusdt_20240808.gz":                12000,
	} {
		t.Run(strings.ReplaceAll(file, "/", "_"), func(t *testing.T) {
			path, ok := recordings.Path(t, file)
			if !ok {
				return
			}
			path, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{Files: []string{filepath.Join("testdata", "recordings", "parity.txtar")}, Cmds: commands,
				Setup: func(env *testscript.Env) error {
					env.Setenv("FEED", path)
					env.Setenv("EVENTS", strconv.Itoa(events))
					return setup(env)
				}})
		})
	}
}

package e2e

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/msup/msup/tests/recordings"
)

// played is how much of a long recording is run; all of it is counted.
const played = 6000

// recorded is one file of each format and kind; rows are those of the README beside the data.
var recorded = []struct {
	file, format  string
	rows          int
	whole, quotes bool // run all of it; it holds quotes
}{
	{"hftbacktest/cm/btcusd_perp_20240808.gz", "binance", 48270, false, true},
	{"hftbacktest/spot/btcusdt_20240808.gz", "binance", 41249, false, true},
	{"hftbacktest/usdm/btcusdt_20240808.gz", "binance", 93954, false, true},
	{"lean/Data/forex/fxcm/tick/eurusd/20140504_quote.zip", "lean", 8025, true, true},
	{"lean/Data/forex/oanda/tick/eurusd/20140511_quote.zip", "lean", 2643, true, true},
	{"lean/Data/crypto/coinbase/minute/btcusd/20170903_quote.zip", "lean", 1438, true, false},
	{"lean/Data/crypto/coinbase/minute/ethusd/20180404_trade.zip", "lean", 1009, true, false},
	{"lean/Data/crypto/coinbase/second/btcusd/20161007_trade.zip", "lean", 4063, true, false},
	{"bitfinex-historical-data/ETHUSD/Candles_1m/2016/merged.csv.gz", "ohlcv", 85818, false, false},
}

// Proves: NN-5, NN-7, EV-1, DM-1
func TestRecordings(t *testing.T) {
	for _, r := range recorded {
		name := strings.ReplaceAll(r.file, "/", "_")
		t.Run(name, func(t *testing.T) {
			path, ok := recordings.Path(t, r.file)
			if !ok {
				return
			}
			path, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			// A recording's path may tell its instrument and period, so that it is used where it lies.
			events := played
			if r.whole {
				events = r.rows
			}
			testscript.Run(t, testscript.Params{Files: []string{filepath.Join("testdata", "recordings", "recording.txtar")}, Cmds: commands,
				Condition: func(cond string) (bool, error) { return cond == "quotes" && r.quotes, nil },
				Setup: func(env *testscript.Env) error {
					env.Setenv("FEED", path)
					env.Setenv("FORMAT", r.format)
					env.Setenv("ROWS", strconv.Itoa(r.rows))
					env.Setenv("EVENTS", strconv.Itoa(events))
					return setup(env)
				}})
		})
	}
}

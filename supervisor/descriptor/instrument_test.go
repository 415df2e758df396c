package descriptor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/msup/msup/ipc"
)

// Proves: GT-1
func TestBuiltInInstruments(t *testing.T) {
	table := DefaultInstruments()
	for _, id := range []ipc.InstrumentID{"EURUSD.FXCM", "EURUSD.OANDA", "BTCUSDT.BINANCE", "BTCUSDT-PERP.BINANCE", "BTCUSD-PERP.BINANCE", "BTCUSD.COINBASE", "ETHUSD.COINBASE",
		"LTCUSD.COINBASE", "BTCUSD.BITFINEX", "ETHUSD.BITFINEX", "SYN-A.SIM", "SYN-B.SIM"} {
		i, ok := table.Find(id)
		if !ok || i.Tick.Sign() <= 0 || i.Lot.Sign() <= 0 || i.Base == "" || i.Quote == "" || !strings.HasSuffix(string(id), "."+i.Venue) {
			t.Errorf("%s: %+v, %v", id, i, ok)
		}
	}
	if _, ok := table.Find("DOGE.NOWHERE"); ok {
		t.Error("an unknown instrument was found")
	}
	schema := compileSchema(t, KindInstruments)
	if ok, err := schemaAccepts(t, schema, DefaultInstrumentsFile()); !ok {
		t.Errorf("the built-in table breaks its own schema: %v", err)
	}
}

// Proves: GT-1
func TestInstrumentsReplaceBuiltInOnes(t *testing.T) {
	own := "[[instrument]]\nid = \"BTCUSDT.BINANCE\"\nbase = \"BTC\"\nquote = \"USDT\"\nvenue = \"BINANCE\"\ntick = \"0.5\"\nlot = \"0.01\"\n"
	table, err := ParseInstruments("i.toml", []byte(own))
	if err != nil {
		t.Fatal(err)
	}
	i, _ := table.Find("BTCUSDT.BINANCE")
	want := ipc.Instrument{ID: "BTCUSDT.BINANCE", Tick: ipc.MustDecimal("0.5"), Lot: ipc.MustDecimal("0.01"), Base: "BTC", Quote: "USDT", Venue: "BINANCE"}
	if diff := cmp.Diff(want, i); diff != "" || len(table) != len(DefaultInstruments()) {
		t.Errorf("%d instruments, (-want +got):\n%s", len(table), diff)
	}
	alone, err := ParseInstruments("i.toml", []byte("defaults = false\n"+own))
	if err != nil || len(alone) != 1 {
		t.Errorf("%d instruments, %v; want only the file's", len(alone), err)
	}
}

// Proves: GT-1, AD-1
func TestBrokenInstruments(t *testing.T) {
	head := "[[instrument]]\nid = \"A.X\"\nbase = \"A\"\nquote = \"USD\"\nvenue = \"X\"\n" // 5 lines
	ok := "tick = \"0.1\"\nlot = \"0.1\"\n"
	schema := compileSchema(t, KindInstruments)
	for text, want := range map[string]string{
		head:                                                       "1:instrument[0].lot DESCRIPTOR_MISSING\n1:instrument[0].tick DESCRIPTOR_MISSING\n",
		head + "tick = 0.1\nlot = \"0.1\"\n":                       "6:instrument[0].tick DESCRIPTOR_TYPE\n",
		head + "tick = \"0\"\nlot = \"0\"\n":                       "6:instrument[0].tick DESCRIPTOR_RANGE\n7:instrument[0].lot DESCRIPTOR_RANGE\n",
		head + "tick = \"-1\"\nlot = \"1\"\n":                      "6:instrument[0].tick DESCRIPTOR_FORMAT\n",
		head + "tick = \"1e-2\"\nlot = 1\n":                        "6:instrument[0].tick DESCRIPTOR_FORMAT\n",
		head + ok + "min_quantity = \"0.25\"\n":                    "8:instrument[0].min_quantity DESCRIPTOR_CONFLICT\n",
		head + ok + "min_quantity = \"2\"\nmax_quantity = \"1\"\n": "9:instrument[0].max_quantity DESCRIPTOR_CONFLICT\n",
		head + ok + "expiry = 2024-01-01\n":                        "8:instrument[0].expiry DESCRIPTOR_UNKNOWN\n",
		head + ok + head + ok:                                      "9:instrument[1].id DESCRIPTOR_DUPLICATE\n",
		strings.Replace(head, "A.X", "A *", 1) + ok:                "2:instrument[0].id DESCRIPTOR_FORMAT\n",
		"instrument = 3\n":                                         "1:instrument DESCRIPTOR_TYPE\n",
		"defaults = \"yes\"\n":                                     "1:defaults DESCRIPTOR_TYPE\n",
	} {
		_, err := ParseInstruments("i.toml", []byte(text))
		fs, _ := AsFindings(err)
		var got strings.Builder
		between := len(fs) > 0
		for _, f := range fs {
			fmt.Fprintf(&got, "%d:%s %s\n", f.Line, f.Key, f.Code)
			between = between && (f.Code == CodeConflict || f.Code == CodeDuplicate)
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
		if accepts, serr := schemaAccepts(t, schema, []byte(text)); accepts != between {
			t.Errorf("%q: schema accepts %v (%v)", text, accepts, serr)
		}
	}
}

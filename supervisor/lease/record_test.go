package lease

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

func aRecord(number uint64) record {
	return record{Number: number, Bot: "b", Strategy: "s", Instance: "i", Epoch: 7, Nonce: strings.Repeat("0f", 16), PID: 42, Start: 99,
		Boot: "boot", Heartbeat: 5, TTL: 6, Since: 7}
}

func slotOf(t testing.TB, r record) []byte {
	t.Helper()
	slot, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

// Proves: LS-2
func TestTheNewestWholeSlotCounts(t *testing.T) {
	older, newer := slotOf(t, aRecord(8)), slotOf(t, aRecord(9))
	for name, c := range map[string]struct {
		file []byte
		want uint64
	}{
		"both":           {append(bytes.Clone(older), newer...), 9},
		"in turns":       {append(bytes.Clone(newer), older...), 9},
		"newer torn":     {append(bytes.Clone(older), newer[:60]...), 8},
		"older torn":     {append(make([]byte, slotBytes), newer...), 9},
		"one only":       {older, 8},
		"length bomb":    {append([]byte(slotMagic+"\xff\xff\xff\xff"), make([]byte, 100)...), 0},
		"empty":          {nil, 0},
		"something else": {bytes.Repeat([]byte("no lease "), 500), 0},
	} {
		r, err := decodeFile(c.file)
		if (err == nil) != (c.want != 0) || err != nil && !errors.Is(err, errNoRecord) || r.Number != c.want {
			t.Errorf("%s: record %d, %v", name, r.Number, err)
		}
	}
}

// No change of a record passes for a record.
//
// Proves: LS-2
func TestADamagedRecordIsNoRecord(t *testing.T) {
	slot := slotOf(t, aRecord(3))
	used := slotHead + bytes.IndexByte(slot[slotHead:], 0)
	for bit := range used * 8 {
		damaged := bytes.Clone(slot)
		damaged[bit/8] ^= 1 << (bit % 8)
		if r, err := decodeFile(damaged); err == nil {
			t.Fatalf("bit %d is flipped, and the record reads %+v", bit, r)
		}
	}
	chance := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		damaged := bytes.Clone(slot)
		for range 1 + chance.IntN(20) {
			damaged[chance.IntN(used)] = byte(chance.Uint32())
		}
		if _, err := decodeFile(damaged); err == nil && !bytes.Equal(damaged, slot) {
			t.Fatalf("%q passes", damaged[:used])
		}
	}
}

// A record whose checksum is right, and that no owner writes.
//
// Proves: LS-2
func TestAnImpossibleRecordIsNoRecord(t *testing.T) {
	for name, change := range map[string]func(*record){
		"epoch":   func(r *record) { r.Epoch = maxEpoch + 1 },
		"nonce":   func(r *record) { r.Nonce = "0f" },
		"pid":     func(r *record) { r.PID = 0 },
		"ttl":     func(r *record) { r.TTL = 0 },
		"address": func(r *record) { r.Instance = "" },
	} {
		r := aRecord(1)
		change(&r)
		if _, err := decodeFile(slotOf(t, r)); !errors.Is(err, errNoRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := aRecord(1)
	long := strings.Repeat("<", ipc.MaxIDBytes)
	r.Bot, r.Strategy, r.Instance = long, long, long
	if _, err := decodeFile(slotOf(t, r)); err != nil {
		t.Errorf("the longest ids: %v", err)
	}
}

// Proves: LS-1
func TestEveryAddressHasAFileOfItsOwn(t *testing.T) {
	seen := map[string]ipc.Address{}
	for _, a := range []ipc.Address{
		{Bot: "a", Strategy: "b", Instance: "c"}, {Bot: "a/b", Strategy: "c", Instance: "d"}, {Bot: "a", Strategy: "b/c", Instance: "d"},
		{Bot: "a", Strategy: "b", Instance: "c/d"}, {Bot: "ab", Strategy: "c", Instance: "d"}, {Bot: "a", Strategy: "bc", Instance: "d"},
		{Bot: "..", Strategy: "/", Instance: "é"},
	} {
		name := FileName(a)
		if other, twice := seen[name]; twice || !isLeaseName(name) || strings.ContainsAny(name, "/ ") {
			t.Errorf("%v has the file %s, so has %v", a, name, other)
		}
		seen[name] = a
	}
	for _, name := range []string{"", "x.lease", strings.Repeat("z", 64) + suffix, strings.Repeat("a", 64) + ".other"} {
		if isLeaseName(name) {
			t.Errorf("%q passes for a lease", name)
		}
	}
}

func FuzzDecodeLease(f *testing.F) {
	f.Add(slotOf(f, aRecord(1)))
	f.Add(append(slotOf(f, aRecord(2)), slotOf(f, aRecord(3))...))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := decodeFile(file)
		if err != nil {
			return
		}
		again, err := decodeFile(slotOf(t, r))
		if err != nil || again != r {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

package vectors

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/msup/msup/ipc"
)

// keyVector is one idempotency key with everything that it is made of.
type keyVector struct {
	Form       string  `json:"form"` // "S", "N" or "M"
	Shadow     *uint64 `json:"shadow_no,omitempty"`
	Bot        string  `json:"bot"`
	Strategy   string  `json:"strategy"`
	Instance   string  `json:"instance"`
	Lineage    string  `json:"lineage"`
	Step       uint64  `json:"step,omitempty"`
	Name       string  `json:"name,omitempty"`
	Obligation uint64  `json:"obligation_no,omitempty"`
	Attempt    uint64  `json:"attempt,omitempty"`
	Ordinal    uint32  `json:"ordinal,omitempty"`
	Msgpack    string  `json:"msgpack"` // what is summed
	Key        ipc.Key `json:"key"`
}

// keyPreimage spells the rule of PROTOCOL.md with tree, not with the package's own writer.
func keyPreimage(v keyVector, lineage ipc.Lineage) []byte {
	list := arr(v.Form, v.Bot, v.Strategy, v.Instance, lineage[:])
	if v.Shadow != nil {
		list = arr("X", v.Bot, v.Strategy, v.Instance, lineage[:], *v.Shadow, v.Form)
	}
	switch v.Form {
	case "S":
		list = plus(list, v.Step, uint64(v.Ordinal))
	case "N":
		list = plus(list, v.Name)
	default:
		list = plus(list, v.Obligation, v.Attempt, uint64(v.Ordinal))
	}
	return tree(list)
}

func keyVectors() []keyVector {
	shadow := uint64(2)
	big := uint64(math.MaxUint64)
	zero := ipc.Lineage{}
	cases := []struct {
		keyVector
		address ipc.Address
		lineage ipc.Lineage
	}{
		{keyVector{Form: "S", Step: 1}, address, lineage},
		{keyVector{Form: "S", Step: 1, Ordinal: 1}, address, lineage},
		{keyVector{Form: "S", Step: 7}, address, lineage},
		{keyVector{Form: "S", Step: 127, Ordinal: 128}, address, lineage},
		{keyVector{Form: "S", Step: 65535, Ordinal: 255}, address, zero},
		{keyVector{Form: "S", Step: math.MaxUint64, Ordinal: math.MaxUint32}, address, lineage},
		{keyVector{Form: "S", Step: 1 << 32}, abroad, lineage},
		{keyVector{Form: "S", Step: 3}, ipc.Address{Bot: "a", Strategy: "bc", Instance: "d"}, lineage},
		{keyVector{Form: "S", Step: 3}, ipc.Address{Bot: "ab", Strategy: "c", Instance: "d"}, lineage},
		{keyVector{Form: "N", Name: "entry-1"}, address, lineage},
		{keyVector{Form: "N", Name: "Einstieg-ä-🚀"}, abroad, lineage},
		{keyVector{Form: "N", Name: "a name of more than thirty-one bytes"}, address, lineage},
		{keyVector{Form: "M", Obligation: 1, Attempt: 1}, address, lineage},
		{keyVector{Form: "M", Obligation: math.MaxUint64, Attempt: 300, Ordinal: 70_000}, address, lineage},
		{keyVector{Form: "S", Shadow: &shadow, Step: 7}, address, lineage},
		{keyVector{Form: "N", Shadow: &shadow, Name: "entry-1"}, address, lineage},
		{keyVector{Form: "M", Shadow: &big, Obligation: 1, Attempt: 2, Ordinal: 3}, address, lineage},
	}
	var list []keyVector
	for _, c := range cases {
		v := c.keyVector
		v.Bot, v.Strategy, v.Instance = string(c.address.Bot), string(c.address.Strategy), string(c.address.Instance)
		v.Lineage = c.lineage.String()
		v.Msgpack = hex.EncodeToString(keyPreimage(v, c.lineage))
		v.Key = makeKey(v, ipc.Owner{Address: c.address, Lineage: c.lineage})
		list = append(list, v)
	}
	return list
}

func makeKey(v keyVector, owner ipc.Owner) ipc.Key {
	keys := interface {
		IntentKey(ipc.Step, uint32, string) ipc.Key
		ObligationKey(uint64, uint64, uint32) ipc.Key
	}(owner)
	if v.Shadow != nil {
		keys = owner.Shadow(*v.Shadow)
	}
	if v.Form == "M" {
		return keys.ObligationKey(v.Obligation, v.Attempt, v.Ordinal)
	}
	return keys.IntentKey(ipc.Step(v.Step), v.Ordinal, v.Name)
}

// Proves: GT-5
func TestKeysFollowTheRule(t *testing.T) {
	var list []keyVector
	readJSON(t, "key.json", &list)
	seen := map[ipc.Key]bool{}
	for _, v := range list {
		preimage, err := hex.DecodeString(v.Msgpack)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(preimage)
		if want := ipc.Key(hex.EncodeToString(sum[:16])); v.Key != want || !v.Key.Valid() {
			t.Errorf("%+v: expected key %s", v, want)
		}
		if seen[v.Key] {
			t.Errorf("%+v: the key is another one's too", v)
		}
		seen[v.Key] = true
	}
	if len(list) < 12 {
		t.Errorf("only %d keys", len(list))
	}
}

// digestVector is an answer (a whole message) or an intent, and its sum.
type digestVector struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // "answer" or "intent"
	Msgpack string `json:"msgpack"`
	Summed  string `json:"summed"` // the canonical msgpack that is summed
	Digest  string `json:"digest"`
}

func digestVectors() ([]digestVector, error) {
	blank := func(list []any, at ...int) []any {
		for _, i := range at {
			list = with(list, i, "")
		}
		return list
	}
	order := arr(1, metaTree(), orderTree())
	noRun := with(order, 1, blank(metaTree(), 4, 5))
	noKey := with(order, 1, blank(metaTree(), 4, 5, 6))
	delta := raw{0x82, 0xa1, 'a', 0xc0, 0xa1, 'b', 0xc4, 1, 7}
	unsorted := raw{0x82, 0xa1, 'b', 0xc4, 1, 7, 0xa1, 'a', 0xc0}
	cases := []struct {
		name, kind      string
		message, summed []any
	}{
		{"empty", "answer", answerTree(), arr(arr(), nil, arr(), arr(), arr(), "")},
		{"order", "answer", answerTree(order), arr(arr(noRun), nil, arr(), arr(), arr(), "")},
		{"checkpoint", "answer", with(answerTree(), 4, arr(true, nil)), arr(arr(), arr(true, nil), arr(), arr(), arr(), "")},
		{"delta", "answer", with(answerTree(), 4, arr(false, unsorted)), arr(arr(), arr(false, delta), arr(), arr(), arr(), "")},
		{"timers", "answer", with(answerTree(), 5, arr(arr(1, "t", -5))), arr(arr(), nil, arr(arr(1, "t", -5)), arr(), arr(), "")},
		{"compute", "answer", with(answerTree(), 6, arr(arr("t", []byte{1}, 9))), arr(arr(), nil, arr(), arr(arr("t", []byte{1}, 9)), arr(), "")},
		{"telemetry", "answer", with(answerTree(), 7, arr(arr("x", 1.0), arr("y", "calm"))), arr(arr(), nil, arr(), arr(), arr(arr("x", 1.0), arr("y", "calm")), "")},
		{"fault", "answer", with(answerTree(), 8, arr("exception", "left out", "left out")), arr(arr(), nil, arr(), arr(), arr(), "exception")},
		{"wide-integers", "answer", with(answerTree(), 5, arr(arr(raw{0xcd, 0, 1}, "t", raw{0xd1, 0, 200}))), arr(arr(), nil, arr(arr(1, "t", 200)), arr(), arr(), "")},
		{"order", "intent", order, noKey},
		{"named", "intent", with(order, 1, with(metaTree(), 8, "entry-1")), with(noKey, 1, with(blank(metaTree(), 4, 5, 6), 8, "entry-1"))},
		{"no-metadata", "intent", arr(6, blank(with(metaTree(), 7, nil), 0, 1, 2, 3, 4, 5, 6), arr("wait")), arr(6, blank(with(metaTree(), 7, nil), 0, 1, 2, 3, 4, 5, 6), arr("wait"))},
		{"cancel", "intent", arr(2, metaTree(), arr("BTCUSDT.BINANCE", string(nameKey))), arr(2, blank(metaTree(), 4, 5, 6), arr("BTCUSDT.BINANCE", string(nameKey)))},
	}
	var list []digestVector
	for _, c := range cases {
		message := tree(c.message)
		digest, err := digestOf(c.kind, message)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.kind, c.name, err)
		}
		list = append(list, digestVector{c.name, c.kind, hex.EncodeToString(message), hex.EncodeToString(tree(c.summed)), digest.String()})
	}
	return list, nil
}

func digestOf(kind string, message []byte) (ipc.Digest, error) {
	if kind == "intent" {
		i, err := ipc.DecodeIntent(message)
		if err != nil {
			return ipc.Digest{}, err
		}
		return ipc.IntentDigest(i)
	}
	m, err := ipc.DecodeMessage(message, ipc.FromRunner)
	if err != nil {
		return ipc.Digest{}, err
	}
	return ipc.AnswerDigest(m.(*ipc.Answer))
}

// Proves: RS-2, GT-5
func TestDigestsFollowTheRule(t *testing.T) {
	var list []digestVector
	readJSON(t, "digest.json", &list)
	for _, v := range list {
		message, err := hex.DecodeString(v.Msgpack)
		if err != nil {
			t.Fatal(err)
		}
		summed, err := hex.DecodeString(v.Summed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := digestOf(v.Kind, message)
		if want := ipc.Digest(sha256.Sum256(summed)); err != nil || got != want || v.Digest != want.String() {
			t.Errorf("%s %s: digest %s (%v), file %s, expected %s", v.Kind, v.Name, got, err, v.Digest, want)
		}
	}
	if list[0].Digest != ipc.EmptyAnswerDigest.String() {
		t.Errorf("the empty answer's digest is %s, the constant %s", list[0].Digest, ipc.EmptyAnswerDigest)
	}
}

// rngVector is the start of one step's random numbers; the floats are those of a fresh generator.
type rngVector struct {
	RunSeed  uint64    `json:"run_seed"`
	Instance string    `json:"instance"`
	Step     uint64    `json:"step"`
	U64      []uint64  `json:"u64"`
	Floats   []float64 `json:"floats"`
}

func rngVectors() []rngVector {
	var list []rngVector
	for _, seed := range []uint64{0, 1, 42, math.MaxUint64} {
		for _, instance := range []string{"btc", "🚀/1"} {
			for _, step := range []uint64{1, 2, 128, 1 << 40} {
				list = append(list, drawRNG(rngVector{RunSeed: seed, Instance: instance, Step: step}))
			}
		}
	}
	return list
}

func drawRNG(v rngVector) rngVector {
	g := ipc.NewRNG(v.RunSeed, ipc.InstanceID(v.Instance), ipc.Step(v.Step))
	for range 5 {
		v.U64 = append(v.U64, g.Uint64())
	}
	g = ipc.NewRNG(v.RunSeed, ipc.InstanceID(v.Instance), ipc.Step(v.Step))
	for range 3 {
		v.Floats = append(v.Floats, g.Float64())
	}
	return v
}

// Proves: RS-2
func TestRandomNumbersAreTheGoldenOnes(t *testing.T) {
	var list []rngVector
	readJSON(t, "rng.json", &list)
	for _, v := range list {
		got := drawRNG(rngVector{RunSeed: v.RunSeed, Instance: v.Instance, Step: v.Step})
		if !slices.Equal(got.U64, v.U64) || !slices.Equal(got.Floats, v.Floats) {
			t.Errorf("seed %d, instance %s, step %d: %v %v; expected %v %v", v.RunSeed, v.Instance, v.Step, got.U64, got.Floats, v.U64, v.Floats)
		}
	}
	if len(list) < 12 {
		t.Errorf("only %d generators", len(list))
	}
}

// chainVector is a ledger's hash chain.
type chainVector struct {
	Lineage string     `json:"lineage"`
	Start   string     `json:"start"`
	Rows    []chainRow `json:"rows"`
}

type chainRow struct {
	RowNo   uint64 `json:"row_no"`
	Kind    uint8  `json:"kind"`
	Payload string `json:"payload"`
	Head    string `json:"head"`
}

func chainVectors() []chainVector {
	var list []chainVector
	for _, l := range []ipc.Lineage{{}, lineage} {
		head := ipc.ChainStart(l)
		v := chainVector{Lineage: l.String(), Start: head.String()}
		for i, payload := range [][]byte{{}, {0}, []byte("a payload"), make([]byte, 300)} {
			row := chainRow{RowNo: uint64(i + 1), Kind: uint8(i % 3), Payload: hex.EncodeToString(payload)}
			head = ipc.ChainNext(head, row.RowNo, row.Kind, payload)
			row.Head = head.String()
			v.Rows = append(v.Rows, row)
		}
		list = append(list, v)
	}
	return list
}

// Proves: RS-2
func TestChainFollowsTheRule(t *testing.T) {
	var list []chainVector
	readJSON(t, "chain.json", &list)
	for _, v := range list {
		id, err := hex.DecodeString(v.Lineage)
		if err != nil {
			t.Fatal(err)
		}
		head := sha256.Sum256(append([]byte("msup/1"), id...))
		if got := ipc.ChainStart(ipc.Lineage(id)); got != head || v.Start != got.String() {
			t.Errorf("lineage %s starts at %s, expected %x", v.Lineage, got, head)
		}
		for _, row := range v.Rows {
			payload, err := hex.DecodeString(row.Payload)
			if err != nil {
				t.Fatal(err)
			}
			n := row.RowNo
			b := append(head[:], byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n), row.Kind)
			next := sha256.Sum256(append(b, payload...))
			if got := ipc.ChainNext(head, row.RowNo, row.Kind, payload); got != next || row.Head != got.String() {
				t.Errorf("row %d: head %s, file %s, expected %x", row.RowNo, got, row.Head, next)
			}
			head = next
		}
	}
}

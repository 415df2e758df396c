package wasm

import (
	"encoding/binary"
	"testing"

	"github.com/msup/msup/ipc"
)

func frameOf(t testing.TB, m ipc.Message) []byte {
	t.Helper()
	b, err := ipc.AppendMessage(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func quote(step ipc.Step, now ipc.Nanos) *ipc.Deliver {
	return &ipc.Deliver{Seq: 9, Step: step, ProcessedTS: now, TraceID: "r-7",
		Event: &ipc.Quote{Market: ipc.Market{Instrument: "BTCUSDT.BINANCE", Source: "test", RecvTS: 2, Seq: 1}}}
}

var initMessage = &ipc.Init{Seq: 1, Step: 1, ProcessedTS: 5_000_000_007, TraceID: "t", Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "eur"},
	StrategyVersion: "1.0.0", RunID: "run", Epoch: 3, Lane: ipc.LaneLL, Mode: ipc.ModeLive, RunSeed: 4711,
	MaxAnswerBytes: ipc.MaxAnswerBytes, MaxStateBytes: ipc.MaxStateBytes, MaxIntents: 8}

// Proves: NN-7, RS-2
func TestClockAndRandomBelongToTheStep(t *testing.T) {
	var c stepClock
	draw := func(sizes ...int) (all []byte) {
		for _, n := range sizes {
			b := make([]byte, n)
			if got, err := c.Read(b); got != n || err != nil {
				t.Fatal(got, err)
			}
			all = append(all, b...)
		}
		return all
	}
	stream := func(seed uint64, instance ipc.InstanceID, step ipc.Step) (all []byte) {
		g := ipc.NewRNG(seed, instance, step)
		for range 4 {
			all = binary.LittleEndian.AppendUint64(all, g.Uint64())
		}
		return all
	}
	if got := draw(32); string(got) != string(stream(0, "", 0)) {
		t.Errorf("before init: % x", got)
	}
	for _, step := range []struct {
		m    ipc.Message
		want ipc.MessageType
		step ipc.Step
		now  int64
	}{
		{initMessage, ipc.TypeInit, 1, 5_000_000_007},
		{quote(7, 1_700_000_000_123_456_789), ipc.TypeDeliver, 7, 1_700_000_000_123_456_789},
		{&ipc.Batch{Seq: 2, FirstStep: 8, Events: []ipc.BatchEvent{{ProcessedTS: 77, Event: quote(8, 1).Event}, {ProcessedTS: 78, Event: quote(9, 1).Event}}}, ipc.TypeBatch, 8, 77},
		{&ipc.CheckpointRequest{Seq: 3, Step: 9, MaxBytes: 10}, ipc.TypeCheckpointRequest, 8, 77}, // no step of its own
		{&ipc.Stop{Seq: 4}, ipc.TypeStop, 8, 77},
	} {
		got, err := c.observe(frameOf(t, step.m))
		if err != nil || got != step.want || c.step != step.step || c.nanotime() != step.now {
			t.Errorf("%T: %v, %v, clock %+v", step.m, got, err, c)
		}
		sec, nsec := c.walltime()
		if sec != step.now/1e9 || int64(nsec) != step.now%1e9 {
			t.Errorf("%T: wall clock %d.%09d", step.m, sec, nsec)
		}
	}
	if _, err := c.observe(frameOf(t, quote(9, 1))); err != nil {
		t.Fatal(err)
	}
	// However the reads are cut, the stream is the same.
	if got := draw(1, 7, 3, 13, 8); string(got) != string(stream(4711, "eur", 9)) {
		t.Errorf("step 9: % x", got)
	}
	before := c
	for _, broken := range [][]byte{{}, {0x96, 4}, {0x96, 4, 9, 0xa1, 0x78}, frameOf(t, quote(10, 1))[:4]} {
		if _, err := c.observe(broken); err == nil || c.step != before.step || c.now != before.now {
			t.Errorf("% x: %v, clock %+v", broken, err, c)
		}
	}
	c.now = -1
	if sec, nsec := c.walltime(); sec != -1 || nsec != 999_999_999 {
		t.Errorf("before 1970: %d %d", sec, nsec)
	}
}

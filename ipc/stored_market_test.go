package ipc

import "testing"

// Proves: BC-H
func TestPeekMarketFindsThePlaceWithoutDecoding(t *testing.T) {
	bid := MustDecimal("1.5")
	quote := &Quote{Market: Market{Instrument: "X.SIM", Source: "file", EventTS: -5, RecvTS: 1_700_000_000_000_000_000, Seq: 77}, Bid: &bid}
	b, err := AppendEvent(nil, quote)
	if err != nil {
		t.Fatal(err)
	}
	p, ok, err := PeekMarket(b)
	if err != nil || !ok || string(p.Source) != "file" || p.RecvTS != quote.RecvTS || p.Seq != 77 {
		t.Fatalf("place %q %d %d, ok %v, err %v", p.Source, p.RecvTS, p.Seq, ok, err)
	}
	timer, err := AppendEvent(nil, &Timer{TimerID: "t", DueTS: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := PeekMarket(timer); ok || err != nil {
		t.Fatalf("a timer has a place: ok %v, err %v", ok, err)
	}
	for cut := range b[:20] {
		if _, ok, err := PeekMarket(b[:cut]); ok && err == nil {
			t.Fatalf("half an event of %d bytes has a place", cut)
		}
	}
}

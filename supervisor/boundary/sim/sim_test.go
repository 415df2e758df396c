package sim

import (
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/execution"
)

const (
	buy, sell     = ipc.SideBuy, ipc.SideSell
	market, limit = ipc.OrderMarket, ipc.OrderLimit
)

// Proves: BC-I, GT-7
func TestOrdersFillAtTheTouch_BCI(t *testing.T) {
	r := newRig(t)
	r.want(r.offer("m0", newOrder(buy, market, "2", "")), "1 @m0 rejected price - quantity - remaining 2 final NO_QUOTE", "status @m0 committed")
	r.quote("99.5", "100.25")
	r.want(r.offer("m1", newOrder(buy, market, "2", "")),
		"2 @m1 accepted price - quantity - remaining 2", "3 @m1 filled price 100.25 quantity 2 remaining 0 final", "status @m1 committed")
	r.want(r.offer("m2", newOrder(sell, market, "0.5", "")),
		"4 @m2 accepted price - quantity - remaining 0.5", "5 @m2 filled price 99.5 quantity 0.5 remaining 0 final", "status @m2 committed")
	r.want(r.offer("l1", newOrder(buy, limit, "1", "101")),
		"6 @l1 accepted price - quantity - remaining 1", "7 @l1 filled price 100.25 quantity 1 remaining 0 final", "status @l1 committed")
	r.want(r.snapshot(), "7 snapshot X=2.5")
	r.quote("", "100")
	r.want(r.offer("m3", newOrder(sell, market, "1", "")), "8 @m3 rejected price - quantity - remaining 1 final NO_QUOTE", "status @m3 committed")
}

// Proves: BC-I
func TestRestingOrdersFillWhenTheTouchComes_BCI(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	r.want(r.offer("b1", newOrder(buy, limit, "1", "100")), "1 @b1 accepted price - quantity - remaining 1", "status @b1 committed")
	r.want(r.offer("b2", newOrder(buy, limit, "2", "100")), "2 @b2 accepted price - quantity - remaining 2", "status @b2 committed")
	r.want(r.offer("s1", newOrder(sell, limit, "3", "102")), "3 @s1 accepted price - quantity - remaining 3", "status @s1 committed")
	r.quote("99", "100.5")
	r.want(r.sync())
	r.want(r.snapshot(), "3 snapshot open @b1 1 open @b2 2 open @s1 3")
	r.quote("98", "99.5")
	r.want(r.sync(), "4 @b1 filled price 100 quantity 1 remaining 0 final", "5 @b2 filled price 100 quantity 2 remaining 0 final")
	r.quote("102", "103")
	r.want(r.sync(), "6 @s1 filled price 102 quantity 3 remaining 0 final")
	r.want(r.snapshot(), "6 snapshot")
}

// Proves: BC-I
func TestTimeInForcePostOnlyAndReduceOnly_BCI(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	with := func(o *ipc.OrderIntent, f func(*ipc.OrderIntent)) *ipc.OrderIntent { f(o); return o }
	r.want(r.offer("ioc", with(newOrder(buy, limit, "1", "100"), func(o *ipc.OrderIntent) { o.TimeInForce = ipc.TIFImmediateOrCancel })),
		"1 @ioc accepted price - quantity - remaining 1", "2 @ioc canceled price - quantity - remaining 1 final IOC", "status @ioc committed")
	r.want(r.offer("fok", with(newOrder(buy, limit, "1", "101"), func(o *ipc.OrderIntent) { o.TimeInForce = ipc.TIFFillOrKill })),
		"3 @fok accepted price - quantity - remaining 1", "4 @fok filled price 101 quantity 1 remaining 0 final", "status @fok committed")
	r.want(r.offer("post", with(newOrder(buy, limit, "1", "101"), func(o *ipc.OrderIntent) { o.PostOnly = true })),
		"5 @post rejected price - quantity - remaining 1 final POST_ONLY", "status @post committed")
	r.want(r.offer("red1", with(newOrder(buy, market, "1", ""), func(o *ipc.OrderIntent) { o.ReduceOnly = true })),
		"6 @red1 rejected price - quantity - remaining 0 final REDUCE_ONLY", "status @red1 committed")
	r.want(r.offer("red2", with(newOrder(sell, limit, "5", "105"), func(o *ipc.OrderIntent) { o.ReduceOnly = true })),
		"7 @red2 accepted price - quantity - remaining 1", "status @red2 committed")
	r.want(r.offer("half", newOrder(sell, market, "0.25", "")),
		"8 @half accepted price - quantity - remaining 0.25", "9 @half filled price 99 quantity 0.25 remaining 0 final", "status @half committed")
	r.quote("105", "106")
	r.want(r.sync(), "10 @red2 filled price 105 quantity 0.75 remaining 0.25", "11 @red2 canceled price - quantity - remaining 0.25 final REDUCE_ONLY")
	r.want(r.offer("day", with(newOrder(buy, limit, "1", "50"), func(o *ipc.OrderIntent) { o.TimeInForce = ipc.TIFDay })),
		"12 @day accepted price - quantity - remaining 1", "status @day committed")
	r.publish(&ipc.Quote{Market: ipc.Market{Instrument: "Y", RecvTS: 2 * dayNS}})
	r.want(r.sync(), "13 @day canceled price - quantity - remaining 1 final DAY_END")
}

// Proves: BC-I
func TestStopsWaitForTheirPrice_BCI(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	stop := newOrder(buy, ipc.OrderStop, "1", "")
	stop.StopPrice = dec("105")
	r.want(r.offer("st", stop), "1 @st accepted price - quantity - remaining 1", "status @st committed")
	sl := newOrder(sell, ipc.OrderStopLimit, "1", "94")
	sl.StopPrice = dec("95")
	r.want(r.offer("sl", sl), "2 @sl accepted price - quantity - remaining 1", "status @sl committed")
	r.quote("103", "104.9")
	r.want(r.sync())
	r.quote("105", "106")
	r.want(r.sync(), "3 @st filled price 106 quantity 1 remaining 0 final")
	r.quote("93", "94") // triggers, but the limit is not there
	r.want(r.sync())
	r.quote("94.5", "95")
	r.want(r.sync(), "4 @sl filled price 94 quantity 1 remaining 0 final")
}

// Proves: BC-I
func TestCancelAndAmend_BCI(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	r.offer("o1", newOrder(buy, limit, "2", "98"))
	r.offer("o2", newOrder(buy, limit, "2", "98"))
	r.want(r.offer("am1", &ipc.AmendIntent{Instrument: "X", TargetKey: key("o1"), Quantity: dec("3"), LimitPrice: dec("97")}),
		"3 @o1 amended price - quantity - remaining 3", "status @am1 committed")
	r.want(r.offer("am2", &ipc.AmendIntent{Instrument: "X", TargetKey: key("o2"), LimitPrice: dec("102")}),
		"4 @o2 amended price - quantity - remaining 2", "5 @o2 filled price 101 quantity 2 remaining 0 final", "status @am2 committed")
	r.want(r.offer("ca1", &ipc.CancelIntent{Instrument: "X", TargetKey: key("o1")}),
		"6 @o1 canceled price - quantity - remaining 3 final CANCELED", "status @ca1 committed")
	r.want(r.offer("ca2", &ipc.CancelIntent{Instrument: "X", TargetKey: key("o1")}),
		"7 @ca2 rejected price - quantity - remaining - final UNKNOWN_ORDER", "status @ca2 committed")
	r.want(r.offer("am3", &ipc.AmendIntent{Instrument: "X", TargetKey: key("o1"), Quantity: dec("1")}),
		"8 @am3 rejected price - quantity - remaining - final UNKNOWN_ORDER", "status @am3 committed")
	r.want(r.snapshot(), "8 snapshot X=2")
}

// Proves: BC-I
func TestPositionIntentMakesTheDifference_BCI(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	r.want(r.offer("p1", &ipc.PositionIntent{Instrument: "X", TargetQuantity: ipc.MustDecimal("3")}),
		"1 @p1 accepted price - quantity - remaining 3", "2 @p1 filled price 101 quantity 3 remaining 0 final", "status @p1 committed")
	r.want(r.offer("p2", &ipc.PositionIntent{Instrument: "X", TargetQuantity: ipc.MustDecimal("-1")}),
		"3 @p2 accepted price - quantity - remaining 4", "4 @p2 filled price 99 quantity 4 remaining 0 final", "status @p2 committed")
	r.want(r.offer("p3", &ipc.PositionIntent{Instrument: "X", TargetQuantity: ipc.MustDecimal("-1")}),
		"5 @p3 accepted price - quantity - remaining 0 final AT_TARGET", "status @p3 committed")
	r.want(r.offer("p4", &ipc.PositionIntent{Instrument: "X", TargetQuantity: ipc.MustDecimal("0"), LimitPrice: dec("98")}),
		"6 @p4 accepted price - quantity - remaining 1", "status @p4 committed")
	r.want(r.offer("p5", &ipc.PositionIntent{Instrument: "X", TargetQuantity: ipc.MustDecimal("1"), LimitPrice: dec("97")}),
		"7 @p4 canceled price - quantity - remaining 1 final REPLACED", "8 @p5 accepted price - quantity - remaining 2", "status @p5 committed")
}

// Proves: BC-I
func TestOtherIntentsAreTakenWithoutAnOrder_BCI(t *testing.T) {
	r := newRig(t)
	r.want(r.offer("al", &ipc.AlertIntent{Severity: ipc.SeverityInfo, Code: "HELLO"}), "status @al committed")
	r.want(r.offer("no", &ipc.NoOpIntent{Reason: "quiet"}), "status @no committed")
	r.want(r.offer("hi", &ipc.RiskHint{Hint: "vol"}), "status @hi committed")
}

// The touch is that of quotes, whatever else comes; without quotes the book's, else a bar's or trade's price.
// Proves: BC-I
func TestTouchComesFromTheBestSource_BCI(t *testing.T) {
	r := newRig(t)
	fill := func(name string) []string { return r.offer(name, newOrder(buy, market, "1", "")) }
	last := func(got []string) string { return strings.Fields(got[1])[4] }
	bar := &ipc.Bar{PeriodNS: 1, Open: *dec("1"), High: *dec("9"), Low: *dec("1"), Close: *dec("7"), Volume: *dec("1")}
	r.publish(bar)
	if p := last(fill("a1")); p != "7" {
		t.Errorf("after a bar the price is %s", p)
	}
	r.publish(&ipc.Trade{Price: *dec("8"), Quantity: *dec("1")})
	if p := last(fill("a2")); p != "8" {
		t.Errorf("after a trade the price is %s", p)
	}
	r.publish(&ipc.QuoteBar{PeriodNS: 1, BidClose: dec("10"), AskClose: dec("11")})
	if p := last(fill("a3")); p != "11" {
		t.Errorf("after a quote bar the price is %s", p)
	}
	r.publish(&ipc.BookSnapshot{LastSeq: 10, Bids: []ipc.Level{{Price: *dec("20"), Quantity: *dec("1")}}, Asks: []ipc.Level{{Price: *dec("21"), Quantity: *dec("1")}, {Price: *dec("22"), Quantity: *dec("1")}}})
	r.publish(&ipc.BookDelta{FirstSeq: 5, LastSeq: 9, Asks: []ipc.Level{{Price: *dec("20.5"), Quantity: *dec("1")}}}) // older than the snapshot
	if p := last(fill("a4")); p != "21" {
		t.Errorf("after a snapshot the price is %s", p)
	}
	r.publish(&ipc.BookDelta{FirstSeq: 11, LastSeq: 12, Asks: []ipc.Level{{Price: *dec("21")}, {Price: *dec("21.5"), Quantity: *dec("3")}}})
	if p := last(fill("a5")); p != "21.5" {
		t.Errorf("after a delta the price is %s", p)
	}
	r.quote("30", "31")
	r.publish(bar)
	r.publish(&ipc.Trade{Price: *dec("8"), Quantity: *dec("1")})
	r.publish(&ipc.BookDelta{FirstSeq: 13, LastSeq: 14, Asks: []ipc.Level{{Price: *dec("1"), Quantity: *dec("3")}}})
	if p := last(fill("a6")); p != "31" {
		t.Errorf("after a quote nothing else counts, yet the price is %s", p)
	}
	r.publish(&ipc.TradingStatus{Status: ipc.TradingHalted})
	if got := fill("a7"); !strings.Contains(got[0], "HALTED") {
		t.Errorf("halted: %v", got)
	}
	r.publish(&ipc.TradingStatus{Status: ipc.TradingOpen})
	if p := last(fill("a8")); p != "31" {
		t.Errorf("reopened, the price is %s", p)
	}
}

// Proves: GT-5, DOD-6
func TestKeyIsAppliedOnce_GT5(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	o := r.makeOffer(address, "once", newOrder(buy, market, "2", ""))
	r.want(r.send(o), "1 @once accepted price - quantity - remaining 2", "2 @once filled price 101 quantity 2 remaining 0 final", "status @once committed")
	r.want(r.send(o), "status @once committed")
	r.restart()
	r.sync() // what was never acknowledged comes again
	r.want(r.send(o), "status @once committed")
	conflict := r.makeOffer(address, "once", newOrder(buy, market, "3", ""))
	r.want(r.send(conflict), "status @once rejected KEY_CONFLICT")
	r.want(r.send(o), "status @once committed")
	r.want(r.snapshot(), "2 snapshot X=2")
	q, err := r.client.Query(r.bg, address, r.epoch, key("once"))
	if err != nil || q.Status != ipc.StatusCommitted || q.Digest == nil || *q.Digest != o.Digest {
		t.Errorf("query %+v %v", q, err)
	}
	if q, err := r.client.Query(r.bg, address, r.epoch, key("none")); err != nil || q.Status != ipc.StatusNotSeen || q.Digest != nil {
		t.Errorf("query of an unknown key %+v %v", q, err)
	}
}

// Proves: GT-5, BC-I
func TestBadOffersAreRejectedWithReason_GT5(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	o := r.makeOffer(address, "dig", newOrder(buy, market, "2", ""))
	sound := o.Digest
	o.Digest[0] ^= 1
	r.want(r.send(o), "status @dig rejected DIGEST_MISMATCH")
	o.Digest = sound
	r.want(r.send(o), "1 @dig accepted price - quantity - remaining 2", "2 @dig filled price 101 quantity 2 remaining 0 final", "status @dig committed")
	o = r.makeOffer(other, "adr", newOrder(buy, market, "2", ""))
	o.Address = address
	r.want(r.send(o), "status @adr rejected INVALID_INTENT")
	r.want(r.offer("zero", newOrder(buy, market, "0", "")), "status @zero rejected INVALID_INTENT")
	r.want(r.offer("nolm", newOrder(buy, limit, "1", "")), "status @nolm rejected INVALID_INTENT")
	r.want(r.offer("neg", newOrder(buy, limit, "1", "-5")), "status @neg rejected INVALID_INTENT")
	o = r.makeOffer(address, "late", newOrder(buy, market, "2", ""))
	o.ValidUntil = 999_999_999 // the quote came at 1 s
	r.want(r.send(o), "status @late expired VALID_UNTIL_PASSED")
	o.ValidUntil = 1 << 62
	r.want(r.send(o), "status @late expired VALID_UNTIL_PASSED")
	r.want(r.snapshot(), "2 snapshot X=2")
}

// Proves: GT-6, BC-I
func TestTombstoneBarsAKeyForEver_GT6(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	s, err := r.client.Tombstone(r.bg, address, r.epoch, key("tomb"))
	if err != nil || s.Status != ipc.StatusExpired || s.Digest != nil {
		t.Fatalf("%+v %v", s, err)
	}
	r.restart()
	r.quote("99", "101")
	r.want(r.offer("tomb", newOrder(buy, market, "1", "")), "status @tomb expired TOMBSTONED")
	r.offer("know", newOrder(buy, market, "1", ""))
	if s, err := r.client.Tombstone(r.bg, address, r.epoch, key("know")); err != nil || s.Status != ipc.StatusCommitted {
		t.Errorf("a known key: %+v %v", s, err)
	}
}

// Proves: LS-3, NN-6, DOD-6
func TestOnlyTheHighestEpochAndOneOwnerSpeak_LS3(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	hello := func(epoch ipc.Epoch, owner byte) (*execution.Client, *notes, error) {
		c, n := r.dial(), &notes{}
		t.Cleanup(func() { _ = c.Close() })
		a := r.announcement()
		a.Epoch, a.Owner = epoch, ipc.Nonce{owner}
		_, err := c.Hello(r.bg, a, n)
		return c, n, err
	}
	var refused *execution.RefusedError
	if _, _, err := hello(1, 2); !errors.As(err, &refused) || refused.Reason != ipc.ReasonSecondOwner || refused.Epoch != 1 {
		t.Errorf("the same epoch with another owner: %v", err)
	}
	if _, _, err := hello(1, 1); err != nil {
		t.Errorf("the same owner again: %v", err)
	}
	second, _, err := hello(5, 2)
	if err != nil {
		t.Fatal(err)
	}
	r.want(r.offer("old", newOrder(buy, market, "1", "")), "refused EPOCH_PASSED epoch 5")
	if _, err := r.client.Query(r.bg, address, 1, key("old")); !errors.As(err, &refused) || refused.Reason != ipc.ReasonEpochPassed {
		t.Errorf("query of the former owner: %v", err)
	}
	if s, err := second.Query(r.bg, address, 5, key("old")); err != nil || s.Status != ipc.StatusNotSeen {
		t.Errorf("the former owner's offer left %+v %v", s, err)
	}
	if _, err := second.Query(r.bg, address, 6, key("old")); !errors.As(err, &refused) || refused.Reason != ReasonEpochUnknown {
		t.Errorf("an epoch that nobody announced: %v", err)
	}
	if _, _, err := hello(4, 3); !errors.As(err, &refused) || refused.Reason != ipc.ReasonEpochPassed || refused.Epoch != 5 {
		t.Errorf("a lower epoch: %v", err)
	}
	r.epoch = 5
	r.want(r.send(r.makeOffer(other, "far", newOrder(buy, market, "1", ""))))
	if got := text(r.notes.take()); len(got) != 0 {
		t.Errorf("another instance's refusal came here: %v", got)
	}
	r.epoch = 6
	r.restart() // the epoch is durable
	r.epoch = 5
	if _, _, err := hello(5, 2); !errors.As(err, &refused) || refused.Epoch != 6 {
		t.Errorf("after a restart: %v", err)
	}
}

// Proves: BC-I, BP-2, ST-1
func TestReportsAreRepeatedUntilAcknowledged_BP2(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	r.offer("a", newOrder(buy, market, "1", ""))
	r.offer("b", newOrder(buy, market, "1", ""))
	if err := r.client.Ack(address, ipc.Cursor{Source: DefaultSource, Epoch: 1, Seq: 3}); err != nil {
		t.Fatal(err)
	}
	w := r.restart()
	if w.Cursor != (ipc.Cursor{Source: DefaultSource, Epoch: 1, Seq: 4}) || w.LastStep != 2 {
		t.Errorf("welcome %+v", w)
	}
	r.want(r.sync(), "4 @b filled price 101 quantity 1 remaining 0 final")
	if err := r.client.Resume(address, ipc.Cursor{Source: DefaultSource, Epoch: 1, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	r.want(r.sync(), "2 @a filled price 101 quantity 1 remaining 0 final", "3 @b accepted price - quantity - remaining 1", "4 @b filled price 101 quantity 1 remaining 0 final")
	if err := r.client.Resume(address, ipc.Cursor{Source: DefaultSource, Epoch: 1, Seq: 9}); err != nil {
		t.Fatal(err)
	}
	r.want(r.sync(), "refused CURSOR_AHEAD epoch 1")
}

// An instance that was created anew under its old name gets reports with numbers of their own; positions and orders stay.
// Proves: BC-I, BC-H
func TestNewLineageStartsANewSourceEpoch_BCH(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	r.offer("a", newOrder(buy, market, "1", ""))
	r.offer("rest", newOrder(buy, limit, "1", "50"))
	n := &notes{}
	a := r.announcement()
	a.Epoch, a.Lineage = 2, ipc.Lineage{9}
	w, err := r.client.Hello(r.bg, a, n)
	if err != nil || w.Cursor != (ipc.Cursor{Source: DefaultSource, Epoch: 2, Seq: 0}) || w.LastStep != 0 {
		t.Fatalf("%+v %v", w, err)
	}
	r.notes, r.epoch = n, 2
	if err := r.client.Resume(address, ipc.Cursor{Source: DefaultSource, Epoch: 1, Seq: 3}); err != nil {
		t.Fatal(err)
	}
	r.want(r.sync(), "0 snapshot X=1 open @rest 1")
	r.want(r.offer("b", newOrder(sell, market, "1", "")), "1 @b accepted price - quantity - remaining 1", "2 @b filled price 99 quantity 1 remaining 0 final", "status @b committed")
}

// Proves: GT-6, BC-I
func TestRestartKeepsOrdersAndPositions_GT6(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	r.offer("pos", newOrder(buy, market, "1.5", ""))
	r.offer("r1", newOrder(sell, limit, "1", "103"))
	stop := newOrder(sell, ipc.OrderStop, "0.5", "")
	stop.StopPrice = dec("90")
	stop.ReduceOnly = true
	r.offer("r2", stop)
	r.restart()
	r.sync()
	r.want(r.snapshot(), "4 snapshot X=1.5 open @r1 1 open @r2 0.5")
	r.want(r.offer("blind", newOrder(sell, market, "1", "")), "5 @blin rejected price - quantity - remaining 1 final NO_QUOTE", "status @blin committed")
	r.quote("104", "105")
	r.want(r.sync(), "6 @r1 filled price 103 quantity 1 remaining 0 final")
	r.quote("89", "91")
	r.want(r.sync(), "7 @r2 filled price 89 quantity 0.5 remaining 0 final")
	r.want(r.snapshot(), "7 snapshot")
}

// The same feed and the same offers give the same reports, to the byte.
// Proves: NN-7
func TestSameFeedGivesTheSameReports_NN7(t *testing.T) {
	run := func() []ipc.Message {
		r := newRig(t)
		for i := range 200 {
			p := ipc.FromInt(int64(100 + (i*37)%23))
			q, _ := p.Add(ipc.MustDecimal("0.5"))
			r.publish(&ipc.Quote{Bid: &p, Ask: &q})
			side := buy
			if i%3 == 0 {
				side = sell
			}
			o := newOrder(side, limit, "1", p.String())
			if i%5 == 0 {
				o = newOrder(side, market, "2", "")
			}
			if _, err := r.client.Offer(r.makeOffer(address, string(rune('A'+i%26))+string(rune('a'+i/26)), o)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.client.Sync(r.bg); err != nil {
			t.Fatal(err)
		}
		return r.notes.take()
	}
	a, b := run(), run()
	if len(a) < 500 || !reflect.DeepEqual(a, b) {
		t.Errorf("%d and %d messages, equal: %v", len(a), len(b), reflect.DeepEqual(a, b))
	}
}

// A peer that breaks the protocol loses its connection; the others go on.
// Proves: BC-I
func TestBadInputEndsOneConnectionOnly_BCI(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	frame := func(m ipc.Message) []byte {
		b, err := ipc.AppendFrame(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	execution := &ipc.SourceEvent{Event: &ipc.Shutdown{Reason: "X"}}
	for name, b := range map[string][]byte{
		"garbage":         []byte("GET / HTTP/1.1\r\n\r\n"),
		"huge frame":      {0xff, 0xff, 0xff, 0xff, 1},
		"empty frame":     {0, 0, 0, 0},
		"runner's":        frame(&ipc.HealthReport{Seq: 1}),
		"peer's":          frame(&ipc.Welcome{Seq: 1, Address: address}),
		"approval":        frame(&ipc.ApprovalRequest{Address: address, Intent: intent(address, "x", &ipc.NoOpIntent{Reason: "x"})}),
		"no market event": frame(execution),
		"ack of nothing":  frame(&ipc.Ack{Seq: 1}),
		"short array":     {0, 0, 0, 2, 0x91, 35},
		"half a frame":    {0, 0, 0, 9, 0x91},
	} {
		c, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if name == "half a frame" {
			if err := c.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: the connection stays open (%d, %v)", name, n, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r.want(r.offer("fine", newOrder(buy, market, "1", "")), "1 @fine accepted price - quantity - remaining 1", "2 @fine filled price 101 quantity 1 remaining 0 final", "status @fine committed")
	// An ack beyond the last report is a lie.
	if err := r.client.Ack(address, ipc.Cursor{Source: DefaultSource, Epoch: 1, Seq: 99}); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Sync(r.bg); err == nil {
		<-r.client.Done()
	}
	if err := r.client.Err(); err == nil {
		t.Error("the connection stays open after an ack of a report that does not exist")
	}
}

// Proves: BC-I
func TestInstanceWithoutHelloIsRefused_BCI(t *testing.T) {
	r := newRig(t)
	var refused *execution.RefusedError
	if _, err := r.client.Query(r.bg, other, 1, key("x")); !errors.As(err, &refused) || refused.Reason != ReasonNoHello {
		t.Errorf("%v", err)
	}
}

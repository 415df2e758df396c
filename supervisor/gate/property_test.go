package gate

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
)

func drawDecimal(t *rapid.T, low, high int64, label string) ipc.Decimal {
	d, ok := ipc.NewDecimal(rapid.Int64Range(low, high).Draw(t, label), rapid.IntRange(-6, 0).Draw(t, label+" exponent"))
	if !ok {
		t.Fatal("a small decimal has a form")
	}
	return d
}

func drawRestriction(t *rapid.T) ipc.Restriction {
	r := Unrestricted()
	if rapid.Bool().Draw(t, "scales") {
		// Factors of up to 17 digits, broken ones among them.
		r.SizeFactor, _ = ipc.NewDecimal(rapid.Int64Range(-5, 1e17).Draw(t, "factor"), -rapid.IntRange(0, 17).Draw(t, "factor exponent"))
	}
	r.LimitOnly, r.ReduceOnly = rapid.IntRange(0, 3).Draw(t, "limit_only") == 0, rapid.IntRange(0, 3).Draw(t, "reduce_only") == 0
	r.NoTrade = rapid.IntRange(0, 7).Draw(t, "no_trade") == 0
	return r
}

func drawHeld(t *rapid.T, most int) []Held {
	var held []Held
	for range rapid.IntRange(0, most).Draw(t, "held") {
		id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "id")
		held = Impose(held, Held{ID: id, Restriction: drawRestriction(t), Reason: ipc.ReasonCode("BECAUSE_" + id)})
	}
	return held
}

// lessOrEqual says that what m permits, n permits too.
func lessOrEqual(m, n Mode) bool {
	return m.SizeFactor.Cmp(n.SizeFactor) <= 0 && (m.LimitOnly || !n.LimitOnly) && (m.ReduceOnly || !n.ReduceOnly) && (m.NoTrade || !n.NoTrade)
}

// Proves: GT-3
func TestJoinIsCommutativeAssociativeIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawHeld(t, 4), drawHeld(t, 4)
		both := slices.Clone(a)
		for _, h := range b {
			h.ID = "z" + h.ID // beside, not in place of, those of a
			both = Impose(both, h)
		}
		joined := Join(both)
		shuffled := slices.Clone(both)
		rand.New(rand.NewSource(rapid.Int64().Draw(t, "order"))).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		var again []Held
		for _, h := range append(shuffled, shuffled...) {
			again = Impose(again, h)
		}
		if got := Join(again); got != joined {
			t.Fatalf("another order, and twice: %+v, before %+v", got, joined)
		}
		left, right := Join(a), Join(b)
		for _, part := range []Mode{left, right} {
			if !lessOrEqual(joined, part) {
				t.Fatalf("join %+v permits what a part forbids: %+v", joined, part)
			}
		}
		// The join of the parts' modes is the join of everything.
		as := func(m Mode) Held {
			return Held{Restriction: ipc.Restriction{SizeFactor: m.SizeFactor, LimitOnly: m.LimitOnly, ReduceOnly: m.ReduceOnly, NoTrade: m.NoTrade}}
		}
		twoStep := Join([]Held{as(left), as(right)})
		if !lessOrEqual(twoStep, joined) || !lessOrEqual(joined, twoStep) {
			t.Fatalf("joined in two steps %+v, at once %+v", twoStep, joined)
		}
		for _, h := range both {
			rest, ok := Lift(slices.Clone(both), h.ID)
			if !ok || !lessOrEqual(joined, Join(rest)) {
				t.Fatalf("lifting %s restricts more", h.ID)
			}
		}
	})
}

func drawBody(t *rapid.T, g *Gate) ipc.IntentBody {
	price := func() *ipc.Decimal {
		if rapid.Bool().Draw(t, "priced") {
			return ref(drawDecimal(t, 1, 1e9, "price"))
		}
		return nil
	}
	switch rapid.IntRange(0, 3).Draw(t, "body") {
	case 0:
		return &ipc.PositionIntent{Instrument: btc, TargetQuantity: drawDecimal(t, -1e7, 1e7, "target"), LimitPrice: price()}
	case 1:
		if open := g.Book.Open(); len(open) > 0 {
			a := &ipc.AmendIntent{Instrument: btc, TargetKey: rapid.SampledFrom(open).Draw(t, "amended").Key, LimitPrice: price()}
			if rapid.Bool().Draw(t, "resized") {
				a.Quantity = ref(drawDecimal(t, 1, 1e7, "new quantity"))
			}
			return a
		}
	}
	o := &ipc.OrderIntent{Instrument: btc, Side: rapid.SampledFrom([]ipc.Side{ipc.SideBuy, ipc.SideSell}).Draw(t, "side"), Type: ipc.OrderMarket,
		Quantity: drawDecimal(t, 1, 1e7, "quantity"), TimeInForce: ipc.TIFDay, ReduceOnly: rapid.Bool().Draw(t, "asks reduce_only")}
	if o.LimitPrice = price(); o.LimitPrice != nil {
		o.Type = ipc.OrderLimit
	}
	return o
}

// drawBook gives the gate a position and up to three open orders.
func drawBook(t *rapid.T, tb testing.TB, g *Gate) {
	g.Book.set(btc, drawDecimal(t, -1e6, 1e6, "position"))
	for step := range rapid.IntRange(0, 3).Draw(t, "open orders") {
		accept(tb, g, ipc.Step(step+1), drawBody(t, g), unrestricted())
	}
}

// traded is how much an intent changes: what is compared when restrictions are added.
func traded(g *Gate, b ipc.IntentBody) ipc.Decimal {
	switch body := b.(type) {
	case *ipc.OrderIntent:
		return body.Quantity
	case *ipc.AmendIntent:
		if body.Quantity != nil {
			return *body.Quantity
		}
	case *ipc.PositionIntent:
		_, distance, _ := g.Book.distance(body)
		return distance
	}
	return ipc.Decimal{}
}

// What passes under more restrictions passes, not larger, under fewer. Targets are compared before the lot: towards zero may be further away.
// Proves: GT-3
func TestMoreRestrictionsNeverPermitMore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGate(t)
		drawBook(rt, t, g)
		body := drawBody(rt, g)
		if _, target := body.(*ipc.PositionIntent); target {
			spec := g.Policy.Instruments[btc]
			spec.Lot, spec.MaxQuantity = ipc.Decimal{}, ipc.Decimal{}
			g.Policy.Instruments[btc] = spec
		}
		fewer := drawHeld(rt, 3)
		more := Impose(slices.Clone(fewer), Held{ID: "zz", Restriction: drawRestriction(rt)})
		const step = 9
		under := judge(t, g, intent(step, 0, "", body), step, 0, Join(more))
		if !under.Permitted() {
			return
		}
		free := judge(t, g, intent(step, 0, "", body), step, 0, Join(fewer))
		if !free.Permitted() {
			rt.Fatalf("%#v passes under %+v and is refused (%s) under %+v", body, Join(more), free.Detail, Join(fewer))
		}
		if traded(g, under.Intent.Body).Cmp(traded(g, free.Intent.Body)) > 0 {
			rt.Fatalf("%#v: %s under more restrictions, %s under fewer", body, traded(g, under.Intent.Body), traded(g, free.Intent.Body))
		}
	})
}

// Proves: GT-1
func TestRoundingNeverIncreasesRisk_GT1(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGate(t)
		g.Policy.Instruments[btc] = ipc.Instrument{ID: btc, Tick: drawDecimal(rt, 0, 1000, "tick"), Lot: drawDecimal(rt, 0, 1000, "lot"),
			MinQuantity: drawDecimal(rt, 0, 1000, "min"), MaxQuantity: drawDecimal(rt, 0, 1e7, "max"), MinNotional: drawDecimal(rt, 0, 1000, "notional"), Venue: "BINANCE"}
		spec := g.Policy.Instruments[btc]
		g.Book.set(btc, drawDecimal(rt, -1e6, 1e6, "position"))
		asked := drawBody(rt, g)
		v := judge(t, g, intent(1, 0, "", asked), 1, 0, Join(drawHeld(rt, 2)))
		if !v.Permitted() {
			return
		}
		switch got := v.Intent.Body.(type) {
		case *ipc.OrderIntent:
			o := asked.(*ipc.OrderIntent)
			if got.Side != o.Side || got.Quantity.Cmp(o.Quantity) > 0 || got.Quantity.Sign() <= 0 || o.ReduceOnly && !got.ReduceOnly {
				rt.Fatalf("%+v became %+v", o, got)
			}
			safer(rt, o.Side, o.LimitPrice, got.LimitPrice)
			if !spec.Lot.IsZero() && !got.Quantity.IsMultipleOf(spec.Lot) || got.Quantity.Cmp(spec.MinQuantity) < 0 {
				rt.Fatalf("quantity %s breaks %+v", got.Quantity, spec)
			}
			if got.LimitPrice != nil && !spec.Tick.IsZero() && !got.LimitPrice.IsMultipleOf(spec.Tick) {
				rt.Fatalf("price %s is off the tick %s", got.LimitPrice, spec.Tick)
			}
		case *ipc.PositionIntent:
			p, now := asked.(*ipc.PositionIntent), g.Book.Position(btc)
			low, high := ipc.Decimal{}, ipc.Decimal{} // towards zero of the target, or of where the position is
			for _, d := range []ipc.Decimal{now, p.TargetQuantity} {
				if d.Cmp(low) < 0 {
					low = d
				}
				if d.Cmp(high) > 0 {
					high = d
				}
			}
			if got.TargetQuantity.Cmp(low) < 0 || got.TargetQuantity.Cmp(high) > 0 {
				rt.Fatalf("at %s the target %s became %s", now, p.TargetQuantity, got.TargetQuantity)
			}
		}
	})
}

func safer(t *rapid.T, side ipc.Side, asked, got *ipc.Decimal) {
	if asked == nil {
		return
	}
	if side == ipc.SideBuy && got.Cmp(*asked) > 0 || side == ipc.SideSell && got.Cmp(*asked) < 0 {
		t.Fatalf("side %d: price %s became %s", side, asked, got)
	}
}

// Only reducing orders, amends of them and targets are accepted; fills, cancels and final reports come in any order, before and after I's
// word: the position only ever moves towards zero and never through it.
// Proves: GT-3
func TestReduceOnlyNeverTurnsThePosition(t *testing.T) {
	reduce := Join([]Held{{ID: "x", Restriction: ReduceOnly()}})
	rapid.Check(t, func(rt *rapid.T) {
		g := newGate(t)
		spec := g.Policy.Instruments[btc]
		spec.MinNotional, spec.MinQuantity = ipc.Decimal{}, ipc.Decimal{}
		g.Policy.Instruments[btc] = spec
		start := drawDecimal(rt, -1e6, 1e6, "position")
		g.Book.set(btc, start)
		working := map[ipc.Key]ipc.Decimal{} // at I: what may still fill
		for step := ipc.Step(1); step < 30; step++ {
			if rapid.Bool().Draw(rt, "order") {
				body := drawBody(rt, g)
				if _, target := body.(*ipc.PositionIntent); target {
					continue // what I makes of a target is its own; TestPositionTargets looks at them
				}
				k, v := accept(t, g, step, body, reduce)
				if k == nil {
					continue
				}
				switch b := v.Intent.Body.(type) {
				case *ipc.OrderIntent:
					working[k.Key] = b.Quantity
				case *ipc.AmendIntent:
					if left, ok := working[b.TargetKey]; ok && b.Quantity != nil && !left.IsZero() {
						working[b.TargetKey] = *b.Quantity
					}
					g.Book.SetStatus(k.Key, ipc.StatusOffered, 0)
					g.Book.SetStatus(k.Key, ipc.StatusCommitted, 0)
				}
				continue
			}
			open := g.Book.Open()
			if len(open) == 0 {
				continue
			}
			k := rapid.SampledFrom(open).Draw(rt, "of")
			o, ok := k.Intent.Body.(*ipc.OrderIntent)
			if !ok {
				continue
			}
			left := working[k.Key]
			x := &ipc.Execution{Key: k.Key, Instrument: btc, Side: o.Side, Report: ipc.ExecFilled}
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				g.Book.SetStatus(k.Key, ipc.StatusOffered, 0)
				g.Book.SetStatus(k.Key, ipc.StatusCommitted, 0)
				continue
			case 1:
				x.Report, x.Final = ipc.ExecCanceled, true
				left = ipc.Decimal{}
			case 2:
				x.Quantity, x.Final = ref(left), true
				left = ipc.Decimal{}
			case 3:
				part, ok := left.Mul(ipc.Decimal{M: 5, E: -1})
				if !ok {
					continue
				}
				x.Quantity = ref(part)
				left, _ = left.Sub(part)
				if rapid.Bool().Draw(rt, "remaining told") {
					x.Remaining = ref(left)
				}
			}
			before := g.Book.Position(btc)
			if err := g.Book.Execute(x, 0); err != nil {
				rt.Fatal(err)
			}
			working[k.Key] = left
			after := g.Book.Position(btc)
			if after.Abs().Cmp(before.Abs()) > 0 || after.Sign()*start.Sign() < 0 {
				rt.Fatalf("from %s over %s to %s", start, before, after)
			}
		}
	})
}

// Proves: NN-7, ST-1
func TestBookRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGate(t)
		drawBook(rt, t, g)
		for step := ipc.Step(10); step < 13; step++ {
			name := rapid.SampledFrom([]string{"", "entry", "exit"}).Draw(rt, "name")
			v := judge(t, g, intent(step, 0, name, drawBody(rt, g)), step, 0, unrestricted())
			if v.Permitted() {
				g.Book.Track(&Tracked{Key: v.Intent.Meta.Key, Step: step, Intent: v.Intent, Status: ipc.StatusOffered, Unsettled: true})
			}
		}
		if rapid.Bool().Draw(rt, "unknown") {
			g.Book.SetUnknown(ipc.ReasonExecutionGap)
		}
		write := func(b *Book) []byte {
			r, err := b.Record()
			if err != nil {
				rt.Fatal(err)
			}
			raw, err := json.Marshal(r)
			if err != nil {
				rt.Fatal(err)
			}
			return raw
		}
		once := write(g.Book)
		var r BookRecord
		if err := json.Unmarshal(once, &r); err != nil {
			rt.Fatal(err)
		}
		loaded := NewBook()
		if err := loaded.Load(r); err != nil {
			rt.Fatal(err)
		}
		if twice := write(loaded); string(twice) != string(once) {
			rt.Fatal(cmp.Diff(string(once), string(twice)))
		}
		for _, side := range []ipc.Side{ipc.SideBuy, ipc.SideSell} {
			if a, b := g.Book.Reducible(btc, side), loaded.Reducible(btc, side); a != b {
				rt.Fatalf("reducible %s, loaded %s", a, b)
			}
		}
	})
}

// scale is exact where the result has a form, else below it; it is monotone in the factor at every size.
// Proves: GT-3
func TestScaleIsMonotone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		any := func(label string) ipc.Decimal {
			d, ok := ipc.NewDecimal(rapid.Int64Range(0, 1<<62).Draw(rt, label), rapid.IntRange(-40, 40).Draw(rt, label+" exponent"))
			if !ok {
				rt.Fatal("62 bits have a form")
			}
			return d
		}
		factor := func(label string) ipc.Decimal {
			d, _ := ipc.NewDecimal(rapid.Int64Range(0, 1e18).Draw(rt, label), -18)
			return d
		}
		quantity, free, low, high := any("quantity"), any("free"), factor("low"), factor("high")
		if low.Cmp(high) > 0 {
			low, high = high, low
		}
		less, more, none := scale(quantity, free, low, false), scale(quantity, free, high, false), scale(quantity, free, high, true)
		least := free
		if quantity.Cmp(free) < 0 {
			least = quantity
		}
		if none != least || less.Cmp(least) < 0 || more.Cmp(less) < 0 || more.Cmp(quantity) > 0 {
			rt.Fatalf("%s of which %s are free: %s, %s, %s", quantity, free, none, less, more)
		}
	})
}

// approach lies between the position and the exact sum, moves with the difference, and is exact where that has a form.
// Proves: GT-1, GT-3
func TestATargetIsCutTowardsThePosition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		any := func(label string, low int64) ipc.Decimal {
			d, ok := ipc.NewDecimal(rapid.Int64Range(low, 1<<62).Draw(rt, label), rapid.IntRange(-40, 40).Draw(rt, label+" exponent"))
			if !ok {
				rt.Fatal("62 bits have a form")
			}
			return d
		}
		now, less, more := any("now", -1<<62), any("less", 0), any("more", 0)
		if less.Cmp(more) > 0 {
			less, more = more, less
		}
		if rapid.Bool().Draw(rt, "sells") {
			less, more = less.Neg(), more.Neg()
		}
		near, ok := approach(now, less)
		far, also := approach(now, more)
		if !ok || !also {
			rt.Fatalf("%s and %s or %s: no target", now, less, more)
		}
		if sum, exact := now.Add(more); exact && far != sum {
			rt.Fatalf("%s and %s is %s, not %s", now, more, sum, far)
		}
		// The numbers lie in this order on the way that the difference goes.
		way := more.Sign()
		if way == 0 {
			return
		}
		if near.Cmp(now)*way < 0 || far.Cmp(near)*way < 0 || rat(far).Cmp(new(big.Rat).Add(rat(now), rat(more)))*way > 0 {
			rt.Fatalf("from %s by %s to %s, by %s to %s", now, less, near, more, far)
		}
	})
}

func rat(d ipc.Decimal) *big.Rat {
	power := new(big.Rat).SetInt(new(big.Int).Exp(ten, big.NewInt(int64(max(d.E, -d.E))), nil))
	if d.E < 0 {
		power.Inv(power)
	}
	return power.Mul(power, new(big.Rat).SetInt64(d.M))
}

// A scale so small that the exact target has 21 digits: with reduce_only beside it the order was always cut to what is reducible and passed.
// Proves: GT-3
func TestATinyScaleCutsAndDoesNotRefuse(t *testing.T) {
	g := newGate(t)
	spec := g.Policy.Instruments[btc]
	spec.Lot, spec.MaxQuantity = ipc.Decimal{}, ipc.Decimal{}
	g.Policy.Instruments[btc] = spec
	g.Book.set(btc, ipc.MustDecimal("56537.6"))
	accept(t, g, 1, &ipc.PositionIntent{Instrument: btc, TargetQuantity: ipc.MustDecimal("583.077")}, unrestricted())
	r := ipc.Restriction{SizeFactor: ipc.MustDecimal("0.0000000260046519")}
	v := judge(t, g, intent(9, 0, "", &ipc.PositionIntent{Instrument: btc, TargetQuantity: ipc.MustDecimal("-0.4")}), 9, 0, Join([]Held{{ID: "s", Restriction: r}}))
	if !v.Permitted() {
		t.Fatalf("refused: %s", v.Detail)
	}
	target := v.Intent.Body.(*ipc.PositionIntent).TargetQuantity
	if want := ipc.MustDecimal("55954.5215449117053"); target != want {
		t.Errorf("the target is %s, want %s: 583.078 can be sold, and of the rest a forty-millionth", target, want)
	}
}

// The least int64 is no mantissa: what adds up to it is cut like any sum that is too long.
//
// Proves: GT-1, GT-3
func TestTheLeastMantissaIsCut(t *testing.T) {
	half := ipc.Decimal{M: -1 << 62, E: 1}
	if got, ok := approach(half, half); !ok || got != (ipc.Decimal{M: -92233720368547758, E: 3}) {
		t.Errorf("the sum of %s twice is %s, %v", half, got, ok)
	}
	if got := towardZero(big.NewInt(math.MinInt64), 1); got != (ipc.Decimal{M: -92233720368547758, E: 3}) {
		t.Errorf("-2^63·10 becomes %s", got)
	}
}

package mailbox

import (
	"math/big"

	"github.com/msup/msup/ipc"
)

const (
	// vwapDigits is what the volume-weighted average price is rounded to, half to even: as many as fit every decimal.
	vwapDigits = 18
	// maxSummedExponent bounds the decimals that are summed; real prices are far inside, and vwap always fits.
	maxSummedExponent = 60
	// vwapExponent is the finest place of a vwap. Prices of both signs can cancel out to less than any decimal can say.
	vwapExponent = -100
)

// tradeSum is what an aggregate of trades is made of. The amount is exact, whatever the prices.
type tradeSum struct {
	count              uint64
	firstSeq           uint64
	first, high, low   ipc.Decimal
	total, buy, sell   ipc.Decimal
	amount, term, unit big.Int // amount · 10^exponent = Σ price · quantity
	exponent           int
}

// summable reports whether a trade can be part of an aggregate.
func summable(e *ipc.Trade) bool {
	return e.Quantity.Sign() > 0 && inside(e.Quantity) && inside(e.Price)
}

func inside(d ipc.Decimal) bool { return d.E >= -maxSummedExponent && d.E <= maxSummedExponent }

func (m *market) mergeTrade(s *slot, e *ipc.Trade) bool {
	if e.Quality&ipc.QualityDup != 0 || !summable(e) {
		return false
	}
	if s.trades != nil {
		return s.trades.add(e)
	}
	first := s.item.Decoded.(*ipc.Trade) //nolint:forcetypeassert // only a trade opens a delivery of this family
	t := m.spare.sum()
	t.begin(first)
	if !t.add(first) || !t.add(e) {
		m.spare.give(&slot{trades: t})
		return false
	}
	s.trades = t
	return true
}

func (t *tradeSum) begin(e *ipc.Trade) {
	t.count, t.firstSeq, t.exponent = 0, e.Seq, int(e.Price.E)+int(e.Quantity.E)
	t.first, t.high, t.low = e.Price, e.Price, e.Price
	t.total, t.buy, t.sell = ipc.Decimal{}, ipc.Decimal{}, ipc.Decimal{}
	t.amount.SetInt64(0)
}

// add sums a trade, or changes nothing when an exact sum is no decimal.
func (t *tradeSum) add(e *ipc.Trade) bool {
	total, fits := t.total.Add(e.Quantity)
	if !fits || !inside(total) {
		return false
	}
	buy, sell := t.buy, t.sell
	switch e.Side {
	case ipc.SideBuy:
		buy, fits = buy.Add(e.Quantity)
	case ipc.SideSell:
		sell, fits = sell.Add(e.Quantity)
	}
	if !fits {
		return false
	}
	t.total, t.buy, t.sell = total, buy, sell
	t.count++
	if t.high.Less(e.Price) {
		t.high = e.Price
	}
	if e.Price.Less(t.low) {
		t.low = e.Price
	}
	t.term.Mul(t.term.SetInt64(e.Price.M), t.unit.SetInt64(e.Quantity.M))
	exponent := int(e.Price.E) + int(e.Quantity.E)
	if exponent < t.exponent {
		t.amount.Mul(&t.amount, t.power(t.exponent-exponent))
		t.exponent = exponent
	} else if exponent > t.exponent {
		t.term.Mul(&t.term, t.power(exponent-t.exponent))
	}
	t.amount.Add(&t.amount, &t.term)
	return true
}

var ten = big.NewInt(10)

func (t *tradeSum) power(n int) *big.Int {
	if n < 19 {
		p := int64(1)
		for range n {
			p *= 10
		}
		return t.unit.SetInt64(p)
	}
	return t.unit.Exp(ten, big.NewInt(int64(n)), nil)
}

// vwap is amount ÷ total, rounded half to even to vwapDigits, and to 10^vwapExponent.
func (t *tradeSum) vwap() (ipc.Decimal, bool) {
	if t.amount.Sign() == 0 {
		return ipc.Decimal{}, true
	}
	n, d := new(big.Int).Abs(&t.amount), big.NewInt(t.total.M)
	exponent := t.exponent - int(t.total.E)
	shift := vwapDigits - (len(n.String()) - len(d.String())) // the quotient has 18 or 19 digits
	q := quotient(n, d, shift)
	if len(q.String()) > vwapDigits {
		shift--
		q = quotient(n, d, shift)
	}
	if exponent-shift < vwapExponent {
		shift = exponent - vwapExponent
		q = quotient(n, d, shift)
	}
	m := q.Int64() // at most 10^18
	if t.amount.Sign() < 0 {
		m = -m
	}
	return ipc.NewDecimal(m, exponent-shift)
}

// quotient is n·10^shift ÷ d, rounded half to even.
func quotient(n, d *big.Int, shift int) *big.Int {
	scale := new(big.Int).Exp(ten, big.NewInt(int64(max(shift, -shift))), nil)
	a, b := new(big.Int).Set(n), new(big.Int).Set(d)
	if shift >= 0 {
		a.Mul(a, scale)
	} else {
		b.Mul(b, scale)
	}
	q, rest := new(big.Int).QuoRem(a, b, new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(b) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, big.NewInt(int64(q.Bit(0))))
	}
	return q
}

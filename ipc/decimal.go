package ipc

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// Decimal is money: M·10^E, canonical (no trailing zeros in M, zero is {0, 0}). It is never a float. Two canonical decimals
// are equal exactly when == says so, so a Decimal can be a map key. M is never −2⁶³: negation always fits.
//
// Arithmetic is exact or refused: an operation whose result has no such form returns false, never a rounded number.
type Decimal struct {
	M int64
	E int8
}

// Bounds of the exponent, and of what String writes without one.
const (
	minExponent   = math.MinInt8
	maxExponent   = math.MaxInt8
	plainExponent = 24
)

// pow10 holds the powers of ten that fit 64 bits.
var pow10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// NewDecimal makes the canonical form of m·10^e; false when there is none.
func NewDecimal(m int64, e int) (Decimal, bool) {
	return fit(m < 0, 0, magnitude(m), e)
}

// FromInt returns i as a decimal. −2⁶³ has no canonical form and becomes the nearest that has, −(2⁶³−1); no quantity of
// anything is near it.
func FromInt(i int64) Decimal {
	d, ok := NewDecimal(i, 0)
	if !ok {
		return Decimal{M: -math.MaxInt64}
	}
	return d
}

// Valid reports whether d is canonical: only canonical decimals cross a process boundary.
func (d Decimal) Valid() bool {
	if d.M == 0 {
		return d.E == 0
	}
	return d.M%10 != 0 && d.M != math.MinInt64
}

// IsZero reports whether d is zero.
func (d Decimal) IsZero() bool { return d.M == 0 }

// Sign is -1, 0 or 1.
func (d Decimal) Sign() int {
	switch {
	case d.M < 0:
		return -1
	case d.M > 0:
		return 1
	}
	return 0
}

// Neg returns -d.
func (d Decimal) Neg() Decimal { return Decimal{M: -d.M, E: d.E} }

// Abs returns the absolute value of d.
func (d Decimal) Abs() Decimal {
	if d.M < 0 {
		return d.Neg()
	}
	return d
}

// Cmp is -1 when d < o, 0 when they are equal, 1 when d > o.
func (d Decimal) Cmp(o Decimal) int {
	if ds, os := d.Sign(), o.Sign(); ds != os || ds == 0 {
		return cmpInt(ds, os)
	}
	if d.E == o.E {
		return cmpInt(d.M, o.M)
	}
	return cmpMagnitude(d, o) * d.Sign()
}

// Less reports whether d < o.
func (d Decimal) Less(o Decimal) bool { return d.Cmp(o) < 0 }

// cmpMagnitude compares |d| and |o|, both other than zero.
func cmpMagnitude(d, o Decimal) int {
	if d.E < o.E {
		return -cmpMagnitude(o, d)
	}
	diff := int(d.E) - int(o.E)
	if diff >= len(pow10) {
		return 1 // 10^20 is above every mantissa
	}
	hi, lo := bits.Mul64(magnitude(d.M), pow10[diff])
	if hi != 0 {
		return 1
	}
	return cmpInt(lo, magnitude(o.M))
}

// Add returns d + o, or false when the exact sum does not fit.
func (d Decimal) Add(o Decimal) (Decimal, bool) {
	switch {
	case d.M == 0:
		return o, true
	case o.M == 0:
		return d, true
	case d.E < o.E:
		d, o = o, d
	}
	// The sum of unequal exponents has no trailing zeros to strip, as o's mantissa has none: it fits only as it stands.
	diff := int(d.E) - int(o.E)
	if diff >= len(pow10) {
		return Decimal{}, false
	}
	hi, lo := bits.Mul64(magnitude(d.M), pow10[diff])
	mag := magnitude(o.M)
	if (d.M < 0) == (o.M < 0) {
		sum, carry := bits.Add64(lo, mag, 0)
		return fit(d.M < 0, hi+carry, sum, int(o.E))
	}
	if hi == 0 && lo < mag {
		return fit(o.M < 0, 0, mag-lo, int(o.E))
	}
	rest, borrow := bits.Sub64(lo, mag, 0)
	return fit(d.M < 0, hi-borrow, rest, int(o.E))
}

// Sub returns d - o, or false when the exact difference does not fit.
func (d Decimal) Sub(o Decimal) (Decimal, bool) { return d.Add(o.Neg()) }

// Mul returns d · o, or false when the exact product does not fit.
func (d Decimal) Mul(o Decimal) (Decimal, bool) {
	hi, lo := bits.Mul64(magnitude(d.M), magnitude(o.M))
	return fit((d.M < 0) != (o.M < 0), hi, lo, int(d.E)+int(o.E))
}

// FloorTo returns the largest multiple of step that is at most d; false when step is not above zero or the result does not fit.
func (d Decimal) FloorTo(step Decimal) (Decimal, bool) { return d.roundTo(step, d.M < 0) }

// CeilTo returns the smallest multiple of step that is at least d; false when step is not above zero or the result does not fit.
func (d Decimal) CeilTo(step Decimal) (Decimal, bool) { return d.roundTo(step, d.M > 0) }

// TruncTo returns the multiple of step next to d in the direction of zero; false when step is not above zero or the result
// does not fit.
func (d Decimal) TruncTo(step Decimal) (Decimal, bool) { return d.roundTo(step, false) }

// IsMultipleOf reports whether d is a multiple of step, which must be above zero.
func (d Decimal) IsMultipleOf(step Decimal) bool {
	r, ok := d.TruncTo(step)
	return ok && r == d
}

// roundTo cuts |d| to a multiple of step, or raises it to the next one when away is set and something was cut.
func (d Decimal) roundTo(step Decimal, away bool) (Decimal, bool) {
	if step.M <= 0 {
		return Decimal{}, false
	}
	if d.M == 0 {
		return d, true
	}
	diff := int(d.E) - int(step.E)
	if diff >= len(pow10) {
		return roundToBig(d, step, away)
	}
	neg, unit := d.M < 0, magnitude(step.M)
	if diff >= 0 { // count in units of 10^step.E
		hi, lo := bits.Mul64(magnitude(d.M), pow10[diff])
		_, rem := bits.Div64(hi%unit, lo, unit)
		var borrow, carry uint64
		lo, borrow = bits.Sub64(lo, rem, 0)
		hi -= borrow
		if away && rem != 0 {
			lo, carry = bits.Add64(lo, unit, 0)
			hi += carry
		}
		return fit(neg, hi, lo, int(step.E))
	}
	var hi, lo uint64 = 1, 0 // count in units of 10^d.E; a step of 2^64 of them or more is above every |d|
	if -diff < len(pow10) {
		hi, lo = bits.Mul64(unit, pow10[-diff])
	}
	if hi != 0 || lo > magnitude(d.M) {
		if !away {
			return Decimal{}, true
		}
		return fit(neg, 0, unit, int(step.E))
	}
	rem := magnitude(d.M) % lo
	cut := magnitude(d.M) - rem
	if away && rem != 0 {
		sum, carry := bits.Add64(cut, lo, 0)
		return fit(neg, carry, sum, int(d.E))
	}
	return fit(neg, 0, cut, int(d.E))
}

// Float64 returns the nearest float64; for indicators and displays, never for money.
func (d Decimal) Float64() float64 {
	// Below 2^53 and 10^22 both operands are exact, so one operation rounds correctly.
	if mag := magnitude(d.M); mag < 1<<53 && d.E >= -22 && d.E <= 22 {
		if d.E < 0 {
			return float64(d.M) / math.Pow10(-int(d.E))
		}
		return float64(d.M) * math.Pow10(int(d.E))
	}
	f, err := strconv.ParseFloat(d.String(), 64)
	if err != nil {
		return math.NaN() // unreachable: 2^63·10^127 is inside float64's range
	}
	return f
}

// MarshalText writes the form of String: decimals are strings in JSON and TOML.
func (d Decimal) MarshalText() ([]byte, error) { return d.AppendText(nil) }

// UnmarshalText reads what ParseDecimal reads.
func (d *Decimal) UnmarshalText(text []byte) error {
	v, err := ParseDecimalBytes(text)
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// String writes d so that ParseDecimal reads it back: plain notation for exponents from −24 to 24, else "<mantissa>E<exponent>".
func (d Decimal) String() string {
	b, err := d.AppendText(nil)
	if err != nil {
		return fmt.Sprintf("Decimal{%d, %d}", d.M, d.E)
	}
	return string(b)
}

// fit makes ±(hi·2^64 + lo)·10^e canonical; false when it does not fit.
func fit(neg bool, hi, lo uint64, e int) (Decimal, bool) {
	for hi != 0 {
		qhi, r := hi/10, hi%10
		qlo, rem := bits.Div64(r, lo, 10)
		if rem != 0 {
			return Decimal{}, false
		}
		hi, lo = qhi, qlo
		e++
	}
	if lo == 0 {
		return Decimal{}, true
	}
	for lo%10000 == 0 {
		lo /= 10000
		e += 4
	}
	for lo%10 == 0 {
		lo /= 10
		e++
	}
	if lo > math.MaxInt64 || e < minExponent || e > maxExponent {
		return Decimal{}, false
	}
	m := int64(lo)
	if neg {
		m = -m
	}
	return Decimal{M: m, E: int8(e)}, true
}

func magnitude(m int64) uint64 {
	if m < 0 {
		return -uint64(m)
	}
	return uint64(m)
}

func cmpInt[T int | int64 | uint64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

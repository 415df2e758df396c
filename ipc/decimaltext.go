package ipc

import (
	"fmt"
	"math/big"
	"strconv"
)

// maxDecimalText bounds what ParseDecimal looks at: the longest exact forms are far shorter.
const maxDecimalText = 400

// ParseDecimal reads digits with an optional sign, point and exponent ("-0.015", "12E-3"), exactly. A number that has no
// exact Decimal is an error, never rounded.
func ParseDecimal(s string) (Decimal, error) { return parseDecimal(s) }

// ParseDecimalBytes is ParseDecimal for the bytes of a feed.
func ParseDecimalBytes(s []byte) (Decimal, error) { return parseDecimal(s) }

// MustDecimal is ParseDecimal for constants; it panics on bad ones.
func MustDecimal(s string) Decimal {
	d, err := ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

func parseDecimal[T string | []byte](s T) (Decimal, error) {
	if len(s) > maxDecimalText {
		return Decimal{}, fmt.Errorf("decimal of %d characters; at most %d are read", len(s), maxDecimalText)
	}
	i, neg := 0, false
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		neg = s[i] == '-'
		i++
	}
	var m uint64
	var e, zeros, digits int // zeros: seen since the last other digit, not yet in m
	var point bool
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		digits++
		if point {
			e--
		}
		if c == '0' {
			if m != 0 {
				zeros++
			}
			continue
		}
		for ; zeros >= 0; zeros-- {
			if m > (1<<63)/10 {
				return Decimal{}, fmt.Errorf("decimal %q has more digits than fit: the mantissa must stay below 2^63", string(s))
			}
			m *= 10
		}
		zeros = 0
		m += uint64(c - '0')
	}
	if digits == 0 {
		return Decimal{}, fmt.Errorf("decimal %q: expected digits, as in -0.015 or 12E-3", string(s))
	}
	exp, ok := parseExponent(s[i:])
	if !ok {
		return Decimal{}, fmt.Errorf("decimal %q: unexpected %q, as after -0.015 or 12E-3", string(s), string(s[i:]))
	}
	d, ok := fit(neg, 0, m, e+zeros+exp)
	if !ok {
		return Decimal{}, fmt.Errorf("decimal %q is out of range: mantissa below 2^63, exponent %d to %d", string(s), minExponent, maxExponent)
	}
	return d, nil
}

// parseExponent reads "" or "E±digits". Exponents beyond ±9999 all mean the same: out of range, or zero.
func parseExponent[T string | []byte](s T) (int, bool) {
	if len(s) == 0 {
		return 0, true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	i, neg, exp := 1, false, 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		neg = s[i] == '-'
		i++
	}
	if i == len(s) {
		return 0, false
	}
	for ; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		exp = min(exp*10+int(s[i]-'0'), 9999)
	}
	if neg {
		exp = -exp
	}
	return exp, true
}

// AppendText appends the form of String to b; an error for a decimal that is not canonical.
func (d Decimal) AppendText(b []byte) ([]byte, error) {
	if !d.Valid() {
		return b, fmt.Errorf("decimal with mantissa %d and exponent %d is not canonical; make it with NewDecimal", d.M, d.E)
	}
	if d.E > plainExponent || d.E < -plainExponent {
		b = strconv.AppendInt(b, d.M, 10)
		return strconv.AppendInt(append(b, 'E'), int64(d.E), 10), nil
	}
	if d.E >= 0 {
		b = strconv.AppendInt(b, d.M, 10)
		for range d.E {
			b = append(b, '0')
		}
		return b, nil
	}
	if d.M < 0 {
		b = append(b, '-')
	}
	var buf [20]byte
	digits := strconv.AppendUint(buf[:0], magnitude(d.M), 10)
	places := -int(d.E)
	if whole := len(digits) - places; whole > 0 {
		b = append(b, digits[:whole]...)
		b = append(b, '.')
		return append(b, digits[whole:]...), nil
	}
	b = append(b, '0', '.')
	for range places - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...), nil
}

// roundToBig is roundTo for exponents so far apart that 128 bits do not hold d in units of step.
func roundToBig(d, step Decimal, away bool) (Decimal, bool) {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.E)-int64(step.E)), nil)
	value := new(big.Int).Mul(new(big.Int).SetUint64(magnitude(d.M)), scale)
	unit := big.NewInt(step.M)
	quotient, rem := new(big.Int).QuoRem(value, unit, new(big.Int))
	if away && rem.Sign() != 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return fitBig(d.M < 0, quotient.Mul(quotient, unit), int(step.E))
}

func fitBig(neg bool, value *big.Int, e int) (Decimal, bool) {
	ten, rem := big.NewInt(10), new(big.Int)
	for value.Sign() != 0 {
		q, r := new(big.Int).QuoRem(value, ten, rem)
		if r.Sign() != 0 {
			break
		}
		value = q
		e++
	}
	if !value.IsUint64() {
		return Decimal{}, false
	}
	return fit(neg, 0, value.Uint64(), e)
}

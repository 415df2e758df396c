package gate

import (
	"math"
	"math/big"

	"github.com/msup/msup/ipc"
)

// scale returns how much of quantity is allowed: all of it up to free, and of the rest the factor, or nothing when only reducing is
// allowed. It is never above quantity, and never rises when factor falls.
func scale(quantity, free, factor ipc.Decimal, reduceOnly bool) ipc.Decimal {
	if quantity.Cmp(free) <= 0 {
		return quantity
	}
	rest, ok := quantity.Sub(free)
	if reduceOnly || !ok {
		return free
	}
	return addDown(free, mulDown(rest, factor))
}

// mulDown and addDown are exact where the result has a form, else the next number towards zero that has one. A strategy may choose a
// quantity of 19 digits: refusing it only under some size factors would let a larger restriction permit more than a smaller one.
func mulDown(x, y ipc.Decimal) ipc.Decimal {
	if product, ok := x.Mul(y); ok {
		return product
	}
	return towardZero(new(big.Int).Mul(big.NewInt(x.M), big.NewInt(y.M)), int(x.E)+int(y.E))
}

func addDown(x, y ipc.Decimal) ipc.Decimal {
	if sum, ok := x.Add(y); ok {
		return sum
	}
	if x.E < y.E {
		x, y = y, x
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(x.E)-int64(y.E)), nil)
	return towardZero(power.Mul(power, big.NewInt(x.M)).Add(power, big.NewInt(y.M)), int(y.E))
}

// approach is now + delta, exact where that has a form, else the next number towards now that has one: a target of more than 19 digits is cut to
// less trading, not refused, or a scale alone would refuse what a scale and reduce_only let pass.
func approach(now, delta ipc.Decimal) (ipc.Decimal, bool) {
	if sum, ok := now.Add(delta); ok {
		return sum, true
	}
	x, y := now, delta
	if x.E < y.E {
		x, y = y, x
	}
	m := new(big.Int).Exp(ten, big.NewInt(int64(x.E)-int64(y.E)), nil)
	m.Mul(m, big.NewInt(x.M)).Add(m, big.NewInt(y.M))
	e, dropped := int(y.E), new(big.Int)
	for m.Sign() != 0 && (!fits(m) || e < leastExponent) {
		m.QuoRem(m, ten, dropped)
		if towards := -delta.Sign(); dropped.Sign() == towards {
			m.Add(m, big.NewInt(int64(towards)))
		}
		e++
	}
	return ipc.NewDecimal(m.Int64(), e)
}

// Exponents of a decimal, as its wire form has them.
const leastExponent, mostExponent = -128, 127

var ten, mostMantissa = big.NewInt(10), big.NewInt(math.MaxInt64)

// fits reports whether a decimal can have the mantissa; the least int64 has no opposite, and is none.
func fits(m *big.Int) bool { return m.CmpAbs(mostMantissa) <= 0 }

// towardZero drops digits until m·10^e has a form. What is too large for every form becomes the largest number.
func towardZero(m *big.Int, e int) ipc.Decimal {
	for m.Sign() != 0 && (!fits(m) || e < leastExponent) {
		m.Quo(m, ten)
		e++
	}
	if d, ok := ipc.NewDecimal(m.Int64(), e); ok {
		return d
	}
	largest := ipc.Decimal{M: 1<<63 - 1, E: mostExponent}
	if m.Sign() < 0 {
		return largest.Neg()
	}
	return largest
}

package ipc

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"
)

// anyDecimal draws canonical decimals, the extremes often.
func anyDecimal() *rapid.Generator[Decimal] {
	return rapid.Custom(func(t *rapid.T) Decimal {
		m := rapid.OneOf(
			rapid.Int64(), rapid.Int64Range(-1000, 1000),
			rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, -math.MaxInt64, math.MinInt64, 1e18, 999_999_999_999_999_999}),
		).Draw(t, "m")
		e := rapid.OneOf(rapid.IntRange(-12, 6), rapid.IntRange(-128, 127)).Draw(t, "e")
		d, ok := NewDecimal(m, e)
		if !ok {
			return Decimal{M: 7, E: -128}
		}
		return d
	})
}

func rat(d Decimal) *big.Rat {
	r := new(big.Rat).SetInt64(d.M)
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(d.E, -d.E))), nil)
	if d.E == math.MinInt8 { // -(-128) does not fit i8
		scale.Exp(big.NewInt(10), big.NewInt(128), nil)
	}
	if d.E < 0 {
		return r.Quo(r, new(big.Rat).SetInt(scale))
	}
	return r.Mul(r, new(big.Rat).SetInt(scale))
}

// canonicalOf finds the decimal that equals r by brute force over exponents; false when there is none.
func canonicalOf(r *big.Rat) (Decimal, bool) {
	if r.Sign() == 0 {
		return Decimal{}, true
	}
	for e := maxExponent; e >= minExponent; e-- {
		scaled := new(big.Rat).Mul(r, new(big.Rat).SetFrac(
			new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(-e, 0))), nil),
			new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, 0))), nil)))
		if !scaled.IsInt() {
			continue
		}
		m := scaled.Num()
		if !m.IsInt64() || m.Int64() == math.MinInt64 || m.Int64()%10 == 0 {
			return Decimal{}, false // a lower exponent only makes the mantissa longer
		}
		return Decimal{M: m.Int64(), E: int8(e)}, true
	}
	return Decimal{}, false
}

func check(t *rapid.T, what string, got Decimal, ok bool, exact *big.Rat) {
	want, fits := canonicalOf(exact)
	if ok != fits || got != want {
		t.Fatalf("%s = %v, %t; expected %v, %t", what, got, ok, want, fits)
	}
}

// Proves: GT-1
func TestDecimalArithmeticAgreesWithRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyDecimal().Draw(t, "a"), anyDecimal().Draw(t, "b")
		ra, rb := rat(a), rat(b)
		sum, ok := a.Add(b)
		check(t, "a+b", sum, ok, new(big.Rat).Add(ra, rb))
		diff, ok := a.Sub(b)
		check(t, "a-b", diff, ok, new(big.Rat).Sub(ra, rb))
		product, ok := a.Mul(b)
		check(t, "a*b", product, ok, new(big.Rat).Mul(ra, rb))
		check(t, "-a", a.Neg(), true, new(big.Rat).Neg(ra))
		check(t, "|a|", a.Abs(), true, new(big.Rat).Abs(ra))
		if got, want := a.Cmp(b), ra.Cmp(rb); got != want || a.Less(b) != (want < 0) || (a == b) != (want == 0) {
			t.Fatalf("Cmp = %d, expected %d", got, want)
		}
		if a.Sign() != ra.Sign() || a.IsZero() != (ra.Sign() == 0) {
			t.Fatalf("Sign = %d, expected %d", a.Sign(), ra.Sign())
		}
		if want, _ := ra.Float64(); a.Float64() != want {
			t.Fatalf("Float64 = %v, expected %v", a.Float64(), want)
		}
	})
}

// Proves: GT-1
func TestDecimalRoundingAgreesWithRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, step := anyDecimal().Draw(t, "d"), anyDecimal().Draw(t, "step").Abs()
		if step.IsZero() {
			step = Decimal{M: 1}
		}
		quotient := new(big.Rat).Quo(rat(d), rat(step))
		floor := new(big.Int).Div(quotient.Num(), quotient.Denom()) // Euclidean: the floor, as the denominator is positive
		ceil := new(big.Int).Set(floor)
		if !quotient.IsInt() {
			ceil.Add(ceil, big.NewInt(1))
		}
		toZero := floor
		if d.Sign() < 0 {
			toZero = ceil
		}
		for _, c := range []struct {
			what  string
			round func(Decimal) (Decimal, bool)
			units *big.Int
		}{{"FloorTo", d.FloorTo, floor}, {"CeilTo", d.CeilTo, ceil}, {"TruncTo", d.TruncTo, toZero}} {
			got, ok := c.round(step)
			check(t, c.what, got, ok, new(big.Rat).Mul(new(big.Rat).SetInt(c.units), rat(step)))
		}
		if d.IsMultipleOf(step) != quotient.IsInt() {
			t.Fatalf("IsMultipleOf = %t", d.IsMultipleOf(step))
		}
	})
}

// Proves: GT-1
func TestDecimalRoundingExamples(t *testing.T) {
	for _, c := range []struct{ d, step, floor, ceil, trunc string }{
		{"65000.14", "0.1", "65000.1", "65000.2", "65000.1"},
		{"-65000.14", "0.1", "-65000.2", "-65000.1", "-65000.1"},
		{"0.3", "0.1", "0.3", "0.3", "0.3"},
		{"7", "2.5", "5", "7.5", "5"},
		{"0.0001", "1000", "0", "1000", "0"},
		{"-0.0001", "1000", "-1000", "0", "0"},
		{"1E100", "0.7", "", "", ""},
		{"7E60", "0.007", "7E60", "7E60", "7E60"},
		{"0", "5", "0", "0", "0"},
	} {
		for i, round := range []func(Decimal, Decimal) (Decimal, bool){Decimal.FloorTo, Decimal.CeilTo, Decimal.TruncTo} {
			got, ok := round(MustDecimal(c.d), MustDecimal(c.step))
			want := []string{c.floor, c.ceil, c.trunc}[i]
			if ok != (want != "") || ok && got != MustDecimal(want) {
				t.Errorf("rounding %d of %s to %s: %v, %t; expected %q", i, c.d, c.step, got, ok, want)
			}
		}
	}
	for _, step := range []string{"0", "-1"} {
		if got, ok := MustDecimal("1").FloorTo(MustDecimal(step)); ok {
			t.Errorf("a step of %s gave %v", step, got)
		}
	}
}

// Proves: DM-4
func TestDecimalTextRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := anyDecimal().Draw(t, "d")
		s := d.String()
		back, err := ParseDecimal(s)
		if err != nil || back != d {
			t.Fatalf("%s reads as %v (%v), was %#v", s, back, err, d)
		}
		if exact, ok := new(big.Rat).SetString(s); !ok || exact.Cmp(rat(d)) != 0 {
			t.Fatalf("%s is not %#v", s, d)
		}
		text, err := json.Marshal(d)
		if err != nil || string(text) != `"`+s+`"` {
			t.Fatalf("JSON %s (%v)", text, err)
		}
	})
}

// Proves: DM-4
func TestParseDecimal(t *testing.T) {
	good := map[string]Decimal{
		"0": {}, "-0": {}, "0.000": {}, "0E400": {}, "1": {M: 1}, "+1": {M: 1}, "-1": {M: -1}, "100": {M: 1, E: 2}, "0.10": {M: 1, E: -1},
		".5": {M: 5, E: -1}, "5.": {M: 5}, "1e3": {M: 1, E: 3}, "12E-3": {M: 12, E: -3}, "1200e+2": {M: 12, E: 4},
		"9223372036854775807": {M: math.MaxInt64}, "-9223372036854775807": {M: -math.MaxInt64},
		"92233720368547758070": {M: math.MaxInt64, E: 1}, "1E127": {M: 1, E: 127}, "1E-128": {M: 1, E: -128},
		"0.00000000000000000000000000000000000001": {M: 1, E: -38}, strings.Repeat("0", 300) + "7": {M: 7},
		"1" + strings.Repeat("0", 127): {M: 1, E: 127}, "65000.10000000000000000000": {M: 650001, E: -1},
	}
	for s, want := range good {
		if got, err := ParseDecimal(s); err != nil || got != want {
			t.Errorf("%q reads as %#v (%v), expected %#v", s, got, err, want)
		}
		if got, err := ParseDecimalBytes([]byte(s)); err != nil || got != want {
			t.Errorf("bytes %q read as %#v (%v), expected %#v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "-", "+", ".", "-.", "e5", "1e", "1e+", "1 ", " 1", "1,5", "1_000", "0x10", "NaN", "Infinity", "--1", "1.2.3", "1e5.0", "١",
		"9223372036854775808", "-9223372036854775808", "1.2345678901234567890123", "1E128", "1E-129", "1E99999999999999999999",
		"1" + strings.Repeat("0", 128), strings.Repeat("1", 401), "18446744073709551617",
	} {
		if got, err := ParseDecimal(s); err == nil {
			t.Errorf("%q reads as %v, expected an error", s, got)
		}
	}
}

// Proves: DM-1
func TestDecimalInConfigurationFiles(t *testing.T) {
	var doc struct{ Text, Int, Exact Decimal }
	if err := toml.Unmarshal([]byte("Text = \"0.00001\"\nInt = 100\nExact = 0.1"), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Text != MustDecimal("0.00001") || doc.Int != MustDecimal("100") || doc.Exact != MustDecimal("0.1") {
		t.Errorf("TOML reads as %v", doc)
	}
	if err := toml.Unmarshal([]byte(`Text = "cheap"`), &doc); err == nil {
		t.Error("a decimal of letters was taken from TOML")
	}
	if err := json.Unmarshal([]byte(`{"Text": 0.1}`), &doc); err == nil {
		t.Error("a JSON number was taken for money")
	}
}

// Proves: GT-1
func TestDecimalCanonicalForm(t *testing.T) {
	for _, d := range []Decimal{{M: 10}, {E: 1}, {M: math.MinInt64}, {M: -100, E: -2}} {
		if d.Valid() {
			t.Errorf("%#v counts as canonical", d)
		}
		if b, err := AppendDecimal([]byte("x"), d); err == nil || string(b) != "x" {
			t.Errorf("%#v was written as %x", d, b)
		}
		if _, err := d.MarshalText(); err == nil {
			t.Errorf("%#v was written as text", d)
		}
	}
	if FromInt(1500) != (Decimal{M: 15, E: 2}) || FromInt(math.MinInt64).M != -math.MaxInt64 || FromInt(0) != (Decimal{}) {
		t.Error("FromInt is not canonical")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustDecimal took nonsense")
		}
	}()
	MustDecimal("nonsense")
}

package warden

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

var discard = slog.New(slog.DiscardHandler)

// filled is a value of which no field is zero, so that one that is not carried over shows.
func filled(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Type.Kind() != reflect.Func {
				v.Field(i).Set(filled(f.Type))
			}
		}
	case reflect.Slice:
		v = reflect.Append(v, filled(t.Elem()))
	case reflect.Map:
		v = reflect.MakeMap(t)
		v.SetMapIndex(filled(t.Key()), filled(t.Elem()))
	case reflect.String:
		v.SetString("text \x00 <&> ünï")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(math.Pi)
	case reflect.Int, reflect.Int64:
		v.SetInt(math.MaxInt64)
	case reflect.Uint8:
		v.SetUint(2)
	case reflect.Uint64:
		v.SetUint(math.MaxUint64)
	default:
		panic("a kind of field that this test does not know: " + t.String())
	}
	return v
}

// Every field of a spec arrives, also those that somebody adds later; two specs that differ in one are never taken for the same.
//
// Proves: NN-2, SB-2
func TestASpecArrivesWhole(t *testing.T) {
	want := filled(reflect.TypeFor[sandbox.Spec]()).Interface().(sandbox.Spec)
	sent, err := sendable(want)
	if err != nil {
		t.Fatal(err)
	}
	b, err := encode(&request{ID: 1, Verb: verbStart, Box: kind, Spec: sent})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRequest(b)
	if err != nil || !reflect.DeepEqual(got.Spec.Spec, want) {
		t.Errorf("%v\nsent     %+v\nreceived %+v", err, want, got.Spec)
	}
	whole, err := got.Spec.identity(kind)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[identity]string{whole: "the whole"}
	v := reflect.ValueOf(&want).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).Kind() == reflect.Func {
			continue
		}
		less := want
		reflect.ValueOf(&less).Elem().Field(i).SetZero()
		id, err := (&spec{Spec: less}).identity(kind)
		if err != nil || seen[id] != "" {
			t.Errorf("without %s it is the same as %s, %v", name, seen[id], err)
		}
		seen[id] = name
	}
	if id, err := got.Spec.identity("other"); err != nil || id == whole {
		t.Errorf("in another sandbox it is the same, %v", err)
	}
	want.Limits.CPUQuota = math.NaN()
	if sent, err = sendable(want); err == nil {
		if _, err = encode(sent); err == nil {
			t.Error("what cannot be sent was sent")
		}
	}
}

// Proves: SB-8
func TestErrorsKeepTheirMeaning(t *testing.T) {
	typed := &sandbox.Error{Reason: sandbox.ReasonOOM, Op: "start it", Err: errors.Join(io.EOF, sandbox.ErrLost), Remedy: "buy memory"}
	for _, err := range []error{typed, errors.Join(typed, errors.New("and more")), context.Canceled, errors.New("plain"),
		&sandbox.Error{Reason: sandbox.ReasonSpec, Op: strings.Repeat("ö", maxErrorBytes), Err: errors.New(strings.Repeat("ö", maxErrorBytes)), Remedy: strings.Repeat("ö", maxErrorBytes)}} {
		b, encodeErr := encode(&reply{ID: 1, Err: failureOf(err)})
		if encodeErr != nil {
			t.Fatal(encodeErr)
		}
		var r reply
		if err := decode(b, &r); err != nil {
			t.Fatal(err)
		}
		got := r.Err.error()
		for _, target := range []error{sandbox.ErrLost, context.Canceled} {
			if errors.Is(got, target) != errors.Is(err, target) {
				t.Errorf("%v became %v", err, got)
			}
		}
		was, isTyped := errors.AsType[*sandbox.Error](err)
		is, stillTyped := errors.AsType[*sandbox.Error](got)
		if isTyped != stillTyped || isTyped && was.Reason != is.Reason {
			t.Errorf("%v became %v", err, got)
		}
	}
	if failureOf(nil) != nil || (*failure)(nil).error() != nil {
		t.Error("nothing became an error")
	}
}

// Proves: SB-4
func TestLinesArrive(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	lines := &lineWriter{pipe: w}
	want := []sandbox.LogLine{{Stream: sandbox.Stdout, Text: "one"}, {Stream: sandbox.Stderr, Text: "", Truncated: true}, {Stream: sandbox.Stdout, Text: strings.Repeat("x", 64<<10)}}
	go func() {
		for _, l := range want {
			lines.write(l)
		}
		if err := lines.close(); err != nil {
			t.Error(err)
		}
	}()
	var got []sandbox.LogLine
	if err := readLines(r, func(l sandbox.LogLine) { got = append(got, l) }); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %d lines", err, len(got))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x01\x00\xff\xff\xff\xff", "\x01\x00\x00\x00\x00\x05abc", "\x01"} {
		if err := readLines(strings.NewReader(bad), func(sandbox.LogLine) {}); err == nil {
			t.Errorf("%q is a line", bad)
		}
	}
	// Nobody reads, nobody waits.
	r, w, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	unread := &lineWriter{pipe: w}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	unread.write(want[2])
	if !unread.dead.Load() {
		t.Error("lines that nobody reads are still written")
	}
	if err := errors.Join(unread.hurry(), unread.close(), unread.hurry()); err != nil {
		t.Error(err)
	}
}

// FuzzRequest gives the helper's decoder what a compromised supervisor might send: it refuses, or it has understood exactly.
//
// Proves: SB-2
func FuzzRequest(f *testing.F) {
	sent, err := sendable(sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Argv: []string{"/bin/true"}})
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range []request{{ID: 1, Verb: verbSeal}, {ID: 2, Verb: verbStart, Box: kind, Spec: sent}, {ID: 3, Verb: verbDial, Path: "/x"},
		{ID: 4, Verb: verbKill, Runner: 5}, {ID: 5, Verb: verbOpen, Box: kind, Params: []byte(`{"a":[1]}`)}, {ID: 6, Verb: verbCancel, Other: 2}} {
		b, err := encode(&r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"ID":1,"VERB":"seal","id":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRequest(b)
		if err != nil {
			return
		}
		again, err := encode(&r)
		if err != nil {
			return // larger than a message once written out: nobody sends it again
		}
		second, err := decodeRequest(again)
		if err != nil {
			t.Fatalf("%s is understood, and %s is not: %v", b, again, err)
		}
		third, err := encode(&second)
		if err != nil || !bytes.Equal(again, third) {
			t.Errorf("%s, then %s: %v", again, third, err)
		}
		if r.Spec == nil {
			return
		}
		id, err := r.Spec.identity(r.Box)
		same, sameErr := second.Spec.identity(second.Box)
		if err != nil || sameErr != nil || id != same {
			t.Errorf("one spec has two identities: %v %v", err, sameErr)
		}
	})
}

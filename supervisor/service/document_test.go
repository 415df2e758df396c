package service

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/gate"
)

func contractOf(t testing.TB, llm bool) *contract {
	t.Helper()
	response := responseSchema
	if llm {
		response = descriptor.ProposalSchema
	}
	c, err := newContract([]byte(requestSchema), []byte(response), llm, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Proves: EX-3
func TestProposalsAreCheckedBesideTheirSchema(t *testing.T) {
	c := contractOf(t, true)
	const one = `{"proposal":"p-1","instrument":"BTCUSDT.SIM","side":"buy","max_quantity":"0.5","ttl_ms":60000}`
	for text, want := range map[string]bool{
		`{"proposals":[]}`:                                   true,
		`{"proposals":[` + one + `]}`:                        true,
		`{"proposals":[` + one + `,` + one + `]}`:            false,
		`{"proposals":[{"proposal":"p-1"}]}`:                 false,
		`{"proposals":null}`:                                 false,
		`{"proposals":[` + one + `],"comment":"buy it all"}`: false,
		`{"proposals":[{"proposal":"p 1","instrument":"B","side":"buy","max_quantity":"1","ttl_ms":1}]}`: false,
		`{"proposals":[{"proposal":"p","instrument":"B","side":"buy","max_quantity":"0","ttl_ms":1}]}`:   false,
		`{"proposals":[{"proposal":"p","instrument":"B","side":"buy","max_quantity":1,"ttl_ms":1}]}`:     false,
	} {
		if _, f := c.checkResponse([]byte(text)); (f == nil) != want {
			t.Errorf("%s: %v", text, f)
		}
	}
}

// What passes is canonical, fits its schema, is no larger than a delivery may be, and passes again unchanged.
// Proves: EX-2, EX-3
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{`{"score":1}`, `{"score":1,"score":2}`, `{"score":1e400}`, `{"score":-0.0E+3,"label":"up"}`, `[[[[`, `{"proposals":[]}`, `nul`, "\xff", `{"score":1} x`,
		`{"proposals":[{"proposal":"p-1","instrument":"BTCUSDT.SIM","side":"buy","max_quantity":"0.5","ttl_ms":60000}]}`} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	model, llm := contractOf(f, false), contractOf(f, true)
	f.Fuzz(func(t *testing.T, body []byte, proposes bool) {
		if len(body) > 4096 {
			return // cut off before
		}
		c := model
		if proposes {
			c = llm
		}
		out, fault := c.checkResponse(body)
		if fault != nil {
			if !known[fault.reason] || printable(fault.Error()) == "" {
				t.Fatalf("%s: a failure without a reason", fault)
			}
			return
		}
		if !json.Valid(out) || len(out) > descriptor.MaxServiceBytes {
			t.Fatalf("%q passed as %q", body, out)
		}
		again, fault := c.checkResponse(out)
		if fault != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q passed as %q, which passes as %q (%v)", body, out, again, fault)
		}
		if proposes {
			if _, err := gate.ParseProposals(out); err != nil {
				t.Fatalf("%q: %v", out, err)
			}
		}
	})
}

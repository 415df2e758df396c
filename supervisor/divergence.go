package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/msup/msup/ipc"
)

// Difference is one field in which a replayed answer is not the recorded one.
type Difference struct {
	Field    string `json:"field"`
	Recorded string `json:"recorded"`
	Got      string `json:"got"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s was %s, is %s", d.Field, d.Recorded, d.Got)
}

// FirstDifference names the first differing field.
func (d *Divergence) FirstDifference() string {
	all, err := d.Differences()
	switch {
	case err != nil:
		return err.Error()
	case len(all) == 0:
		return "the recorded answer has another digest than its own bytes give: the log was altered"
	}
	return all[0].String()
}

// Differences compares the recorded answer with the one of now, field by field.
func (d *Divergence) Differences() ([]Difference, error) {
	recorded, err := decodeAnswer(d.Recorded)
	if err != nil {
		return nil, fmt.Errorf("the recorded answer cannot be read: %w", err)
	}
	got, err := decodeAnswer(d.Got)
	if err != nil {
		return nil, fmt.Errorf("the answer cannot be read: %w", err)
	}
	// What the digest leaves out is no difference.
	for _, a := range [...]*ipc.Answer{recorded, got} {
		a.Seq, a.Step = 0, 0
		for _, i := range a.Intents {
			i.Meta.RunID, i.Meta.TraceID = "", ""
		}
		if a.Fault != nil {
			a.Fault.Message, a.Fault.Traceback = "", ""
		}
	}
	var out []Difference
	walkDifferences("answer", reflect.ValueOf(recorded).Elem(), reflect.ValueOf(got).Elem(), &out)
	return out, nil
}

func decodeAnswer(b []byte) (*ipc.Answer, error) {
	if len(b) == 0 {
		return &ipc.Answer{}, nil
	}
	return ipc.DecodeAnswer(b)
}

// walkDifferences descends to the fields that differ. Names are those of the protocol: snake case.
func walkDifferences(path string, a, b reflect.Value, out *[]Difference) {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return
	}
	if a.Type() == reflect.TypeFor[ipc.Decimal]() || a.Type() != b.Type() {
		*out = append(*out, Difference{Field: path, Recorded: show(a), Got: show(b)})
		return
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			walkDifferences(path+"."+snake(a.Type().Field(i).Name), a.Field(i), b.Field(i), out)
		}
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			*out = append(*out, Difference{Field: path, Recorded: show(a), Got: show(b)})
			return
		}
		walkDifferences(path, a.Elem(), b.Elem(), out)
	case reflect.Slice:
		if a.Len() != b.Len() {
			*out = append(*out, Difference{Field: path + ".length", Recorded: fmt.Sprint(a.Len()), Got: fmt.Sprint(b.Len())})
		}
		for i := range min(a.Len(), b.Len()) {
			walkDifferences(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i), out)
		}
	default:
		*out = append(*out, Difference{Field: path, Recorded: show(a), Got: show(b)})
	}
}

func show(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return "none"
	}
	b, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Sprintf("%v", v.Interface())
	}
	return string(b)
}

func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z' {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// keepEvidence leaves what a divergence looked like where an operator finds it; it never overwrites an earlier one.
func (p *Instance) keepEvidence(d *Divergence) {
	if p.cfg.EvidenceDir == "" {
		return
	}
	differences, err := d.Differences()
	report := map[string]any{"address": d.Address.String(), "lineage": p.state.Lineage.String(), "step": d.Step, "event": d.Event,
		"recorded": d.Recorded, "got": d.Got, "differences": differences, "package_hash": p.cfg.PackageHash.String(),
		"config_hash": p.cfg.ConfigHash.String()}
	if err != nil {
		report["unreadable"] = err.Error()
	}
	body, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = writeNew(filepath.Join(p.cfg.EvidenceDir, fmt.Sprintf("diverged-%s-step-%d.json",
			strings.ReplaceAll(d.Address.String(), "/", "-"), d.Step)), body)
	}
	if err != nil {
		p.log.Error("keeping the evidence of a divergence failed", "err", err)
	}
}

// keepLedger has the ledger's files copied before anything is written about the trouble, and names the copy. Where that fails the halt comes all
// the same.
func (p *Instance) keepLedger(cause error) string {
	keeper, ok := p.cfg.Ledger.(EvidenceKeeper)
	if !ok {
		return "none: the ledger has no files"
	}
	dir, err := keeper.KeepEvidence(cause)
	if err != nil {
		p.log.Error("keeping the ledger's files as evidence failed", "err", err)
		return "none"
	}
	return dir
}

func writeNew(path string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		return nil // the same step diverged before; the first evidence stays
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(body); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

package ipc

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// declaredReasons reads the constants of reason.go: name → code.
func declaredReasons(t *testing.T) map[string]ReasonCode {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]ReasonCode{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "ReasonCode" {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found[spec.Names[0].Name] = ReasonCode(code)
		}
		return true
	})
	return found
}

// Every code is in the catalogue once, under the name that follows from it, with sentences that an operator can act on.
// Proves: CB-4, SB-8
func TestEveryReasonIsExplained(t *testing.T) {
	declared := declaredReasons(t)
	if len(declared) < 90 || len(declared) != len(Reasons()) {
		t.Fatalf("%d constants, %d entries in the catalogue", len(declared), len(Reasons()))
	}
	sentence := regexp.MustCompile(`^[A-Zms].{15,}[.]$`)
	texts := map[string]ReasonCode{}
	for name, code := range declared {
		if got := strings.ToUpper(strings.ReplaceAll(string(code), "_", "")); "REASON"+got != strings.ToUpper(name) {
			t.Errorf("%s stands for %s", name, code)
		}
		if len(code) > MaxTagBytes || !regexp.MustCompile(`^[A-Z]+(_[A-Z]+)*$`).MatchString(string(code)) {
			t.Errorf("%s is no code for the wire", code)
		}
		r, ok := Lookup(code)
		if !ok || r.Code != code {
			t.Errorf("%s is not in the catalogue", code)
			continue
		}
		if !sentence.MatchString(r.Meaning) || !sentence.MatchString(r.Remedy) && r.Remedy != "Nothing needs doing." {
			t.Errorf("%s: %q / %q are no sentences", code, r.Meaning, r.Remedy)
		}
		if before, twice := texts[r.Meaning]; twice {
			t.Errorf("%s means the same as %s", code, before)
		}
		texts[r.Meaning] = code
		switch r.Severity {
		case ReasonInfo, ReasonWarn, ReasonDegrade, ReasonHalt, ReasonRefuse:
		default:
			t.Errorf("%s has the severity %q", code, r.Severity)
		}
	}
	if _, ok := Lookup("NEVER_HEARD_OF"); ok {
		t.Error("an unknown code was found")
	}
	Reasons()[0].Meaning = "changed"
	if Reasons()[0].Meaning == "changed" {
		t.Error("the catalogue can be changed from outside")
	}
}

package descriptor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t testing.TB, kind Kind) *jsonschema.Schema {
	t.Helper()
	b, err := Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:///schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// schemaAccepts asks an independent validator.
func schemaAccepts(t testing.TB, s *jsonschema.Schema, data []byte) (bool, error) {
	t.Helper()
	var root map[string]any
	if err := toml.Unmarshal(data, &root); err != nil {
		return false, err
	}
	b, err := json.Marshal(root)
	if err != nil {
		return false, err // NaN and infinities are no JSON
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Validate(v)
	return err == nil, err
}

// betweenValues are the codes of rules that concern several values, which a JSON Schema cannot say.
var betweenValues = []Code{CodeConflict, CodeSecret}

func decoderAccepts(t testing.TB, err error) bool {
	t.Helper()
	if err == nil {
		return true
	}
	fs, ok := AsFindings(err)
	if !ok {
		t.Fatalf("%T is not Findings", err)
	}
	return !slices.ContainsFunc(fs, func(f Finding) bool { return !slices.Contains(betweenValues, f.Code) })
}

// The published schema and the decoder agree on every broken and every good sample, by an independent validator.
// Proves: DM-1
func TestSchemaAgreesWithDecoderOnSamples(t *testing.T) {
	s := compileSchema(t, KindDescriptor)
	files, err := filepath.Glob("testdata/*/*.toml")
	if err != nil || len(files) < 40 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, perr := Parse(file, data)
		if fs, ok := AsFindings(perr); ok && (fs[0].Code == CodeSyntax || fs[0].Code == CodeFile) {
			continue // no TOML, so there is nothing to validate
		}
		decoder := decoderAccepts(t, perr)
		if schema, serr := schemaAccepts(t, s, data); schema != decoder {
			t.Errorf("%s: decoder accepts: %v (%v), schema accepts: %v (%v)", file, decoder, perr, schema, serr)
		}
	}
}

// Every key of the full sample is replaced by wrong values of each type in turn; both must agree each time.
// Proves: DM-1, HR-1
func TestSchemaAgreesWithDecoderOnMutations(t *testing.T) {
	s := compileSchema(t, KindDescriptor)
	var root map[string]any
	if err := toml.Unmarshal(readTest(t, "testdata/good/full.toml"), &root); err != nil {
		t.Fatal(err)
	}
	values := []any{"x", "", int64(0), int64(1), int64(-7), int64(1) << 40, 0.5, -1.5, true, []any{}, []any{"quote"}, []any{int64(1)}, map[string]any{}, map[string]any{"a": int64(1)}, "0.5", "1.0.0"}
	tried, accepted := 0, 0
	eachTable(root, func(table map[string]any) {
		for _, key := range append(slices.Sorted(maps.Keys(table)), "unknown_key") {
			old, had := table[key]
			for i := -1; i < len(values); i++ {
				if i < 0 {
					delete(table, key)
				} else {
					table[key] = values[i]
				}
				data, err := toml.Marshal(root)
				if err != nil {
					t.Fatal(err)
				}
				_, perr := Parse("mutation.toml", data)
				decoder := decoderAccepts(t, perr)
				if schema, serr := schemaAccepts(t, s, data); schema != decoder {
					t.Errorf("%s = %v: decoder accepts: %v (%v), schema accepts: %v (%v)", key, table[key], decoder, perr, schema, serr)
				}
				tried++
				if decoder {
					accepted++
				}
			}
			if delete(table, key); had {
				table[key] = old
			}
		}
	})
	if tried < 1000 || accepted < 50 {
		t.Errorf("%d mutations, %d of them accepted: too few to prove anything", tried, accepted)
	}
	t.Logf("%d mutations, %d accepted", tried, accepted)
}

func eachTable(table map[string]any, visit func(map[string]any)) {
	visit(table)
	for _, k := range slices.Sorted(maps.Keys(table)) {
		if sub, ok := table[k].(map[string]any); ok {
			eachTable(sub, visit)
		}
	}
}

// Every row of every schema has words for a reader, and its example is what the decoder takes.
func TestEveryRowIsDocumentedAndItsExampleDecodes(t *testing.T) {
	var walk func(path string, p *prop)
	walk = func(path string, p *prop) {
		for i := range p.props {
			row := &p.props[i]
			at := join(path, row.name)
			if row.doc == "" {
				t.Errorf("%s has no documentation", at)
			}
			if row.kind == aTable {
				walk(at, row)
				continue
			}
			if row.elem != nil && row.elem.kind == aTable {
				walk(at, row.elem)
				continue
			}
			text := example(row)
			doc, fs := parse(at, "the example", []byte(text))
			if fs != nil {
				t.Errorf("%s: example %q: %v", at, text, fs)
				continue
			}
			w := newWalker(doc)
			w.table("", doc.root, &prop{kind: aTable, props: []prop{*row}})
			if len(w.findings) > 0 {
				t.Errorf("%s: example %q: %v", at, text, w.findings)
			}
		}
	}
	for _, kind := range Kinds {
		table, err := tableOf(kind)
		if err != nil {
			t.Fatal(err)
		}
		walk(string(kind), table)
	}
}

// The reference pages hold exactly what the decoder's rows say. Run with -update after changing rows.
func TestReferencePageIsCurrent(t *testing.T) {
	const page = "../../docs/strategy-toml.md"
	text := string(readTest(t, page))
	for _, kind := range Kinds {
		begin, end := fmt.Sprintf("<!-- begin %s -->\n", kind), fmt.Sprintf("<!-- end %s -->", kind)
		i, j := strings.Index(text, begin), strings.Index(text, end)
		if i < 0 || j < i {
			t.Fatalf("%s lacks the markers of %s", page, kind)
		}
		want, err := Reference(kind)
		if err != nil {
			t.Fatal(err)
		}
		if got := text[i+len(begin) : j]; got != want && !*update {
			t.Errorf("%s: the rows of %s are out of date; run go test ./supervisor/descriptor -run Reference -update", page, kind)
		}
		text = text[:i+len(begin)] + want + text[j:]
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The examples of the page decode.
func TestPageExamplesDecode(t *testing.T) {
	text := string(readTest(t, "../../docs/strategy-toml.md"))
	seen := 0
	for _, block := range strings.Split(text, "```toml\n")[1:] {
		body, _, _ := strings.Cut(block, "```")
		head, _, _ := strings.Cut(body, "\n")
		var err error
		switch {
		case strings.Contains(head, FileName):
			_, err = Parse("page", []byte(body))
		case strings.Contains(head, DeploymentFileName):
			_, err = ParseDeployment(filepath.Join(t.TempDir(), DeploymentFileName), []byte(strings.ReplaceAll(body, "instruments = \"instruments.toml\"\n", "")))
		case strings.Contains(head, InstrumentsFileName):
			_, err = ParseInstruments("page", []byte(body))
		default:
			t.Errorf("a block starts with %q, which names no file", head)
		}
		if err != nil {
			t.Errorf("%s: %v", head, err)
		}
		seen++
	}
	if seen < 3 {
		t.Errorf("%d examples, want one of each file", seen)
	}
}

// A form is compiled when it is first needed: one that cannot be would panic at a user's.
//
// Proves: DM-1
func TestEveryFormCompiles(t *testing.T) {
	forms := []*form{reHash, reZero, reEd25519Key, reSecretName}
	var walk func(p *prop)
	walk = func(p *prop) {
		if p.pattern != nil {
			forms = append(forms, p.pattern)
		}
		if p.elem != nil {
			walk(p.elem)
		}
		for i := range p.props {
			walk(&p.props[i])
		}
	}
	for _, table := range []prop{strategyTable, deploymentTable, instrumentsTable} {
		walk(&table)
	}
	if len(forms) < 40 {
		t.Errorf("%d forms", len(forms))
	}
	for _, f := range forms {
		if _, err := regexp.Compile(f.String()); err != nil {
			t.Error(err)
		}
	}
}

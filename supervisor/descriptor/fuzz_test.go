package descriptor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// checkFindings is what holds for every refusal, whatever the bytes.
func checkFindings(t *testing.T, err error) {
	t.Helper()
	fs, ok := AsFindings(err)
	if !ok || len(fs) == 0 {
		t.Fatalf("%T is not Findings", err)
	}
	for _, f := range fs {
		if f.Code == "" || f.File == "" || f.Problem == "" || f.Remedy == "" {
			t.Fatalf("finding %+v lacks something", f)
		}
		if text := f.Error(); !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			t.Fatalf("finding %q is not safe to print", text)
		}
	}
}

// Proves: DM-1, AD-1
func FuzzDescriptor(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatal(len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	schema := compileSchema(f, KindDescriptor)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse("fuzz.toml", data)
		if err != nil {
			checkFindings(t, err)
			return
		}
		if accepts, serr := schemaAccepts(t, schema, data); !accepts {
			t.Fatalf("decoded, but the schema refuses it: %v", serr)
		}
		if _, err := ParseConfigSchema("again", d.Config.Tables()); err != nil {
			t.Fatalf("its config schema does not survive: %v", err)
		}
	})
}

// Proves: DM-2, AD-1
func FuzzDeployment(f *testing.F) {
	for _, s := range []string{
		"[[strategy]]\npackage = \"single\"\n", "[[strategy]]\npackage = \"sharded\"\nshard = \"instrument\"\nconfig = { size = 1 }\n",
		"[run]\nseed = 1\n[policy.max]\nmemory_mb = 100\n[secrets]\na = { env = \"A\" }\n[[bot]]\nid = \"b\"\n[[strategy]]\npackage = \"single\"\nbot = \"b\"\n[[strategy.instance]]\nid = \"x\"\nconfig = { fast = 3 }\n",
		"[[strategy]]\npackage = \"nothing\"\nhash = \"" + zeros64 + "\"\n",
	} {
		f.Add([]byte(s))
	}
	open := packages(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "instruments") && strings.Contains(string(data), "run") {
			return // it could name a file of this machine
		}
		file, err := ParseDeployment("/x/msup.toml", data)
		if err != nil {
			checkFindings(t, err)
			return
		}
		d, err := file.Resolve(open)
		if err != nil {
			checkFindings(t, err)
			return
		}
		for _, i := range d.Instances {
			if err := i.Address.Validate(); err != nil {
				t.Fatalf("address %q: %v", i.Address, err)
			}
			if _, fs := i.Descriptor.Config.Validate(i.Config); fs != nil {
				t.Fatalf("config %v: %v", i.Config, fs)
			}
			if len(i.Resources.Exceeds(d.Policy.Max)) > 0 {
				t.Fatalf("%s exceeds the policy", i.Address)
			}
		}
	})
}

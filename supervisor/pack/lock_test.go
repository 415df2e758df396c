package pack

import (
	"strings"
	"testing"

	"github.com/msup/msup/supervisor/descriptor"
)

const oneHash = " --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000"

// A lock can name nothing but pinned, hashed requirements: pip never sees an option, a URL, a path or a variable.
// Proves: AD-3
func TestLockIsStrict(t *testing.T) {
	good := "# made by a tool\nnumpy==2.4.6 \\\n   --hash=sha256:" + strings.Repeat("a", 64) + " \\\n   --hash=sha256:" + strings.Repeat("b", 64) + "\n\nPillow[extra] == 1.0.post1 ; python_version >= \"3.11\"" + oneHash + "  # why\r\n"
	l, err := parseLock("r.lock", []byte(good))
	if err != nil || l.count != 2 || strings.Count(string(l.text), "\n") != 2 || strings.Contains(string(l.text), "#") {
		t.Errorf("%d %q %v", l.count, l.text, err)
	}
	for name, c := range map[string]struct {
		text string
		line int
	}{
		"no hash":       {"numpy==2.4.6\n", 1},
		"not pinned":    {"\nnumpy>=2" + oneHash + "\n", 2},
		"short hash":    {"numpy==1 --hash=sha256:abc\n", 1},
		"md5":           {"numpy==1 --hash=md5:" + strings.Repeat("a", 32) + "\n", 1},
		"one bad hash":  {"numpy==1" + oneHash + " --hash=md5:1\n", 1},
		"index":         {"a==1" + oneHash + "\n--index-url https://x.example\n", 2},
		"index behind":  {"a==1" + oneHash + " --index-url https://x.example\n", 1},
		"continued":     {"a==1 \\\n# c\n--index-url https://x.example" + oneHash + "\n", 1},
		"editable":      {"-e ." + oneHash + "\n", 1},
		"file":          {"./a.whl" + oneHash + "\n", 1},
		"url":           {"a @ https://x.example/a.whl" + oneHash + "\n", 1},
		"vcs":           {"git+https://x.example/a" + oneHash + "\n", 1},
		"include":       {"-r other.txt\n", 1},
		"variable":      {"a==${HOME}" + oneHash + "\n", 1},
		"vertical tab":  {"a==1" + oneHash + "\v--pre\n", 1},
		"line break":    {"a==1" + oneHash + "\u2028--pre\n", 1},
		"carriage":      {"a==1" + oneHash + "\r--pre\n", 1},
		"option as pin": {"a==1 --global-option=x" + oneHash + "\n", 1},
	} {
		_, err := parseLock("r.lock", []byte(c.text))
		fs, ok := descriptor.AsFindings(err)
		if !ok || fs[0].Line != c.line || fs[0].Remedy == "" {
			t.Errorf("%s: %v, want a finding at line %d", name, err, c.line)
		}
	}
}

// Proves: AD-3
func FuzzLock(f *testing.F) {
	f.Add("numpy==2.4.6 \\\n --hash=sha256:" + strings.Repeat("a", 64) + "\n# x\v--pre\n")
	f.Add("a[b]==1;os_name=='x'" + oneHash + " #c")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLock("r.lock", []byte(text))
		if err != nil {
			return
		}
		for line := range strings.Lines(string(l.text)) {
			if problem, _ := checkRequirement(" " + strings.TrimSpace(line)); problem != "" {
				t.Fatalf("pip would see %q: %s", line, problem)
			}
			if strings.ContainsAny(line, "#\\$\v\f\r") || strings.HasPrefix(line, "-") {
				t.Fatalf("pip would see %q", line)
			}
		}
	})
}

// What comes out of the sandbox is decoded without harm, or refused.
// Proves: DM-1
func FuzzInterface(f *testing.F) {
	f.Add([]byte(`{"config_schema":{"a":{"type":"decimal","min":"1E+2","apply":"bar","required":true}},"hooks":["migrate"],"sdk_version":"1","state_schema_version":2}`))
	f.Add([]byte(`{"config_schema":{"a":{"type":"int","default":1e400}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := parseInterface(data)
		if err != nil {
			return
		}
		m := &manifest{Interface: &i}
		b, err := seal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := unseal(b, &manifest{}); err != nil {
			t.Fatalf("its manifest does not survive: %v", err)
		}
	})
}

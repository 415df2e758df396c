package descriptor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/msup/msup/ipc"
)

const serviceHead = `[strategy]
id = "asker"
version = "1.0.0"
runtime = "python"
entry = "m:C"
[capabilities]
events = ["quote", "compute_result"]
intents = ["order"]
`

const boundedSchema = `{"type":"object","additionalProperties":false,"properties":{"score":{"type":"number"}}}`

// Proves: EX-2, SB-3, LN-4
func TestServicesAreDeclared(t *testing.T) {
	d, err := Parse("s.toml", []byte(serviceHead+`[[service]]
name = "fair_value"
url = "https://models.example/v1/score"
request_schema = "q.json"
response_schema = "a.json"
per_second = 2
[[service]]
name = "advisor"
kind = "llm"
unix = "run/llm.sock"
path = "/advise"
request_schema = "q.json"
timeout_ms = 30000
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Service{
		{Name: "fair_value", Kind: ServiceModel, URL: "https://models.example/v1/score", Path: "/", RequestSchema: "q.json", ResponseSchema: "a.json", Timeout: 2 * time.Second, MaxBytes: 16384, PerSecond: 2},
		{Name: "advisor", Kind: ServiceLLM, Unix: "run/llm.sock", Path: "/advise", RequestSchema: "q.json", Timeout: 30 * time.Second, MaxBytes: 16384, PerSecond: 1},
	}
	if diff := cmp.Diff(want, d.Services); diff != "" {
		t.Error(diff)
	}
	if d.Lane != ipc.LaneLL || d.Services[0].Host() != "models.example:443" || d.Services[1].Host() != "" {
		t.Errorf("%s %q %q", d.Lane, d.Services[0].Host(), d.Services[1].Host())
	}
	for name, c := range map[string]struct{ service, want string }{
		"no place":       {`name = "x"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"`, "9:service[0].url DESCRIPTOR_CONFLICT\n"},
		"two places":     {`name = "x"` + "\n" + `url = "http://a.example"` + "\n" + `unix = "s"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"`, "11:service[0].url DESCRIPTOR_CONFLICT\n"},
		"user in it":     {`name = "x"` + "\n" + `url = "http://me:pw@a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"`, "11:service[0].url DESCRIPTOR_FORMAT\n"},
		"other scheme":   {`name = "x"` + "\n" + `url = "file:///etc/passwd"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"`, "11:service[0].url DESCRIPTOR_FORMAT\n"},
		"port":           {`name = "x"` + "\n" + `url = "http://a.example:99999/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"`, "11:service[0].url DESCRIPTOR_FORMAT\n"},
		"no answer":      {`name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "q.json"`, "9:service[0].response_schema DESCRIPTOR_MISSING\n"},
		"outside":        {`name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "../q.json"` + "\n" + `response_schema = "a.json"`, "12:service[0].request_schema DESCRIPTOR_FORMAT\n"},
		"no name":        {`url = "http://a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"`, "9:service[0].name DESCRIPTOR_MISSING\n"},
		"no time":        {`name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"` + "\n" + `timeout_ms = 0`, "14:service[0].timeout_ms DESCRIPTOR_RANGE\n"},
		"absurd size":    {`name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"` + "\n" + `max_bytes = 1000000000`, "14:service[0].max_bytes DESCRIPTOR_RANGE\n"},
		"negative rate":  {`name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"` + "\n" + `per_second = -1`, "14:service[0].per_second DESCRIPTOR_RANGE\n"},
		"path of a url":  {`name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"` + "\n" + `path = "/x"`, "14:service[0].path DESCRIPTOR_CONFLICT\n"},
		"declared twice": {`name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"` + "\n[[service]]\n" + `name = "x"` + "\n" + `url = "http://a.example/"` + "\n" + `request_schema = "q.json"` + "\n" + `response_schema = "a.json"`, "15:service[1].name DESCRIPTOR_DUPLICATE\n"},
	} {
		_, err := Parse("s.toml", []byte(serviceHead+"[[service]]\n"+c.service+"\n"))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if got := shape(t, err, "s.toml"); got != c.want {
			t.Errorf("%s: got %s%v\nwant %s", name, got, err, c.want)
		}
	}
	one := "[[service]]\nname = \"x\"\nurl = \"http://a.example/\"\nrequest_schema = \"q.json\"\nresponse_schema = \"a.json\"\n"
	_, err = Parse("s.toml", []byte(strings.Replace(serviceHead, `, "compute_result"`, "", 1)+one))
	if err == nil || shape(t, err, "s.toml") != "7:capabilities.events DESCRIPTOR_CONFLICT\n" {
		t.Errorf("not subscribed: %v", err)
	}
	onCompute := strings.Replace(serviceHead, `entry = "m:C"`, `entry = "m:C"`+"\nlane = \"compute\"", 1)
	if _, err = Parse("s.toml", []byte(onCompute+`external = ["b.example"]`+"\n"+one)); err == nil || shape(t, err, "s.toml") != "13:service[0].url DESCRIPTOR_CONFLICT\n" {
		t.Errorf("a host that capabilities.external does not list: %v", err)
	}
	if _, err = Parse("s.toml", []byte(onCompute+`external = ["a.example"]`+"\n"+one)); err != nil {
		t.Error(err)
	}
}

// What the host does not allow refuses the package, with the entry that would allow it; the deployment's other strategies run.
// Proves: EX-2, SB-3, AD-5
func TestServicesNeedTheHostsWord(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"q.json": boundedSchema, "a.json": boundedSchema, "free.json": `{"type":"object","additionalProperties":false,"properties":{"advice":{"type":"string"}}}`, "cut.json": `{"type":`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	service := func(rows string) string {
		return serviceHead + "[[service]]\nname = \"x\"\nrequest_schema = \"q.json\"\n" + rows
	}
	const url, unix, answer = "url = \"http://a.example/\"\n", "unix = \"run/m.sock\"\n", "response_schema = \"a.json\"\n"
	for name, c := range map[string]struct {
		descriptor, policy string
		want               Code // "" = it runs
		says               string
	}{
		"allowed":         {service(url + answer), "[[policy.service]]\nhost = \"a.example:80\"\n", "", ""},
		"allowed socket":  {service(unix + answer), "[[policy.service]]\nunix = \"run/m.sock\"\n", "", ""},
		"nothing allowed": {service(url + answer), "", CodeServiceNotAllowed, `[[policy.service]] with host = "a.example:80"`},
		"another port":    {service(url + answer), "[[policy.service]]\nhost = \"a.example:443\"\n", CodeServiceNotAllowed, "a.example:80"},
		"another socket":  {service(unix + answer), "[[policy.service]]\nunix = \"m.sock\"\n", CodeServiceNotAllowed, "/etc/msup/run/m.sock"},
		"I's socket":      {service(strings.Replace(unix, "run/m", "x", 1) + answer), "[[policy.service]]\nunix = \"x.sock\"\n[boundary]\nexecution = \"x.sock\"\n", CodeServiceNotAllowed, "boundary"},
		"too often":       {service(url + answer + "per_second = 5\n"), "[[policy.service]]\nhost = \"a.example:80\"\nper_second = 1\n", CodePolicy, "per_second"},
		"free text":       {service(url + "response_schema = \"free.json\"\n"), "[[policy.service]]\nhost = \"a.example:80\"\n", CodeServiceSchema, ".advice is free text"},
		"cut off":         {service(url + "response_schema = \"cut.json\"\n"), "[[policy.service]]\nhost = \"a.example:80\"\n", CodeServiceSchema, "no JSON"},
		"missing file":    {service(url + "response_schema = \"none.json\"\n"), "[[policy.service]]\nhost = \"a.example:80\"\n", CodeFile, "none.json"},
		"llm":             {service(url + "kind = \"llm\"\n"), "[[policy.service]]\nhost = \"a.example:80\"\n", "", ""},
		"llm, its own":    {service(url + "kind = \"llm\"\n" + answer), "[[policy.service]]\nhost = \"a.example:80\"\n", CodeServiceSchema, "proposals"},
	} {
		file := filepath.Join(dir, FileName)
		if err := os.WriteFile(file, []byte(c.descriptor), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Load(dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f, err := ParseDeployment("/etc/msup/msup.toml", []byte(c.policy+"[[strategy]]\npackage = \"asker\"\n[[strategy]]\npackage = \"other\"\nbot = \"b\"\n"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		other := *d
		other.Services, other.Strategy = nil, "other"
		out, err := f.Resolve(func(ref string) (Package, error) {
			if strings.HasSuffix(ref, "other") {
				return Package{Hash: zeros64, Dir: dir, Descriptor: &other}, nil
			}
			return Package{Hash: zeros64, Dir: dir, Descriptor: d}, nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.want == "" {
			if len(out.Refused) > 0 || len(out.Instances) != 2 || len(out.Instances[1].Services)+len(out.Instances[0].Services) != 1 {
				t.Errorf("%s: %+v", name, out.Refused)
			}
			continue
		}
		if len(out.Instances) != 1 || len(out.Refused) != 1 || len(out.Refused[0].Findings) != 1 {
			t.Errorf("%s: %d instances, refused %+v", name, len(out.Instances), out.Refused)
			continue
		}
		if one := out.Refused[0].Findings[0]; one.Code != c.want || !strings.Contains(one.Error(), c.says) || one.Line < 9 || one.Remedy == "" {
			t.Errorf("%s: %s (line %d), want %s with %q", name, one, one.Line, c.want, c.says)
		}
	}
	for name, c := range map[string]struct{ policy, want string }{
		"two places":     {"[[policy.service]]\nhost = \"a.example:80\"\nunix = \"s\"\n", "2:policy.service[0].host DESCRIPTOR_CONFLICT\n"},
		"no port":        {"[[policy.service]]\nhost = \"a.example\"\n", "2:policy.service[0].host DESCRIPTOR_FORMAT\n"},
		"twice":          {"[[policy.service]]\nhost = \"a.example:80\"\n[[policy.service]]\nhost = \"a.example:80\"\n", "4:policy.service[1].host DESCRIPTOR_DUPLICATE\n"},
		"unknown secret": {"[[policy.service]]\nhost = \"a.example:80\"\nsecret = \"key\"\n", "3:policy.service[0].secret DESCRIPTOR_CONFLICT\n"},
		"any address":    {"[[policy.service]]\nhost = \"a.example:80\"\nreach = \"any\"\n", "3:policy.service[0].reach DESCRIPTOR_RANGE\n"},
		"two headers":    {"[[policy.service]]\nhost = \"a.example:80\"\nheader = \"A\\r\\nB\"\n", "3:policy.service[0].header DESCRIPTOR_FORMAT\n"},
	} {
		_, err := ParseDeployment("d.toml", []byte(c.policy+"[[strategy]]\npackage = \"asker\"\n"))
		if err == nil || shape(t, err, "d.toml") != c.want {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}

// Proves: EX-3
func TestSchemasLeaveNoRoomForProse(t *testing.T) {
	object := func(field string) string {
		return `{"type":"object","additionalProperties":false,"properties":{"f":` + field + `}}`
	}
	for _, good := range []string{
		ProposalSchema, boundedSchema, object(`{"enum":["up","down",null,1]}`), object(`{"const":"v1"}`), object(`{"type":"string","maxLength":32,"format":"date-time"}`),
		object(`{"type":"string","maxLength":8,"pattern":"^[A-Z]+$"}`), object(`{"type":"array","maxItems":3,"items":{"type":"number"}}`),
		object(`{"anyOf":[{"type":"null"},{"type":"integer"}]}`), `{"type":"array","maxItems":2,"items":` + boundedSchema + `}`,
	} {
		if problem := CheckServiceSchema([]byte(good)); problem != "" {
			t.Errorf("%s: %s", good, problem)
		}
	}
	deep := strings.Repeat(`{"type":"array","maxItems":1,"items":`, 30) + `{"type":"null"}` + strings.Repeat("}", 30)
	for name, bad := range map[string]string{
		"anything": `{}`, "true": `true`, "no JSON": `{`, "two": boundedSchema + `{}`, "nothing": ``,
		"bare string": object(`{"type":"string"}`), "long string": object(`{"type":"string","maxLength":4000,"pattern":"^[a-z]+$"}`),
		"any pattern": object(`{"type":"string","maxLength":64,"pattern":"^.*$"}`), "words": object(`{"type":"string","maxLength":64,"pattern":"^[a-z ]+$"}`),
		"unanchored": object(`{"type":"string","maxLength":64,"pattern":"[a-z]"}`), "half anchored": object(`{"type":"string","maxLength":64,"pattern":"^a|b$"}`),
		"letters of all the world": object(`{"type":"string","maxLength":64,"pattern":"^[\\p{L} ]+$"}`), "own format": object(`{"type":"string","maxLength":64,"format":"poem"}`),
		"uri": object(`{"type":"string","maxLength":64,"format":"uri"}`), "broken pattern": object(`{"type":"string","maxLength":64,"pattern":"^($"}`),
		"more properties": `{"type":"object","properties":{}}`, "properties by pattern": `{"type":"object","additionalProperties":false,"patternProperties":{".*":{"type":"null"}},"properties":{}}`,
		"no properties": `{"type":"object","additionalProperties":false}`, "endless array": object(`{"type":"array","items":{"type":"null"}}`), "array of anything": object(`{"type":"array","maxItems":2}`),
		"two types": object(`{"type":["string","null"]}`), "reference": object(`{"$ref":"https://example.org/s.json"}`), "itself": `{"$ref":"#"}`,
		"branch": object(`{"anyOf":[{"type":"null"},{"type":"string"}]}`), "type beside branches": object(`{"type":"string","anyOf":[{"type":"null"}]}`),
		"long choice": object(`{"enum":["` + strings.Repeat("x", 500) + `"]}`), "choice of objects": object(`{"enum":[{"a":1}]}`), "not": object(`{"not":{"type":"null"}}`),
		"multiple of nothing": object(`{"type":"number","multipleOf":1e-9999999}`), "beyond": object(`{"type":"number","maximum":1e999}`), "zero with an exponent": object(`{"type":"number","maximum":0e9999999}`),
		"deep": deep, "huge": object(fmt.Sprintf(`{"enum":[%s1]}`, strings.Repeat("1234567,", 10000))), "length of a half": object(`{"type":"string","maxLength":1.5,"pattern":"^a$"}`),
	} {
		if problem := CheckServiceSchema([]byte(bad)); problem == "" {
			t.Errorf("%s passed: %s", name, bad)
		}
	}
}

// Proves: EX-3
func FuzzServiceSchema(f *testing.F) {
	f.Add([]byte(ProposalSchema))
	f.Add([]byte(boundedSchema))
	f.Add([]byte(`{"type":"object","additionalProperties":false,"properties":{"f":{"type":"string","maxLength":8,"pattern":"^[A-Z]+$"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if CheckServiceSchema(text) != "" {
			return
		}
		s, err := CompileServiceSchema(text)
		if err != nil {
			t.Fatalf("%q passed and does not compile: %v", text, err)
		}
		if long := strings.Repeat("buy everything now ", 20); s.Validate(long) == nil {
			t.Fatalf("%q lets prose through", text)
		}
	})
}

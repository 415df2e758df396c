package wasm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/wasm/wasmtest"
	"github.com/tetratelabs/wazero"
)

// guestWith is a good guest with one change.
func guestWith(change func(*wasmtest.Guest)) []byte {
	g := wasmtest.NewGuest()
	change(g)
	return g.Bytes()
}

// withSection is a module of one section.
func withSection(id byte, content ...byte) []byte {
	return append(wasmtest.Header(), wasmtest.Section(id, content)...)
}

var huge = []byte{0xff, 0xff, 0xff, 0xff, 0x0f}

// bad are modules with what the refusal has to say.
var bad = map[string]struct {
	module []byte
	says   string
}{
	"empty":                {nil, "no WebAssembly module"},
	"text":                 {[]byte("(module)"), "no WebAssembly module"},
	"an ELF file":          {[]byte("\x7fELF\x02\x01\x01\x00"), "no WebAssembly module"},
	"a component":          {[]byte("\x00asm\x0d\x00\x01\x00"), "no WebAssembly module"},
	"header only":          {wasmtest.Header(), "0 memories"},
	"too large":            {make([]byte, MaxModuleBytes+1), "at most"},
	"cut off":              {guestWith(func(*wasmtest.Guest) {})[:40], "ends too early"},
	"data bomb":            {withSection(11, huge...), "data section"},
	"data bomb, 16 bytes":  {append(wasmtest.Header(), 11, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0), "data section"},
	"function bomb":        {withSection(3, huge...), "function section"},
	"type bomb":            {withSection(1, huge...), "type section"},
	"element bomb":         {withSection(9, huge...), "element section"},
	"code bomb":            {withSection(10, huge...), "code section"},
	"global bomb":          {withSection(6, huge...), "global section"},
	"export bomb":          {withSection(7, huge...), "export section"},
	"import bomb":          {withSection(2, huge...), "import section"},
	"table bomb":           {withSection(4, append([]byte{1, 0x70, 0}, huge...)...), "table section"},
	"name bomb":            {withSection(0, append([]byte{4, 'n', 'a', 'm', 'e', 1, 5}, huge...)...), "names of functions"},
	"local name bomb":      {withSection(0, append([]byte{4, 'n', 'a', 'm', 'e', 2, 5}, huge...)...), "names of locals"},
	"section length bomb":  {append(append(wasmtest.Header(), 1), huge...), "ends too early"},
	"33-bit number":        {append(append(wasmtest.Header(), 1), 0xff, 0xff, 0xff, 0xff, 0x1f), "32 bits"},
	"unknown section":      {withSection(13, 0), "no section of number 13"},
	"section twice":        {append(withSection(1, 0), wasmtest.Section(1, []byte{0})...), "comes twice"},
	"sections in disorder": {append(withSection(3, 0), wasmtest.Section(1, []byte{0})...), "too late"},
	"left over bytes":      {withSection(1, 0, 0), "left over"},
	"no memory":            {guestWith(func(g *wasmtest.Guest) { g.NoMemory = true }), "export section"},
	"shared memory":        {withSection(5, 1, 3, 1, 1), "shared"},
	"wants 4 GiB and more": {guestWith(func(g *wasmtest.Guest) { g.MinPages = 65537 }), "memory section"},
	"memory upside down":   {withSection(5, 1, 1, 2, 1), "begins with 2"},
	"start function": {guestWith(func(g *wasmtest.Guest) {
		g.Start = int(g.Func("", ":", 0, wasmtest.Loop(wasmtest.Br(0))))
	}), "start function"},
	"unknown import":   {guestWith(func(g *wasmtest.Guest) { g.Import("env", "system", "i:i") }), "env.system"},
	"unknown of WASI":  {guestWith(func(g *wasmtest.Guest) { g.WASI("sock_accept", "iii:i") }), "sock_accept"},
	"thread spawn":     {guestWith(func(g *wasmtest.Guest) { g.Import("wasi", "thread-spawn", "i:i") }), "thread-spawn"},
	"wrong WASI type":  {guestWith(func(g *wasmtest.Guest) { g.WASI("fd_write", "i:i") }), "(i32, i32, i32, i32) -> (i32)"},
	"imported memory":  {withSection(2, 1, 3, 'e', 'n', 'v', 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0, 1), "no function"},
	"half a body list": {append(append(wasmtest.Header(), wasmtest.Section(1, []byte{1, 0x60, 0, 0})...), wasmtest.Section(3, []byte{1, 0})...), "the code of 0"},
}

// Proves: SB-L2, SB-2, SB-8, AD-3
func TestInspectRefusesWithPlaceCauseAndRemedy(t *testing.T) {
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := Inspect(c.module)
			var typed *sandbox.Error
			if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonWasmInvalid || typed.Op == "" || typed.Remedy == "" {
				t.Fatalf("error %v (%T)", err, err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

// Proves: AD-3, SB-L2
func TestInspectWantsTheExportsOfTheABI(t *testing.T) {
	good := guestWith(func(*wasmtest.Guest) {})
	info, err := Inspect(good)
	if err != nil || info.Bytes != len(good) || info.Functions != 4 || info.MemoryMinPages != 4 || info.MemoryMaxPages != maxPages || info.Initialize {
		t.Errorf("%+v, %v", info, err)
	}
	for _, name := range []string{"memory", "msup_abi", "msup_buffer", "msup_handle", "msup_describe"} {
		other := strings.ToUpper(name)
		if _, err := Inspect(bytes.Replace(good, []byte(name), []byte(other), 1)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for _, wrong := range []struct{ name, signature, says string }{
		{"msup_abi", ":I", "() -> (i64)"}, {"msup_buffer", "I:i", "(i64) -> (i32)"}, {"msup_handle", "i:i", "(i32) -> (i32)"},
		{"msup_describe", "i:I", "(i32) -> (i64)"}, {"_initialize", "i:", "(i32) -> ()"},
	} {
		m := wasmtest.NewModule()
		m.Export("memory", 2, 0)
		for _, f := range []struct{ name, signature string }{{"msup_abi", ":i"}, {"msup_buffer", "i:i"}, {"msup_handle", "i:I"}, {"msup_describe", ":I"}, {"_initialize", ":"}} {
			if f.name == wrong.name {
				f.signature = wrong.signature
			}
			m.Func(f.name, f.signature, 0, wasmtest.Unreachable)
		}
		if _, err := Inspect(m.Bytes()); err == nil || !strings.Contains(err.Error(), wrong.says) || !strings.Contains(err.Error(), wrong.name) {
			t.Errorf("%s of type %s: %v", wrong.name, wrong.signature, err)
		}
	}
	m := wasmtest.NewModule()
	for _, name := range []string{"memory", "msup_abi", "msup_buffer", "msup_handle", "msup_describe"} {
		m.Export(name, 2, 0)
	}
	if _, err := Inspect(m.Bytes()); err == nil || !strings.Contains(err.Error(), "no function") {
		t.Errorf("memories in the place of functions: %v", err)
	}
}

// The list of imports and wazero's own agree: a guest that imports all of it can be instantiated.
//
// Proves: SB-L2, SB-3
func TestAllowedImportsExistWithTheirTypes(t *testing.T) {
	g := wasmtest.NewGuest()
	for name, signature := range wasiAllowed {
		g.WASI(name, signature)
	}
	module := g.Bytes()
	info, err := Inspect(module)
	if err != nil || len(info.Imports) != len(wasiAllowed) {
		t.Fatalf("%+v, %v", info, err)
	}
	l, err := load(module, nil, environment{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), pages: 64})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.start(); err != nil {
		t.Error(err)
	}
	for name := range wasiAllowed {
		if strings.HasPrefix(name, "sock_") || slices.Contains([]string{"proc_raise"}, name) {
			t.Errorf("%s is allowed", name)
		}
	}
}

// Whatever Inspect lets through, the compiler behind it can read without harm to its process; here it is asked to.
//
// Proves: SB-L2, SB-2
func FuzzInspect(f *testing.F) {
	for _, c := range bad {
		if len(c.module) < 1<<10 {
			f.Add(c.module)
		}
	}
	f.Add(guestWith(func(g *wasmtest.Guest) {
		g.Initialize = wasmtest.Op(wasmtest.Nop)
		g.Handle = wasmtest.Echo()
		g.Print(g.WASI("fd_write", "iiii:i"), 1, "hello")
	}))
	f.Fuzz(func(t *testing.T, module []byte) {
		info, err := Inspect(module)
		if err != nil {
			var typed *sandbox.Error
			if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonWasmInvalid {
				t.Fatalf("error %v has no reason", err)
			}
			return
		}
		if info.Bytes != len(module) || info.MemoryMinPages > maxPages || !slices.Contains(info.Exports, exportHandle) {
			t.Fatalf("%+v", info)
		}
		r := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
		if _, err := r.CompileModule(context.Background(), module); err != nil {
			t.Log("the compiler refuses it:", err)
		}
		if err := r.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

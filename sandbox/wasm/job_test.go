package wasm

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
	"github.com/msup/msup/sandbox/wasm/wasmtest"
)

func echoGuest() []byte {
	return guestWith(func(g *wasmtest.Guest) { g.Handle = wasmtest.Echo() })
}

func reasonOf(err error) sandbox.ReasonCode {
	var typed *sandbox.Error
	if errors.As(err, &typed) {
		return typed.Reason
	}
	return ""
}

// Proves: SB-L2, SB-8
func TestExitTellsWhatEndedTheGuest(t *testing.T) {
	b := open(t, nil)
	for name, c := range map[string]struct {
		handle func(*wasmtest.Guest) wasmtest.Code
		code   int
		reason sandbox.ReasonCode
		said   string
	}{
		"trap": {func(g *wasmtest.Guest) wasmtest.Code { return wasmtest.Op(wasmtest.Unreachable) }, statusTrap, sandbox.ReasonWasmTrap, "unreachable"},
		"panic": {func(g *wasmtest.Guest) wasmtest.Code {
			return wasmtest.Op(g.Print(g.WASI("fd_write", "iiii:i"), 2, "thread panicked at src/lib.rs:7\n"), wasmtest.Unreachable)
		}, statusTrap, sandbox.ReasonWasmTrap, "src/lib.rs:7"},
		"lie": {func(g *wasmtest.Guest) wasmtest.Code { return wasmtest.I64(wasmtest.Pack(0xffff0000, 9)) }, statusReturn, sandbox.ReasonWasmReturn, "outside"},
		"exit": {func(g *wasmtest.Guest) wasmtest.Code {
			return wasmtest.Op(wasmtest.I32(7), wasmtest.Call(g.WASI("proc_exit", "i:")), wasmtest.Unreachable)
		}, 7, sandbox.ReasonExited, ""},
		"forged trap": {func(g *wasmtest.Guest) wasmtest.Code {
			return wasmtest.Op(wasmtest.I32(statusTrap), wasmtest.Call(g.WASI("proc_exit", "i:")), wasmtest.Unreachable)
		}, lastGuestStatus, sandbox.ReasonExited, ""},
	} {
		t.Run(name, func(t *testing.T) {
			module := guestWith(func(g *wasmtest.Guest) {
				g.Handle = wasmtest.Op(wasmtest.Get(wasmtest.Length), wasmtest.I32Eqz, wasmtest.If(wasmtest.I64(0), wasmtest.Return), c.handle(g))
			})
			r := b.start(t, b.compile(t, module))
			if err := r.conn.Send(chunk("go")); err != nil {
				t.Fatal(err)
			}
			e := r.wait(t)
			if e.Cause != sandbox.CauseExited || e.Code != c.code || e.Reason != c.reason || e.Detail == "" || !strings.Contains(e.Stderr, c.said) {
				t.Errorf("exit %+v", e)
			}
			vs := sandbox.Violations(limits.OrDefault(), e, r.Logs())
			if len(vs) != 1 || vs[0].Kind != sandbox.ViolationExit || vs[0].Reason != c.reason {
				t.Errorf("violations %v", vs)
			}
		})
	}
}

// Proves: SB-L2, AD-3
func TestGuestOfAnotherVersionIsRefusedByName(t *testing.T) {
	b := open(t, nil)
	r := b.start(t, b.compile(t, guestWith(func(g *wasmtest.Guest) { g.ABI = 2 })))
	if e := r.wait(t); e.Reason != sandbox.ReasonABI || !strings.Contains(e.Stderr, "version 2") {
		t.Errorf("exit %+v", e)
	}
}

// Proves: SB-L2, SB-4
func TestEnvironmentAndLogReachTheirPlaces(t *testing.T) {
	b := open(t, nil)
	module := guestWith(func(g *wasmtest.Guest) {
		write := g.WASI("fd_write", "iiii:i")
		sizes := g.WASI("environ_sizes_get", "ii:i")
		environ := g.WASI("environ_get", "ii:i")
		// Prints its environment, one line, and its first variable's bytes.
		g.Handle = wasmtest.Op(wasmtest.I32(600), wasmtest.I32(604), wasmtest.Call(sizes), wasmtest.Drop,
			wasmtest.I32(700), wasmtest.I32(800), wasmtest.Call(environ), wasmtest.Drop,
			wasmtest.I32(608), wasmtest.I32(800), wasmtest.Store(0), wasmtest.I32(612), wasmtest.I32(604), wasmtest.Load(0), wasmtest.Store(0),
			wasmtest.I32(2), wasmtest.I32(608), wasmtest.I32(1), wasmtest.I32(512), wasmtest.Call(write), wasmtest.Drop,
			g.Print(write, 1, "\nprinted \x1b[31m\n"), g.Print(write, 2, "\n"), wasmtest.Echo())
	})
	r := b.start(t, b.compile(t, module), "MSUP_PACKAGE_HASH=abc")
	r.ask(t, &ipc.Chunk{Seq: 1, StateVersion: 1})
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range r.log() {
		all = append(all, l.Stream.String()+":"+l.Text)
	}
	text := strings.Join(all, "\n")
	if !strings.Contains(text, `stderr:MSUP_PACKAGE_HASH=abc\x00`) || !strings.Contains(text, `stdout:printed \x1b[31m`) || strings.Contains(text, sandbox.SocketEnv) {
		t.Errorf("log:\n%s", text)
	}
}

// Proves: SB-L2, SB-3
func TestCompiledCodeIsCheckedAndMadeAgain(t *testing.T) {
	b := open(t, nil)
	module := echoGuest()
	c := b.compile(t, module)
	m, err := verify(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if again := b.compile(t, module); again.Dir != c.Dir {
		t.Errorf("%s and %s", c.Dir, again.Dir)
	}
	if after, err := os.Stat(c.Dir); err != nil || !os.SameFile(before, after) {
		t.Errorf("an intact module was compiled again: %v", err)
	}
	code := m.codePath(c.Dir)
	flip := func(path string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/2] ^= 0x40
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(){
		"flipped bit": func() { flip(code) },
		"cut off": func() {
			if err := os.Truncate(code, 10); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func() {
			if err := os.Remove(code); err != nil {
				t.Fatal(err)
			}
		},
		"a link": func() {
			if err := errors.Join(os.Rename(code, code+".x"), os.Symlink(code+".x", code)); err != nil {
				t.Fatal(err)
			}
		},
		"no manifest": func() {
			if err := os.Remove(filepath.Join(c.Dir, manifestFile)); err != nil {
				t.Fatal(err)
			}
		},
		"broken manifest": func() { flip(filepath.Join(c.Dir, manifestFile)) },
		"of another compiler": func() {
			text, err := os.ReadFile(filepath.Join(c.Dir, manifestFile))
			if err != nil {
				t.Fatal(err)
			}
			text = []byte(strings.Replace(string(text), wazeroVersion, "v0.0.1", 1))
			if err := os.WriteFile(filepath.Join(c.Dir, manifestFile), text, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"of another processor": func() {
			text, err := os.ReadFile(filepath.Join(c.Dir, manifestFile))
			if err != nil {
				t.Fatal(err)
			}
			text = []byte(strings.Replace(string(text), cpu(), "0000", 1))
			if err := os.WriteFile(filepath.Join(c.Dir, manifestFile), text, 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			damage()
			if _, err := verify(c.Dir); err == nil {
				t.Error("the damage is not seen")
			}
			r := b.start(t, c) // which repairs it
			if got := r.ask(t, chunk("x")); string(got) != "x" {
				t.Errorf("got %q", got)
			}
			if _, err := verify(c.Dir); err != nil {
				t.Errorf("after the repair: %v", err)
			}
		})
	}
	flip(filepath.Join(c.Dir, moduleFile))
	spec := Spec(sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL, NeedSocket: true}, c)
	if r, err := b.Start(t.Context(), spec); reasonOf(err) != sandbox.ReasonSetupFailed || !strings.Contains(err.Error(), "changed") {
		t.Errorf("a changed module: %v, %v", r, err)
	}
}

// Proves: SB-L2, SB-2
func TestCompilerHasCeilings(t *testing.T) {
	// One function of 3 MB: honest, and more than 24 MiB or 60 ms can compile.
	big := guestWith(func(g *wasmtest.Guest) {
		line := wasmtest.Op(wasmtest.Get(0), wasmtest.I32(7), wasmtest.I32Mul, wasmtest.Get(0), wasmtest.I32Add, wasmtest.Set(0))
		g.Func("", "i:", 0, wasmtest.Code(bytes.Repeat(line, 300_000)))
	})
	b := open(t, func(c *Config) { c.CompileMemoryBytes = 24 << 20 })
	if _, err := b.Compile(t.Context(), big); reasonOf(err) != sandbox.ReasonWasmCompile || !strings.Contains(err.Error(), "memory") {
		t.Errorf("error %v", err)
	}
	slow := open(t, func(c *Config) { c.CompileTimeout = 60 * time.Millisecond })
	if _, err := slow.Compile(t.Context(), big); reasonOf(err) == "" {
		t.Errorf("error %v", err)
	}
	invalid := guestWith(func(g *wasmtest.Guest) { g.Handle = wasmtest.Op(wasmtest.I32(1)) }) // leaves an i32 where an i64 is promised
	if _, err := b.Compile(t.Context(), invalid); reasonOf(err) != sandbox.ReasonWasmInvalid || !strings.Contains(err.Error(), "cannot use i32") {
		t.Errorf("error %v", err)
	}
}

// Proves: SB-L2
func TestOneModuleIsCompiledOnce(t *testing.T) {
	b := open(t, nil)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := b.Compile(t.Context(), echoGuest()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	places, err := filepath.Glob(filepath.Join(b.store, "*"))
	if err != nil || len(places) != 1 {
		t.Errorf("%v, %v", places, err)
	}
}

// Proves: DM-1, SB-L2
func TestDescribeReturnsTheGuestsJSON(t *testing.T) {
	b := open(t, nil)
	text, err := b.Describe(t.Context(), echoGuest())
	if err != nil || !json.Valid(text) || !strings.Contains(string(text), "state_schema_version") {
		t.Errorf("%q, %v", text, err)
	}
	long := `"` + strings.Repeat("a", 100_000) + `"`
	for name, c := range map[string]struct {
		change func(*wasmtest.Guest)
		reason sandbox.ReasonCode
	}{
		"no JSON":     {func(g *wasmtest.Guest) { g.Describe = "hello" }, sandbox.ReasonWasmReturn},
		"nothing":     {func(g *wasmtest.Guest) { g.Describe = "" }, sandbox.ReasonWasmReturn},
		"traps early": {func(g *wasmtest.Guest) { g.Initialize = wasmtest.Op(wasmtest.Unreachable) }, sandbox.ReasonWasmTrap},
		"never ends":  {func(g *wasmtest.Guest) { g.Initialize = wasmtest.Loop(wasmtest.Br(0)) }, sandbox.ReasonWasmInvalid},
		"exits": {func(g *wasmtest.Guest) {
			g.Initialize = wasmtest.Op(wasmtest.I32(0), wasmtest.Call(g.WASI("proc_exit", "i:")))
		}, sandbox.ReasonWasmReturn},
		"too long":   {func(g *wasmtest.Guest) { g.MinPages = 40; g.Describe = long }, ""},
		"lies":       {func(g *wasmtest.Guest) { g.Describe = "{}"; g.ABI = 7 }, sandbox.ReasonABI},
		"wants more": {func(g *wasmtest.Guest) { g.MinPages = 65536 }, sandbox.ReasonSetupFailed},
	} {
		t.Run(name, func(t *testing.T) {
			quick := &Sandbox{cfg: b.cfg, store: b.Sandbox.store, log: b.log, runners: map[*runner]struct{}{}, compiling: map[string]*sync.Mutex{}}
			if quick.cfg.DescribeTimeout = patience; name == "never ends" {
				quick.cfg.DescribeTimeout = max(4*time.Second, sandboxtest.Patience()/10) // a start takes more than one under the race detector
			}
			got, err := quick.Describe(t.Context(), guestWith(c.change))
			if c.reason == "" {
				if err != nil || string(got) != long {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				return
			}
			if reasonOf(err) != c.reason {
				t.Errorf("%q, error %v", got, err)
			}
		})
	}
}

// Proves: SB-2, SB-L2, SB-8
func TestSpecsThatCannotRun(t *testing.T) {
	b := open(t, nil)
	c := b.compile(t, echoGuest())
	base := sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL, NeedSocket: true}
	for name, spoil := range map[string]func(*sandbox.Spec){
		"no program":      func(s *sandbox.Spec) { s.Argv = nil },
		"another program": func(s *sandbox.Spec) { s.Argv[0] = "/usr/bin/true" },
		"the compiler":    func(s *sandbox.Spec) { s.Argv[0] = programCompile },
		"arguments":       func(s *sandbox.Spec) { s.Argv = append(s.Argv, "65536") },
		"another bind":    func(s *sandbox.Spec) { s.Binds = append(s.Binds, sandbox.Bind{Source: "/usr"}) },
		"a writable":      func(s *sandbox.Spec) { s.Writable = []sandbox.Writable{{Target: "/out", Bytes: 4096}} },
		"no socket":       func(s *sandbox.Spec) { s.NeedSocket = false },
		"another folder":  func(s *sandbox.Spec) { s.Binds[0].Source = b.dir },
		"no address":      func(s *sandbox.Spec) { s.Address.Bot = "" },
		"no memory":       func(s *sandbox.Spec) { s.Limits.MemoryBytes = 4096 },
	} {
		spec := Spec(base, c)
		spoil(&spec)
		if r, err := b.Start(t.Context(), spec); reasonOf(err) == "" {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	greedy := b.compile(t, guestWith(func(g *wasmtest.Guest) { g.MinPages = 4000; g.MaxPages = 5000 }))
	if r, err := b.Start(t.Context(), Spec(base, greedy)); err != nil {
		t.Errorf("256 MiB under 512 MiB: %v", err)
	} else if err := r.Kill(); err != nil {
		t.Error(err)
	}
	small := base
	small.Limits.MemoryBytes = 128 << 20
	if r, err := b.Start(t.Context(), Spec(small, greedy)); reasonOf(err) != sandbox.ReasonWasmInvalid || !strings.Contains(err.Error(), "memory_mb") {
		t.Errorf("256 MiB under 128 MiB: %v, %v", r, err)
	}
	if _, err := Open(Config{}); reasonOf(err) != sandbox.ReasonSpec {
		t.Errorf("a sandbox on nothing: %v", err)
	}
	if b.Name() != "wasm" || b.Level() != sandbox.L2 || len(b.Walls()) <= len(b.cfg.Process.Walls()) {
		t.Errorf("%s %s %v", b.Name(), b.Level(), b.Walls())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if r, err := b.Start(t.Context(), Spec(base, c)); err == nil {
		t.Errorf("a closed sandbox starts %v", r)
	}
}

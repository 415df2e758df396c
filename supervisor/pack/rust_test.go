package pack_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/sandbox/wasm"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

// rustOptions use the machine's Rust and a real Wasm sandbox; nobody needs Python for Rust.
func rustOptions(t *testing.T) pack.Options {
	t.Helper()
	opts := sandboxOptions(t)
	box, err := wasm.Open(wasm.Config{Process: opts.Sandbox, StoreDir: filepath.Join(opts.Store, "wasm")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	opts.Describe = box.Describe
	opts.Rust = pack.RustSearch{Named: os.Getenv("MSUP_WASM_RUST"), Path: os.Getenv("PATH"), Toolchains: toolchains()}
	return opts
}

func toolchains() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "msup", "toolchain")
}

const crateManifest = `[package]
name = "maker"
version = "0.1.0"
edition = "2021"
[lib]
crate-type = ["cdylib"]
[workspace]
`

const crateLock = `version = 3

[[package]]
name = "maker"
version = "0.1.0"
`

// bare is a module without the crate msup, so that it compiles in a second: it can say what it is, and nothing else.
const bare = `
static TEXT: &str = r#"{"config_schema":{"size":{"type":"int","default":3,"min":1,"max":9}},"hooks":["on_config"],"sdk_version":"0","state_schema_version":1}"#;
#[no_mangle] pub extern "C" fn msup_abi() -> i32 { 1 }
#[no_mangle] pub extern "C" fn msup_buffer(_: i32) -> i32 { 0 }
#[no_mangle] pub extern "C" fn msup_handle(_: i32) -> i64 { 0 }
#[no_mangle] pub extern "C" fn msup_describe() -> i64 { ((TEXT.as_ptr() as u64) << 32 | TEXT.len() as u64) as i64 }
`

// bareCrate is a folder of sources that compiles without any other crate.
func bareCrate(changes map[string]string) map[string]string {
	files := map[string]string{"strategy.toml": rust, "Cargo.toml": crateManifest, "Cargo.lock": crateLock, "src/lib.rs": bare, "notes.txt": "not part of it"}
	for name, text := range changes {
		if files[name] = text; text == "" {
			delete(files, name)
		}
	}
	return files
}

// The same sources give the same package wherever they lie, the package holds no sources, and what was compiled once is not
// compiled again.
// Proves: AD-3, DM-1, NN-1, NN-7
func TestCrateIsCompiledReproducibly(t *testing.T) {
	opts := rustOptions(t)
	var mu sync.Mutex
	var doing []string
	opts.Progress = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		doing = append(doing, text)
	}
	dir := write(t, bareCrate(nil))
	p, err := pack.Build(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range p.Files {
		names = append(names, f.Path)
	}
	if strings.Join(names, " ") != "maker.wasm strategy.toml" {
		t.Errorf("the package holds %v", names)
	}
	if size, ok := p.Descriptor.Config.Field("size"); !ok || size.Max != int64(9) || !p.Interface.HasHook("on_config") {
		t.Errorf("config %+v, hooks %v", p.Descriptor.Config, p.Interface.Hooks)
	}
	if !strings.Contains(strings.Join(doing, "\n"), "crate 1, maker") {
		t.Errorf("progress: %q", doing)
	}
	mu.Lock()
	doing = nil
	mu.Unlock()
	began := time.Now()
	again, err := pack.Build(t.Context(), dir, opts)
	if err != nil || again.Hash != p.Hash || len(doing) > 0 {
		t.Errorf("again: %v, %v, doing %q", again, err, doing)
	}
	t.Logf("the second build took %s", time.Since(began))
	if made := glob(t, dir, "*"); len(made) != 5 {
		t.Errorf("building left %v in the folder", made)
	}
	// Elsewhere, in another store: compiled again, to the same bytes.
	other := opts
	other.Store = filepath.Join(t.TempDir(), "other")
	elsewhere, err := pack.Build(t.Context(), write(t, bareCrate(nil)), other)
	if err != nil || elsewhere.Hash != p.Hash || len(doing) == 0 {
		t.Errorf("elsewhere: %v, %v, doing %q", elsewhere, err, doing)
	}
	changed, err := pack.Build(t.Context(), write(t, bareCrate(map[string]string{"src/lib.rs": strings.Replace(bare, `"max":9`, `"max":8`, 1)})), opts)
	if err != nil || changed.Hash == p.Hash {
		t.Errorf("changed: %v, %v", changed, err)
	}
	// What was compiled and then tampered with is compiled again.
	for _, kept := range glob(t, opts.Store, "built/*") {
		if !strings.HasSuffix(kept, ".json") {
			if err := overwrite(kept, "\x00asm"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if healed, err := pack.Build(t.Context(), dir, opts); err != nil || healed.Hash != p.Hash {
		t.Errorf("after tampering: %v, %v", healed, err)
	}
	storeHasNoStage(t, opts.Store)
}

// What is wrong with a crate is said with its file, its place, and what to do; nothing stays behind.
// Proves: AD-1, AD-5, DM-1
func TestBrokenCratesAreFindings(t *testing.T) {
	opts := rustOptions(t)
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"no lock":         {bareCrate(map[string]string{"Cargo.lock": ""}), []string{"Cargo.lock", "is missing", "cargo generate-lockfile"}},
		"a stale lock":    {bareCrate(map[string]string{"Cargo.lock": strings.ReplaceAll(crateLock, "maker", "other")}), []string{"Cargo.lock", "does not fit Cargo.toml"}},
		"a broken lock":   {bareCrate(map[string]string{"Cargo.lock": "version = "}), []string{"Cargo.toml", "lock file"}},
		"a broken toml":   {bareCrate(map[string]string{"Cargo.toml": crateManifest + "[lib\n"}), []string{"Cargo.toml:8:", "unclosed table"}},
		"only workspace":  {bareCrate(map[string]string{"Cargo.toml": "[workspace]\nmembers = [\"in\"]\nresolver = \"2\"\n", "in/Cargo.toml": strings.Replace(crateManifest, "[workspace]", "", 1), "in/src/lib.rs": bare}), []string{"Cargo.toml", "only a workspace"}},
		"no cdylib":       {bareCrate(map[string]string{"Cargo.toml": strings.ReplaceAll(crateManifest, "cdylib", "rlib")}), []string{"Cargo.toml", "cdylib", "msup::export!"}},
		"a compile error": {bareCrate(map[string]string{"src/lib.rs": bare + "fn wrong() -> i32 { missing }\n"}), []string{"src/lib.rs:7:21", "error[E0425]: cannot find value `missing`", "cargo check"}},
		"no exports":      {bareCrate(map[string]string{"src/lib.rs": "#[no_mangle] pub extern \"C\" fn f() {}\n"}), []string{"strategy.toml:5:9", "msup_abi", "WASM_INVALID", "msup::export!"}},
		"unknown import":  {bareCrate(map[string]string{"src/lib.rs": bare + "extern \"C\" { fn order_now(); }\n#[no_mangle] pub extern \"C\" fn f() { unsafe { order_now() } }\n"}), []string{"strategy.toml:5:9", "order_now", "WASM_INVALID"}},
		"a trap":          {bareCrate(map[string]string{"src/lib.rs": strings.Replace(bare, "i64 { ((TEXT", "i64 { if TEXT.len() > 3 { panic!(\"on purpose\") } ((TEXT", 1)}), []string{"strategy.toml:5:9", "on purpose"}},
		"a lying schema":  {bareCrate(map[string]string{"src/lib.rs": strings.Replace(bare, `"hooks":["on_config"]`, `"hooks":["rm"]`, 1)}), []string{"strategy.toml:5:9", "does not exist"}},
		"another state":   {bareCrate(map[string]string{"strategy.toml": rust + "[state]\nschema_version = 2\n"}), []string{"strategy.toml:10:18", "state.schema_version"}},
		"an entry away":   {bareCrate(map[string]string{"strategy.toml": strings.Replace(rust, "maker.wasm", "target/maker.wasm", 1)}), []string{"strategy.toml:5:9", "target"}},
		"a missing crate": {bareCrate(map[string]string{"Cargo.toml": strings.Replace(crateManifest, "[workspace]", "[dependencies]\nnear = { path = \"near\" }\n[workspace]", 1)}), []string{"Cargo.toml", "near"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := pack.Build(t.Context(), write(t, c.files), opts)
			if found, ok := descriptor.AsFindings(err); !ok || !contains(err, c.want...) || found[0].File == "" || found[0].Remedy == "" {
				t.Errorf("Build = %v, want %q", err, c.want)
			}
		})
	}
	t.Cleanup(func() { storeEmpty(t, opts.Store) })
}

// A machine without Rust, or without the target, is told what to install.
// Proves: AD-5
func TestMissingToolchainsAreFindings(t *testing.T) {
	opts := rustOptions(t)
	dir := write(t, bareCrate(nil))
	fake := t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in -vV) echo 'rustc 1.85.0'; echo 'host: x86_64-unknown-linux-gnu' ;; *) echo " + fake + "; echo " + fake + "/lib ;; esac\n"
	if err := errors.Join(os.Mkdir(filepath.Join(fake, "bin"), 0o755), os.WriteFile(filepath.Join(fake, "bin", "rustc"), []byte(script), 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		search pack.RustSearch
		want   []string
	}{
		"none":            {pack.RustSearch{Path: t.TempDir()}, []string{"Cargo.toml", "no Rust on this machine", "rustup"}},
		"no target":       {pack.RustSearch{Path: filepath.Join(fake, "bin")}, []string{"Cargo.toml", "lacks the target wasm32-wasip1", "rustup target add wasm32-wasip1"}},
		"a wrong name":    {pack.RustSearch{Named: filepath.Join(fake, "none"), Path: opts.Rust.Path}, []string{"MSUP_WASM_RUST", "unset it"}},
		"a useless named": {pack.RustSearch{Named: fake, Path: opts.Rust.Path}, []string{"MSUP_WASM_RUST", "lacks the target"}},
	} {
		opts.Rust = c.search
		_, err := pack.Build(t.Context(), dir, opts)
		if _, ok := descriptor.AsFindings(err); !ok || !contains(err, c.want...) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A build script is code of a stranger: it sees no host, no network and no end of processes, and what it does stays in the job.
// Proves: AD-3, SB-3, SB-6, SB-L1
func TestBuildScriptsAreWalledIn(t *testing.T) {
	opts := rustOptions(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o644); err != nil {
		t.Fatal(err)
	}
	look := `use std::{fs, net, process::Command};
fn main() {
    let mut bad = Vec::new();
    if fs::read("` + secret + `").is_ok() { bad.push("read a file of the host"); }
    if fs::read_dir("/root").is_ok() || fs::read_dir("/home").is_ok() { bad.push("saw homes"); }
    if fs::read("/etc/passwd").is_ok() { bad.push("saw the host's users"); }
    if fs::write("/src/src/lib.rs", "").is_ok() || fs::write("/rust/x", "").is_ok() || fs::write("/usr/x", "").is_ok() { bad.push("wrote outside"); }
    if net::TcpStream::connect("127.0.0.1:22").err().map(|e| e.kind()) != Some(std::io::ErrorKind::PermissionDenied) { bad.push("made a socket"); }
    if Command::new("/usr/bin/unshare").args(["-U", "true"]).status().map(|s| s.success()).unwrap_or(false) { bad.push("made a namespace"); }
    if Command::new("/bin/mount").args(["-t", "tmpfs", "x", "/tmp"]).status().map(|s| s.success()).unwrap_or(false) { bad.push("mounted"); }
    let mut n = 0;
    let mut all = Vec::new();
    while n < 2000 { match Command::new("/bin/sleep").arg("60").spawn() { Ok(c) => { all.push(c); n += 1 } Err(_) => break } }
    if n < 20 { bad.push("could not start processes"); }
    for mut c in all { let _ = c.kill(); let _ = c.wait(); }
    if n > 600 { bad.push("started too many processes"); }
    if !bad.is_empty() { panic!("escaped: {bad:?}"); }
}
`
	if _, err := pack.Build(t.Context(), write(t, bareCrate(map[string]string{"build.rs": look})), opts); err != nil {
		t.Errorf("a curious build script: %v", err)
	}
	for name, c := range map[string]struct{ script, want string }{
		"panics":  {"fn main() { panic!(\"on purpose\") }", "on purpose"},
		"disk":    {"use std::io::Write; fn main() { let b = vec![1u8; 1 << 20]; for i in 0.. { let mut f = std::fs::File::create(format!(\"{}/{i}\", std::env::var(\"OUT_DIR\").unwrap())).unwrap(); for _ in 0..512 { f.write_all(&b).unwrap(); } } }", "Cargo.toml"},
		"removes": {"fn main() { let _ = std::fs::remove_dir_all(\"/out/target\"); }", "Cargo.toml"},
	} {
		if name == "disk" && testing.Short() {
			continue
		}
		_, err := pack.Build(t.Context(), write(t, bareCrate(map[string]string{"build.rs": c.script})), opts)
		if _, ok := descriptor.AsFindings(err); !ok || !contains(err, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	impatient := opts
	impatient.CompileTimeout = 3 * time.Second
	loops := write(t, bareCrate(map[string]string{"build.rs": "fn main() { loop { std::thread::sleep(std::time::Duration::from_secs(1)) } }"}))
	if _, err := pack.Build(t.Context(), loops, impatient); !contains(err, "Cargo.toml", "not done after 3s", "build script") {
		t.Errorf("a build script that loops: %v", err)
	}
	// The crate's own cargo settings would run a program outside of the sandbox.
	mark := filepath.Join(t.TempDir(), "ran")
	evil := write(t, bareCrate(map[string]string{".cargo/config.toml": "[build]\nrustc-wrapper = \"./wrapper\"\nrustc = \"./wrapper\"\n", "wrapper": "#!/bin/sh\ntouch " + mark + "\n",
		"rust-toolchain.toml": "[toolchain]\npath = \"/nowhere\"\n"}))
	if err := os.Chmod(filepath.Join(evil, "wrapper"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := pack.Build(t.Context(), evil, opts); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mark); !os.IsNotExist(err) {
		t.Error("a program of the crate ran outside of the sandbox")
	}
	storeHasNoStage(t, opts.Store)
}

// nativeToml is the descriptor of the same strategy as a program.
var nativeToml = strings.NewReplacer(`"rust_wasm"`, `"rust_native"`, `"maker.wasm"`, `"maker"`).Replace(rust)

// sdkFolder copies an example strategy beside the crate msup, as they lie in a checkout.
func sdkFolder(t *testing.T, runtime string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "strategies", "ema")
	example, sdk := "../../examples/ema_cross_rs", "../../wasmsdk"
	for from, to := range map[string]string{filepath.Join(example, "src"): filepath.Join(dir, "src"), filepath.Join(sdk, "src"): filepath.Join(dir, "../../wasmsdk/src"),
		filepath.Join(sdk, "derive", "src"): filepath.Join(dir, "../../wasmsdk/derive/src")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{filepath.Join(example, "Cargo.toml"): "Cargo.toml", filepath.Join(example, "Cargo.lock"): "Cargo.lock", filepath.Join(example, "strategy.toml"): "strategy.toml",
		filepath.Join(sdk, "Cargo.toml"): "../../wasmsdk/Cargo.toml", filepath.Join(sdk, "README.md"): "../../wasmsdk/README.md", filepath.Join(sdk, "derive", "Cargo.toml"): "../../wasmsdk/derive/Cargo.toml",
		filepath.Join(sdk, "derive", "README.md"): "../../wasmsdk/derive/README.md"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if to == "strategy.toml" && runtime == "rust_native" {
			text = []byte(strings.NewReplacer(`"rust_wasm"`, `"rust_native"`, `"strategy.wasm"`, `"strategy"`).Replace(string(text)))
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The example with the crate msup, its macros and its crates from the registry: compiled without a network, as a module and as a
// program; both say the same of themselves.
// Proves: DM-1, NN-1
func TestExampleIsCompiledForBothRuntimes(t *testing.T) {
	opts := rustOptions(t)
	var interfaces []pack.Interface
	for _, runtime := range []string{"rust_wasm", "rust_native"} {
		p, err := pack.Build(t.Context(), sdkFolder(t, runtime), opts)
		if err != nil {
			t.Fatalf("%s: %v", runtime, err)
		}
		interfaces = append(interfaces, p.Interface)
		if fast, ok := p.Descriptor.Config.Field("fast"); !ok || fast.Default != int64(50) {
			t.Errorf("%s: config %+v", runtime, p.Descriptor.Config)
		}
		text, err := os.ReadFile(filepath.Join(p.CodeDir, p.Descriptor.Entry))
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range []string{os.TempDir() + "/", os.Getenv("HOME") + "/"} {
			if len(trace) > 2 && strings.Contains(string(text), trace) {
				t.Errorf("%s: the artifact names %s", runtime, trace)
			}
		}
	}
	if !reflect.DeepEqual(interfaces[0], interfaces[1]) || !interfaces[0].HasHook("on_config") {
		t.Errorf("the module says %+v, the program %+v", interfaces[0], interfaces[1])
	}
}

// Crates beside the strategy, in its workspace and at absolute paths come along; where all of it lies does not matter.
// Proves: AD-3, NN-7
func TestCratesBesideTheStrategy(t *testing.T) {
	opts := rustOptions(t)
	const helper = "[package]\nname = \"%s\"\nversion = \"0.1.0\"\nedition.workspace = true\n"
	bare := bare + "#[no_mangle] pub extern \"C\" fn sum() -> i32 { near::two() + far::three() + std::panic::Location::caller().line() as i32 }\n"
	build := func(place, runtime string) *pack.Package {
		t.Helper()
		root, away := filepath.Join(t.TempDir(), place), filepath.Join(t.TempDir(), place, "away")
		files := map[string]string{
			"Cargo.toml":                          "[workspace]\nmembers = [\"strategies/maker\", \"lib/near\"]\nresolver = \"2\"\n[workspace.package]\nedition = \"2021\"\n[profile.release]\nopt-level = \"s\"\n",
			"Cargo.lock":                          crateLock[:strings.Index(crateLock, "[[")] + "[[package]]\nname = \"far\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"maker\"\nversion = \"0.1.0\"\ndependencies = [\n \"far\",\n \"near\",\n]\n\n[[package]]\nname = \"near\"\nversion = \"0.1.0\"\n",
			"lib/near/Cargo.toml":                 fmt.Sprintf(helper, "near"),
			"lib/near/src/lib.rs":                 "pub fn two() -> i32 { if std::env::var(\"X\").is_ok() { panic!(\"near\") } 2 }\n",
			"strategies/maker/Cargo.toml":         strings.Replace(crateManifest, "[workspace]", "[dependencies]\nnear = { path = \"../../lib/near\" }\nfar = { path = \""+away+"\" }\n", 1),
			"strategies/maker/src/lib.rs":         bare,
			"strategies/maker/strategy.toml":      rust,
			"strategies/maker/target/big":         "left out",
			"strategies/another/never/looked.txt": "at",
		}
		if runtime == "rust_native" {
			files["strategies/maker/strategy.toml"] = nativeToml
			files["strategies/maker/src/main.rs"] = "fn main() { println!(\"{}\", r#\"{\"config_schema\":{},\"hooks\":[],\"sdk_version\":\"0\",\"state_schema_version\":1}\"#); if std::env::args().count() > 7 { println!(\"{}\", near::two() + far::three()) } }\n"
		}
		far := map[string]string{"Cargo.toml": strings.Replace(fmt.Sprintf(helper, "far"), "edition.workspace = true", "edition = \"2021\"", 1), "src/lib.rs": "pub fn three() -> i32 { if std::env::var(\"Y\").is_ok() { panic!(\"far\") } 3 }\n"}
		for dir, tree := range map[string]map[string]string{root: files, away: far} {
			for name, text := range tree {
				file := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
		}
		other := opts
		other.Store = filepath.Join(t.TempDir(), "store")
		p, err := pack.Build(t.Context(), filepath.Join(root, "strategies", "maker"), other)
		if err != nil {
			t.Fatalf("%s in %s: %v", runtime, place, err)
		}
		return p
	}
	for _, runtime := range []string{"rust_wasm", "rust_native"} {
		if a, b := build("a", runtime), build("another/place", runtime); a.Hash != b.Hash {
			t.Errorf("%s: %s in one place, %s in another", runtime, a.Hash, b.Hash)
		}
	}
}

// A program that this machine cannot execute, or that is no strategy, is refused before anything runs.
// Proves: AD-1, AD-5
func TestBrokenProgramsAreFindings(t *testing.T) {
	opts := rustOptions(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, bytes ...byte) string {
		head := slices.Clone(self[:4096])
		copy(head[at:], bytes)
		return string(head)
	}
	trueProgram, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		program string
		want    []string
	}{
		"a script":         {"#!/bin/sh\n", []string{"maker is not executable", "no ELF program"}},
		"empty":            {"", []string{"maker is not executable"}},
		"another machine":  {with(18, 0xf3, 0), []string{"a program for EM_RISCV", "EM_"}},
		"32 bits":          {with(4, 1), []string{"another architecture", "ELFCLASS32"}},
		"an object file":   {with(16, 1, 0), []string{"not executable", "ET_REL"}},
		"a library":        {with(24, 0, 0, 0, 0, 0, 0, 0, 0), []string{"not executable", "without a program"}},
		"only a beginning": {with(0), []string{"could not", "maker"}},
		"no strategy":      {string(trueProgram), []string{"not usable", "JSON"}},
	} {
		_, err := pack.Build(t.Context(), write(t, map[string]string{"strategy.toml": nativeToml, "maker": c.program}), opts)
		if name == "only a beginning" { // the kernel refuses it, as the sandbox reports
			if err == nil {
				t.Errorf("%s: it was accepted", name)
			}
			continue
		}
		if _, ok := descriptor.AsFindings(err); !ok || !contains(err, append(c.want, "strategy.toml:5:9")...) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	storeEmpty(t, opts.Store)
	none := bareCrate(map[string]string{"strategy.toml": nativeToml})
	if _, err := pack.Build(t.Context(), write(t, none), opts); !contains(err, "Cargo.toml", "makes no program", "native_main") {
		t.Errorf("a crate without a program: %v", err)
	}
	two := bareCrate(map[string]string{"strategy.toml": nativeToml, "src/bin/a.rs": "fn main() {}", "src/bin/b.rs": "fn main() {}"})
	if _, err := pack.Build(t.Context(), write(t, two), opts); !contains(err, "Cargo.toml", "several programs (a, b)", "maker") {
		t.Errorf("a crate with two programs: %v", err)
	}
}

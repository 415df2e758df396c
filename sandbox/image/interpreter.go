package image

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// oldestPython is what the SDK needs.
const oldestPython = "3.11"

var rePython = lazily(`^python(3\.\d{1,3})[a-z]?$`)

// tooOld compares versions of the form 3.N.
func tooOld(minor string) bool {
	n := func(v string) int {
		major, rest, _ := strings.Cut(v, ".")
		a, err1 := strconv.Atoi(major)
		b, err2 := strconv.Atoi(rest)
		if err1 != nil || err2 != nil {
			return -1
		}
		return a*1000 + b
	}
	return n(minor) < n(oldestPython)
}

// resolve follows symbolic links inside the image, of folders too. "" when it leads nowhere.
func (f files) resolve(name string) string {
	todo, done := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/"), ""
	for steps := 0; len(todo) > 0; steps++ {
		if steps > 400 {
			return "" // a circle
		}
		step := todo[0]
		todo = todo[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if done = path.Dir(done); done == "." {
				done = ""
			}
			continue
		}
		here := path.Join(done, step)
		n, ok := f[here]
		if ok && n.mode&fs.ModeSymlink != 0 {
			if strings.HasPrefix(n.link, "/") {
				done = ""
			}
			todo = append(strings.Split(n.link, "/"), todo...)
			continue
		}
		done = here
	}
	return done
}

// pythonInside is a Python that was found in an image.
type pythonInside struct {
	program string // as it is called: through the virtual environment's link, if there is one
	minor   string
	site    string // the folder that has the SDK
	sdk     string // its version
}

// defaultPath is where programs are looked for when the image does not say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// errNoPython and its kin are the ways in which an image does not suit, each with its own remedy.
var (
	errNoPython  = errors.New("it has no Python")
	errOldPython = errors.New("its Python is too old")
	errNoSDK     = errors.New("it has no msup SDK")
)

// otherMachine says what an image, or a program in it, is for instead of this machine.
type otherMachine string

func (o otherMachine) Error() string { return string(o) }

// python finds the interpreter that the image's PATH leads to, and the SDK where that interpreter will look for it.
func (f files) python(env map[string]string) (pythonInside, error) {
	dirs := env["PATH"]
	orDefault(&dirs, defaultPath)
	var old, found []pythonInside
	var notELF error
	for dir := range strings.SplitSeq(dirs, ":") {
		if !path.IsAbs(dir) {
			continue
		}
		for _, base := range []string{"python3", "python3.15", "python3.14", "python3.13", "python3.12", "python3.11", "python"} {
			p, err := f.interpreter(path.Join(dir, base))
			switch {
			case err != nil:
				notELF = errors.Join(notELF, err)
			case p.minor == "":
			case tooOld(p.minor):
				old = append(old, p)
			default:
				found = append(found, p)
			}
		}
	}
	switch {
	case len(found) == 0 && len(old) > 0:
		return old[0], fmt.Errorf("%w: %s is %s, the SDK needs %s", errOldPython, old[0].program, old[0].minor, oldestPython)
	case len(found) == 0:
		return pythonInside{}, errors.Join(fmt.Errorf("%w: there is no python3 in %s", errNoPython, cut(dirs)), notELF)
	}
	for _, p := range found {
		if f.sdk(&p, env) {
			return p, nil
		}
	}
	return found[0], fmt.Errorf("%w where %s looks for it (site-packages, PYTHONPATH), or that lacks msgspec", errNoSDK, found[0].program)
}

// interpreter looks at a program that may be Python. No error and no version: it is not.
func (f files) interpreter(program string) (pythonInside, error) {
	real := f.resolve(program)
	n, ok := f[real]
	if !ok || !n.mode.IsRegular() || n.mode&0o111 == 0 {
		return pythonInside{}, nil
	}
	if err := rightMachine(n.head); err != nil {
		return pythonInside{}, fmt.Errorf("%s: %w", program, err)
	}
	if m := rePython().FindStringSubmatch(path.Base(real)); m != nil {
		return pythonInside{program: program, minor: m[1]}, nil
	}
	// A build may call its program python3: its library has the version.
	for name := range f {
		rest, ok := strings.CutPrefix(name, path.Join(path.Dir(path.Dir(real)), "lib")+"/")
		if dir, below, _ := strings.Cut(rest, "/"); ok && below == "os.py" {
			if m := rePython().FindStringSubmatch(dir); m != nil {
				return pythonInside{program: program, minor: m[1]}, nil
			}
		}
	}
	return pythonInside{}, nil
}

// machines are the ELF numbers of the architectures.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

func rightMachine(head []byte) error {
	if len(head) < 20 || string(head[:4]) != elf.ELFMAG {
		return errors.New("it is a script, no interpreter")
	}
	if m := elf.Machine(binary.LittleEndian.Uint16(head[18:])); head[5] != byte(elf.ELFDATA2LSB) || m != machines[runtime.GOARCH] {
		return otherMachine(fmt.Sprintf("it is a program for %s, this machine is %s", m, runtime.GOARCH))
	}
	return nil
}

// sdk finds the SDK with what it needs where that interpreter looks.
func (f files) sdk(p *pythonInside, env map[string]string) bool {
	lib := "lib/python" + p.minor
	prefix := path.Dir(path.Dir(p.program))
	var dirs []string
	for dir := range strings.SplitSeq(env["PYTHONPATH"], ":") {
		if path.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	dirs = append(dirs, path.Join(prefix, lib, "site-packages"))
	if _, venv := f[f.resolve(path.Join(prefix, "pyvenv.cfg"))]; !venv {
		prefix = "/" + path.Dir(path.Dir(f.resolve(p.program)))
		dirs = append(dirs, path.Join(prefix, lib, "site-packages"), path.Join(prefix, "local", lib, "dist-packages"), path.Join(prefix, "lib/python3/dist-packages"))
	}
	has := func(name string) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { _, ok := f[f.resolve(path.Join(dir, name))]; return ok })
	}
	for _, dir := range dirs {
		n, ok := f[f.resolve(path.Join(dir, "msup/version.py"))]
		if version := sdkVersion(n.text); ok && version != "" && has("msgspec/__init__.py") {
			p.site, p.sdk = dir, version
			return true
		}
	}
	return false
}

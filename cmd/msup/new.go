package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

// templates are the files of a new strategy: strategy.py.tmpl becomes strategy.py. Those in Rust lie in a folder of their own.
//
//go:embed template
var templates embed.FS

const templateSuffix = ".tmpl"

// strategyName is what strategy.toml allows as an id (DM-1).
var strategyName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// language is one that strategies are written in.
type language struct {
	name      string
	templates string            // glob
	places    map[string]string // of files that are not at the top
	taken     []string          // class names that the template or the language itself uses
}

var languages = []language{
	{name: "python", templates: "template/*" + templateSuffix, taken: takenClasses},
	{name: "rust", templates: "template/rust/*" + templateSuffix, places: map[string]string{"lib.rs": "src/lib.rs", "main.rs": "src/main.rs", "gitignore": ".gitignore"},
		taken: []string{"Config", "Context", "Decimal", "Event", "ExecutionReport", "InstrumentId", "Key", "Nanos", "Quote", "State", "Strategy", "Settings", "Leg",
			"Memory", "Harness", "Instrument", "IntentBody", "IntentsDiscarded", "Self", "Some", "None", "Ok", "Err", "Vec", "Option", "Result", "String", "Box", "Default",
			"Debug", "Clone", "BTreeMap"}},
}

// takenClasses are names that the Python template or Python itself uses.
var takenClasses = []string{"Config", "State", "Leg", "Context", "Event", "Execution", "ExecutionReport", "IntentsDiscarded", "Quote", "Annotated",
	"Decimal", "Instrument", "PositionIntent", "Harness", "None", "True", "False"}

// scaffolded is what msup new prints.
type scaffolded struct {
	Strategy string   `json:"strategy"`
	Dir      string   `json:"dir"`
	Class    string   `json:"class"`
	Files    []string `json:"files"`
	Next     []string `json:"next"`
}

func (a *app) newCommand() *cobra.Command {
	var parent, lang string
	c := &cobra.Command{
		Use: "new NAME", Short: "Write a strategy in Python or Rust that runs at once, with passing tests",
		Long: `Makes the folder NAME with a small strategy, its descriptor and its tests. It runs as it is; put your own rule
into it. The name becomes the strategy's id. Nothing that exists is overwritten.

With --lang rust it is a crate: cargo test tests it, msup run compiles it behind walls and runs it as a Wasm module. It
depends on the crate msup of the checkout that this msup belongs to, where it belongs to one, else on the published one;
cargo, where it is installed, writes its Cargo.lock.`,
		Example: "  msup new my_strategy\n  msup run my_strategy\n  msup new my_rust_strategy --lang rust",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := scaffold(cmd.Context(), parent, args[0], lang)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %s. Next:\n  %s\n", s.Dir, strings.Join(s.Files, ", "), strings.Join(s.Next, "\n  "))
			return err
		},
	}
	c.Flags().StringVar(&parent, "dir", ".", "existing folder in which the new one is made")
	c.Flags().StringVar(&lang, "lang", "python", "what it is written in: python or rust")
	return c
}

// scaffold makes the folder of a new strategy. It leaves nothing behind when it fails.
func scaffold(ctx context.Context, parent, name, lang string) (s scaffolded, err error) {
	if !strategyName.MatchString(name) {
		return s, fmt.Errorf("%w: %.80q cannot name a strategy: use at most 64 of a-z, 0-9, _ and -, a letter first%s; --dir says where the folder goes",
			errUsage, name, suggestion(name))
	}
	at := slices.IndexFunc(languages, func(l language) bool { return l.name == lang })
	if at < 0 {
		return s, fmt.Errorf("%w: --lang %.80q: write python or rust", errUsage, lang)
	}
	l := languages[at]
	s = scaffolded{Strategy: name, Dir: filepath.Join(parent, name), Class: className(name, l.taken)}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		switch {
		case errors.Is(err, fs.ErrExist):
			return s, fmt.Errorf("%w: %s exists already, and nothing is overwritten; take another name or --dir", errUsage, s.Dir)
		case errors.Is(err, fs.ErrNotExist):
			return s, fmt.Errorf("%w: there is no folder %s to make %s in; create it, or name another with --dir", errUsage, parent, name)
		}
		return s, fmt.Errorf("making the folder of the strategy: %w; name another place with --dir", err)
	}
	crate := sdkCrate()
	values := map[string]string{"Name": s.Strategy, "Class": s.Class, "Dependency": crateDependency(absolute(s.Dir), crate)}
	if s.Files, err = writeTemplates(s.Dir, l, values); err != nil {
		return s, errors.Join(err, os.RemoveAll(s.Dir))
	}
	if l.name == "rust" {
		manifest := shellWord(filepath.Join(s.Dir, "Cargo.toml"))
		if err := writeCargoLock(ctx, s.Dir, crate); err == nil {
			s.Files = append(s.Files, "Cargo.lock")
			slices.Sort(s.Files)
		} else {
			s.Next = append(s.Next, fmt.Sprintf("cargo generate-lockfile --manifest-path %s    # it could not be done now: %s", manifest, err))
		}
		s.Next = append(s.Next, "cargo test --manifest-path "+manifest)
	} else {
		s.Next = append(s.Next, fmt.Sprintf("%s -m pytest %s", pythonName(), shellWord(s.Dir)))
	}
	program := programName()
	s.Next = append(s.Next, fmt.Sprintf("%s run %s", program, shellWord(s.Dir)), fmt.Sprintf("%s run %s --feed FILE", program, shellWord(s.Dir)))
	return s, nil
}

// writeTemplates fills in every template and returns the names of the files.
func writeTemplates(dir string, l language, values map[string]string) ([]string, error) {
	all, err := template.ParseFS(templates, l.templates)
	if err != nil {
		return nil, fmt.Errorf("reading the built-in templates: %w", err)
	}
	var files []string
	for _, t := range all.Templates() {
		var body bytes.Buffer
		if err := t.Execute(&body, values); err != nil {
			return nil, fmt.Errorf("filling in %s: %w", t.Name(), err)
		}
		file := strings.TrimSuffix(t.Name(), templateSuffix)
		if place := l.places[file]; place != "" {
			file = place
		}
		path := filepath.Join(dir, file)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, body.Bytes(), 0o644)
		}
		if err != nil {
			return nil, fmt.Errorf("writing the new strategy: %w; free space, or name another place with --dir", err)
		}
		files = append(files, file)
	}
	slices.Sort(files)
	return files, nil
}

// className makes my_strategy MyStrategy.
func className(name string, taken []string) string {
	var class strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '_' || r == '-' }) {
		class.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	if slices.Contains(taken, class.String()) {
		class.WriteString("Strategy")
	}
	return class.String()
}

// suggestion turns what was typed into a name that is allowed, where something is left of it.
func suggestion(name string) string {
	base := strings.ToLower(filepath.Base(name))
	kept := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		case r == ' ', r == '.':
			return '_'
		}
		return -1
	}, base)
	kept = strings.TrimLeft(kept, "0123456789_-")
	if !strategyName.MatchString(kept) {
		return ""
	}
	return fmt.Sprintf(" (for example %q)", kept)
}

// programName is msup as the user called it, so that what is printed can be pasted.
func programName() string {
	if len(os.Args) > 0 && filepath.Base(os.Args[0]) == "msup" {
		return shellWord(os.Args[0])
	}
	return "msup"
}

// pythonName is the interpreter that findPython would take, as short as it can be typed here.
func pythonName() string {
	python := besideBinary()
	if named := os.Getenv("MSUP_PYTHON"); named != "" {
		python = named
	}
	if python == "" {
		return "python3"
	}
	if cwd, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(cwd, python); err == nil && !strings.HasPrefix(short, "..") {
			python = short
		}
	}
	return shellWord(python)
}

// plainWord needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./+:@%,=-]+$`)

func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

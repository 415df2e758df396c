package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands of the scripts, beside those of testscript:
//
//	msup CODE ARG…             run the program; it must end with CODE
//	nobody CODE ARG…           the same as an unprivileged user
//	start NAME ARG…            run it in the background
//	until NAME REGEXP [COUNT]  wait until its standard error matches, so many times
//	signal NAME SIGNAL         INT, TERM, KILL, STOP or CONT; one that is stopped may be killed by others until it goes on
//	await NAME CODE            wait for its end
//	killrunner NAME REGEXP     kill -9 the runner whose address matches
//	killhelper NAME            kill -9 the helper that keeps root
//	unprivileged NAME          it has nothing of root's on any thread; its helper, and nothing else of it, is root's
//	same FILE FILE             the intents are the same apart from key, run_id, trace_id, epoch and what is made of them
//	twins FILE FILE            the same of two strategies, so also apart from what names strategy and version
//	holds FILE PATH OP VALUE   compare a value of a JSON document
//	accounts FILE              received = delivered + conflated + dropped, for every instance of a summary
//	once STATE FILE            I knows every intent once, and the summary's positions are the sum of the fills
//	flip FILE TEXT             change one bit of the first place where the text stands
//	cut FILE BYTES             take so many bytes off the end
//	fill FILE BYTES            write so many zero bytes, or as many as fit
//	sh COMMAND                 for what the host must do: mounts, permissions
//	defer COMMAND              the same at the end of the script, whatever happens
//	kills, broken              see there
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"msup": command(2, func(ts *testscript.TestScript, a []string) { start(ts, 0, a[1:]).finish(ts, code(ts, a[0])) }),
	"nobody": command(2, func(ts *testscript.TestScript, a []string) {
		start(ts, nobody, a[1:]).finish(ts, code(ts, a[0]))
	}),
	"start":        command(2, doStart),
	"until":        command(2, doUntil),
	"signal":       command(2, doSignal),
	"await":        command(2, func(ts *testscript.TestScript, a []string) { named(ts, a[0]).finish(ts, code(ts, a[1])) }),
	"killrunner":   command(2, doKillRunner),
	"killhelper":   command(1, doKillHelper),
	"unprivileged": command(1, doUnprivileged),
	"same":         command(2, func(ts *testscript.TestScript, a []string) { doSame(ts, a, differing) }),
	"twins": command(2, func(ts *testscript.TestScript, a []string) {
		doSame(ts, a, append([]string{"strategy", "strategy_version"}, differing...))
	}),
	"holds":    command(4, doHolds),
	"accounts": command(1, doAccounts),
	"once":     command(2, doOnce),
	"flip":     command(2, doFlip),
	"cut":      command(2, doCut),
	"fill":     command(2, doFill),
	"sh":       command(1, doShell),
	"defer":    command(1, func(ts *testscript.TestScript, a []string) { ts.Defer(func() { doShell(ts, a) }) }),
	"kills":    command(3, doKills),
	"broken":   command(3, doBroken),
}

func command(atLeast int, f func(*testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < atLeast {
			ts.Fatalf("wrong use of this command: see its list in command_test.go")
		}
		f(ts, args)
	}
}

func code(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func named(ts *testscript.TestScript, name string) *program {
	p := programsOf(ts).byName[name]
	if p == nil {
		ts.Fatalf("nothing was started under the name %s", name)
	}
	return p
}

func pattern(ts *testscript.TestScript, text string) *regexp.Regexp {
	p, err := regexp.Compile(text)
	ts.Check(err)
	return p
}

func doStart(ts *testscript.TestScript, args []string) {
	programsOf(ts).byName[args[0]] = start(ts, 0, args[1:])
}

func doUntil(ts *testscript.TestScript, args []string) {
	p, want, count := named(ts, args[0]), pattern(ts, args[1]), 1
	if len(args) > 2 {
		count = code(ts, args[2])
	}
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if len(want.FindAllString(p.stderr.String(), count)) >= count {
			return
		}
		if p.ended() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ts.Fatalf("msup %s never said %s %d times:\n%s", strings.Join(p.args, " "), want, count, tail(p.stderr.String()))
}

func doSignal(ts *testscript.TestScript, args []string) {
	s, ok := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL,
		"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}[args[1]]
	if !ok {
		ts.Fatalf("signal %s is not one of INT, TERM, KILL, STOP, CONT", args[1])
	}
	p := named(ts, args[0])
	p.killed = s == syscall.SIGKILL || s == syscall.SIGSTOP
	ts.Check(p.cmd.Process.Signal(s))
}

func doKillRunner(ts *testscript.TestScript, args []string) {
	named(ts, args[0]).killRunner(ts, pattern(ts, args[1]))
}

// differing are the fields of an intent that differ from run to run: the key, what names the run and counts the starts on this host, and
// the digest, which covers the key.
var differing = []string{"key", "run_id", "trace_id", "epoch", "digest", "target_key", "row_key"}

// intentsOf reads intents without what differs from run to run.
func intentsOf(ts *testscript.TestScript, file string, without []string) (lines []string) {
	s := bufio.NewScanner(strings.NewReader(ts.ReadFile(file)))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var intent map[string]any
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.UseNumber()
		if err := d.Decode(&intent); err != nil {
			ts.Fatalf("%s: %v in %q", file, err, s.Text())
		}
		for _, name := range without {
			delete(intent, name)
		}
		line, err := json.Marshal(intent)
		ts.Check(err)
		lines = append(lines, string(line))
	}
	ts.Check(s.Err())
	return lines
}

func doSame(ts *testscript.TestScript, args, without []string) {
	a, b := intentsOf(ts, args[0], without), intentsOf(ts, args[1], without)
	if len(a) == 0 {
		ts.Fatalf("%s holds no intents: there is nothing to compare", args[0])
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			ts.Fatalf("intent %d differs:\n%s: %s\n%s: %s", i+1, args[0], a[i], args[1], b[i])
		}
	}
	if len(a) != len(b) {
		ts.Fatalf("%s holds %d intents, %s holds %d", args[0], len(a), args[1], len(b))
	}
}

// document reads the first JSON document of a file.
func document(ts *testscript.TestScript, file string) any {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		ts.Fatalf("%s: %v", file, err)
	}
	return v
}

// values follows a path of names, indices, "*" and names of strategies, and returns what is there.
func values(v any, path []string) (found []any) {
	if len(path) == 0 {
		return []any{v}
	}
	switch v := v.(type) {
	case map[string]any:
		if inner, ok := v[path[0]]; ok {
			return values(inner, path[1:])
		}
	case []any:
		for i, inner := range v {
			m, _ := inner.(map[string]any)
			address, _ := m["instance"].(string)
			if path[0] == "*" || path[0] == strconv.Itoa(i) || strings.Contains("/"+address+"/", "/"+path[0]+"/") {
				found = append(found, values(inner, path[1:])...)
			}
		}
	}
	return found
}

func doHolds(ts *testscript.TestScript, args []string) {
	found := values(document(ts, args[0]), strings.Split(args[1], "/"))
	op, want := args[2], args[3]
	if op == "count" {
		if n := len(found); strconv.Itoa(n) != want {
			ts.Fatalf("%s: %s is there %d times, want %s", args[0], args[1], n, want)
		}
		return
	}
	if len(found) == 0 {
		ts.Fatalf("%s has no %s:\n%s", args[0], args[1], tail(ts.ReadFile(args[0])))
	}
	for _, v := range found {
		if got := fmt.Sprint(v); !compare(ts, got, op, want) {
			ts.Fatalf("%s: %s is %s, want %s %s:\n%s", args[0], args[1], got, op, want, tail(ts.ReadFile(args[0])))
		}
	}
}

func compare(ts *testscript.TestScript, got, op, want string) bool {
	switch op {
	case "=":
		return got == want
	case "~":
		return pattern(ts, want).MatchString(got)
	}
	a, err := strconv.ParseFloat(got, 64)
	ts.Check(err)
	b, err := strconv.ParseFloat(want, 64)
	ts.Check(err)
	switch op {
	case ">":
		return a > b
	case "<":
		return a < b
	}
	ts.Fatalf("the operator %s is not one of = ~ < > count", op)
	return false
}

func doAccounts(ts *testscript.TestScript, args []string) {
	v := document(ts, args[0])
	all := values(v, []string{"instances", "*", "market_events"})
	if len(all) == 0 {
		ts.Fatalf("%s is no summary", args[0])
	}
	for _, one := range all {
		n := func(name string) int64 {
			number, ok := one.(map[string]any)[name].(json.Number)
			if !ok {
				ts.Fatalf("%s: the market events have no %s", args[0], name)
			}
			i, err := number.Int64()
			ts.Check(err)
			return i
		}
		if n("received") != n("delivered")+n("conflated")+n("dropped") {
			ts.Fatalf("%s: the accounts do not add up: %v", args[0], one)
		}
		if n("received") == 0 {
			ts.Fatalf("%s: an instance received nothing: %v", args[0], one)
		}
	}
}

func doFlip(ts *testscript.TestScript, args []string) {
	path := ts.MkAbs(args[0])
	body, err := os.ReadFile(path)
	ts.Check(err)
	i := bytes.LastIndex(body, []byte(args[1]))
	if i < 0 {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	body[i] ^= 1
	ts.Check(os.WriteFile(path, body, 0o600))
}

func doCut(ts *testscript.TestScript, args []string) {
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()-int64(code(ts, args[1]))))
}

func doFill(ts *testscript.TestScript, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, _ = f.Write(make([]byte, code(ts, args[1]))) // as many as fit
	ts.Check(f.Close())
}

func doShell(ts *testscript.TestScript, args []string) {
	ts.Check(ts.Exec("sh", "-ec", strings.Join(args, " ")))
}

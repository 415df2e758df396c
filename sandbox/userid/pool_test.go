package userid

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// claimEnv makes the test binary another supervisor that claims one slot of the file and waits for its end.
const claimEnv = "MSUP_USERID_TEST_FILE"

func pool(file string) Pool { return Pool{File: file, First: 1_000_000, Each: 1000, Slots: 8} }

func TestMain(m *testing.M) {
	file := os.Getenv(claimEnv)
	if file == "" {
		os.Exit(m.Run())
	}
	c, err := pool(file).Claim()
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.WriteString(strconv.Itoa(c.First) + "\n"); err != nil {
		panic(err)
	}
	select {}
}

func release(t *testing.T, claims ...*Claim) {
	t.Helper()
	for _, c := range claims {
		if err := c.Release(); err != nil {
			t.Error(err)
		}
	}
}

// claimed claims every free slot, and returns them by their first id.
func claimed(t *testing.T, p Pool) map[int]*Claim {
	t.Helper()
	out := map[int]*Claim{}
	for {
		c, err := p.Claim()
		var full *sandbox.Error
		if errors.As(err, &full) {
			if full.Reason != sandbox.ReasonSetupFailed || full.Remedy == "" || !strings.Contains(err.Error(), p.File) {
				t.Errorf("a full pool: %v", err)
			}
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		slot := (c.First - p.First) / p.Each
		if (c.First-p.First)%p.Each != 0 || slot < 0 || slot >= p.Slots || out[c.First] != nil {
			t.Fatalf("claim of %d after %v", c.First, out)
		}
		out[c.First] = c
	}
}

// Proves: SB-L1
func TestClaimsAreUniqueUntilReleased(t *testing.T) {
	p := pool(filepath.Join(t.TempDir(), "run", "uids.lock"))
	all := claimed(t, p)
	if len(all) != p.Slots {
		t.Fatalf("%d of %d slots were claimed", len(all), p.Slots)
	}
	// Another supervisor, that is another open file, sees them as taken.
	f, err := os.OpenFile(p.File, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	free := func(slot int) bool {
		probe := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(slot), Len: 1}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &probe); err != nil {
			t.Fatal(err)
		}
		return probe.Type == unix.F_UNLCK
	}
	back := p.First + 3*p.Each
	for slot := range p.Slots {
		if free(slot) {
			t.Errorf("taken slot %d is free", slot)
		}
	}
	release(t, all[back])
	if !free(3) {
		t.Error("a released slot is taken")
	}
	again, err := p.Claim()
	if err != nil || again.First != back {
		t.Fatalf("the one free slot is %d: %+v, %v", back, again, err)
	}
	all[back] = again
	for _, c := range all {
		release(t, c)
	}
	st, err := os.Stat(p.File)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", st.Mode(), err)
	}
	// Runners pass through the folder with ids of their own.
	if st, err := os.Stat(filepath.Dir(p.File)); err != nil || st.Mode().Perm()&0o001 == 0 {
		t.Errorf("the folder: %v, %v", st.Mode(), err)
	}
}

// Proves: SB-L1
func TestADeadSupervisorHoldsNothing(t *testing.T) {
	p := pool(filepath.Join(t.TempDir(), "uids.lock"))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), claimEnv+"="+p.File)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := make([]byte, 32)
	n, err := out.Read(told)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := strconv.Atoi(strings.TrimSpace(string(told[:n])))
	if err != nil {
		t.Fatal(err)
	}
	ours := claimed(t, p)
	if len(ours) != p.Slots-1 || ours[theirs] != nil {
		t.Errorf("beside a supervisor with %d we got %v", theirs, ours)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) {
		t.Fatal(err)
	}
	c, err := p.Claim()
	if err != nil || c.First != theirs {
		t.Fatalf("claim %+v, %v; the dead one had %d", c, err, theirs)
	}
	release(t, c)
	for _, c := range ours {
		release(t, c)
	}
}

// Proves: SB-8
func TestAFileThatCannotBeMadeSaysSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "below", "uids.lock"), filepath.Dir(file)} {
		if c, err := pool(path).Claim(); err == nil || !strings.Contains(err.Error(), "user id file") {
			t.Errorf("%s: %+v, %v", path, c, err)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), "uids.lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/msup/msup/supervisor/descriptor"
)

// maxLockBytes bounds a lock file.
const maxLockBytes = 1 << 20

// One pinned requirement, hashes taken off: a name, optional extras, ==, a version, an optional marker.
var (
	reRequirement = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,\s-]*\])?\s*==\s*[A-Za-z0-9][A-Za-z0-9.!+_-]*\s*(;[A-Za-z0-9_.\s"'=<>!~(),-]*)?$`)
	reHashOption  = regexp.MustCompile(`\s--hash=sha256:[0-9a-f]{64}(\s|$)`)
	reAnyHash     = regexp.MustCompile(`\s--hash[=\s]\S*`)
)

// lockFile is a validated requirements file: every line pinned and hashed, no options, no URLs, no paths.
type lockFile struct {
	text   []byte // one requirement a line, comments gone: pip never sees what was not checked here
	digest string // sha256 of text, hex
	count  int
}

// parseLock reads a lock and refuses whatever could lead pip to anything but a hashed wheel.
func parseLock(file string, data []byte) (lockFile, error) {
	if len(data) > maxLockBytes {
		return lockFile{}, descriptor.Findings{{Code: descriptor.CodePackage, File: file, Problem: fmt.Sprintf("is larger than %d bytes", maxLockBytes), Remedy: "name the right file"}}
	}
	var fs descriptor.Findings
	count := 0
	var text strings.Builder
	for _, l := range logicalLines(string(data)) {
		problem, remedy := checkRequirement(l.text)
		if problem != "" && len(fs) < maxFindings {
			fs = append(fs, descriptor.Finding{Code: descriptor.CodePackage, File: file, Line: l.number, Key: "python.lock", Problem: problem, Remedy: remedy})
		}
		count++
		text.WriteString(strings.TrimSpace(l.text) + "\n")
	}
	if err := fs.Err(); err != nil {
		return lockFile{}, err
	}
	sum := sha256.Sum256([]byte(text.String()))
	return lockFile{text: []byte(text.String()), digest: hex.EncodeToString(sum[:]), count: count}, nil
}

func checkRequirement(text string) (problem, remedy string) {
	if strings.ContainsFunc(text, func(r rune) bool { return (r < 0x20 && r != '\t') || r > 0x7e }) {
		return "holds a character that is not printable ASCII", "write it anew, or generate it with pip-compile --generate-hashes"
	}
	hashes := len(reHashOption.FindAllString(strings.ReplaceAll(text, " --hash", "  --hash"), -1))
	rest := strings.TrimSpace(reAnyHash.ReplaceAllString(text, ""))
	switch {
	case strings.HasPrefix(rest, "-"):
		return fmt.Sprintf("%.80q is an option", rest), "only pinned requirements with hashes are allowed; remove it"
	case !reRequirement.MatchString(rest):
		return fmt.Sprintf("%.80q is not a pinned requirement", rest), "write name==1.2.3 --hash=sha256:…, one per requirement; no URLs and no paths"
	case hashes == 0:
		return fmt.Sprintf("%.80q has no hash", rest), "add --hash=sha256:…, for example with pip-compile --generate-hashes"
	case hashes != len(reAnyHash.FindAllString(text, -1)):
		return fmt.Sprintf("%.80q has a hash that is not sha256 with 64 hex characters", rest), "use --hash=sha256:…"
	}
	return "", ""
}

type logicalLine struct {
	number int
	text   string
}

// logicalLines joins lines that end in a backslash, and drops comments and blank lines, as pip does.
func logicalLines(text string) []logicalLine {
	var out []logicalLine
	var open *logicalLine
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "#") {
			continue
		}
		if cut := strings.Index(line, " #"); cut >= 0 {
			line = line[:cut]
		}
		body, continues := strings.CutSuffix(strings.TrimRight(line, " \t"), "\\")
		if open == nil {
			open = &logicalLine{number: i + 1}
		}
		open.text += " " + strings.TrimSpace(body)
		if continues {
			continue
		}
		if strings.TrimSpace(open.text) != "" {
			out = append(out, logicalLine{open.number, " " + strings.TrimSpace(open.text)})
		}
		open = nil
	}
	if open != nil && strings.TrimSpace(open.text) != "" {
		out = append(out, logicalLine{open.number, " " + strings.TrimSpace(open.text)})
	}
	return out
}

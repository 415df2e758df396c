package descriptor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// Code classifies a finding. Codes are stable: scripts and tests compare them.
type Code = ipc.ReasonCode

// The codes of findings in files that people write.
const (
	CodeFile      = ipc.ReasonDescriptorFile      // missing, unreadable, empty, too large, not UTF-8
	CodeSyntax    = ipc.ReasonDescriptorSyntax    // not TOML
	CodeUnknown   = ipc.ReasonDescriptorUnknown   // a key that does not exist
	CodeMissing   = ipc.ReasonDescriptorMissing   // a required key is absent
	CodeType      = ipc.ReasonDescriptorType      // a value of another type
	CodeRange     = ipc.ReasonDescriptorRange     // outside the range, or not one of the choices
	CodeFormat    = ipc.ReasonDescriptorFormat    // right type, wrong form: SemVer, id, glob, decimal, unit
	CodeDuplicate = ipc.ReasonDescriptorDuplicate // said twice
	CodeConflict  = ipc.ReasonDescriptorConflict  // two things that cannot both be true
	CodePolicy    = ipc.ReasonPolicyExceeded      // more than the host policy allows
	CodeConfig    = ipc.ReasonConfigInvalid       // a configuration value breaks its schema (HR-1)
	CodeSecret    = ipc.ReasonSecretValue         // a secret written as a value instead of a reference
	CodePackage   = ipc.ReasonPackageInvalid      // the folder of a package holds what a package may not
)

// Finding is one thing that is wrong, with its place and what to do about it (AD-1, AD-5).
type Finding struct {
	Code    Code   `json:"code"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`   // from 1; 0 = the whole file
	Column  int    `json:"column,omitempty"` // from 1, in bytes; 0 = the whole line
	Key     string `json:"key,omitempty"`    // dotted, for example resources.memory_mb or strategy[1].bot
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

// Error returns place, cause and remedy in one line.
func (f Finding) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
			if f.Column > 0 {
				fmt.Fprintf(&b, ":%d", f.Column)
			}
		}
		b.WriteString(": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Problem)
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	fmt.Fprintf(&b, " [%s]", f.Code)
	return b.String()
}

// Findings is everything that is wrong, in the order of the file. It is an error when it is not empty; see Err.
type Findings []Finding

// Error returns one line per finding.
func (fs Findings) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns fs as an error, or nil when there is nothing to report.
func (fs Findings) Err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

// AsFindings takes the findings out of an error, however deeply wrapped.
func AsFindings(err error) (Findings, bool) {
	var fs Findings
	if errors.As(err, &fs) {
		return fs, true
	}
	return nil, false
}

// sorted returns the findings by file, line, column, key, so that a report reads like the file.
func (fs Findings) sorted() Findings {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
	})
	return fs
}

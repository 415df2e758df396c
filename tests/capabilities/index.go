package capabilities

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Path is where the index is committed, relative to the repository.
const Path = "docs/capabilities.md"

// Index joins the list of requirements with what the tree says.
type Index struct {
	Requirements []Requirement
	Scan         *Scan
}

// Read makes the index of the repository at root.
func Read(root string) (*Index, error) {
	requirements, err := ReadRequirements(root)
	if err != nil {
		return nil, err
	}
	scan, err := ReadTree(root)
	if err != nil {
		return nil, err
	}
	return &Index{requirements, scan}, nil
}

// Problems are contradictions between the list and the tree, each with its remedy.
func (index *Index) Problems() []string {
	problems := []string{}
	for _, line := range index.Scan.Malformed {
		problems = append(problems, line+`: after "Proves:" come ids with commas between them, nothing else`)
	}
	known := map[ID]bool{}
	for _, one := range index.Requirements {
		known[one.ID] = true
		proofs := len(index.Scan.Proofs[one.ID])
		switch {
		case one.Status == Done && proofs == 0:
			problems = append(problems, fmt.Sprintf("%s is done, and no test proves it: name it above a test, or change its status", one.ID))
		case one.Status == Partly && proofs == 0:
			problems = append(problems, fmt.Sprintf("%s is partly done, and no test proves anything of it: name it above a test, or make it not yet", one.ID))
		case one.Status == Partly && one.Note == "":
			problems = append(problems, fmt.Sprintf("%s is partly done: its note must say what is missing", one.ID))
		case one.Status == NotYet && proofs > 0:
			problems = append(problems, fmt.Sprintf("%s is not yet done, and %d tests prove something of it: make it partly, with a note, or done", one.ID, proofs))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(index.Scan.Proofs)) {
		if !known[id] {
			problems = append(problems, fmt.Sprintf("%s is no requirement, and a test claims to prove it: %s", id, index.Scan.Proofs[id][0].File))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(index.Scan.Places)) {
		if !known[id] {
			problems = append(problems, fmt.Sprintf("%s is no requirement, and code names it: in %s", id, strings.Join(index.Scan.Places[id], ", ")))
		}
	}
	return problems
}

// Markdown is the text of docs/capabilities.md. It holds no line numbers and no counts of lines: it changes when
// a requirement's place or proof does, and not otherwise.
func (index *Index) Markdown() string {
	var text strings.Builder
	counts := map[Status]int{}
	for _, one := range index.Requirements {
		counts[one.Status]++
	}
	fmt.Fprintf(&text, `<!-- Made by "make docs" from docs/requirements.toml, the tests and the code. Do not edit. -->

# Capabilities

Every requirement, where it lives, and which tests fail without it. Of %d: %d done, %d partly, %d not yet.
A test names what it proves in a comment, "Proves: ID, ID"; the status is kept in [requirements.toml](requirements.toml),
and a test refuses one that the tests do not bear out.
`, len(index.Requirements), counts[Done], counts[Partly], counts[NotYet])

	section := ""
	for _, one := range index.Requirements {
		if one.Section != section {
			section = one.Section
			fmt.Fprintf(&text, "\n## %s\n\n| ID | What | Status | Lives in | Tests |\n| --- | --- | --- | --- | --- |\n", section)
		}
		status := string(one.Status)
		if one.Note != "" {
			status += ": " + one.Note
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %s |\n", one.ID, cell(one.Title), cell(status), places(index.Scan.Places[one.ID]), count(one.ID, index.Scan.Proofs[one.ID]))
	}

	text.WriteString("\n## The tests\n")
	for _, one := range index.Requirements {
		proofs := index.Scan.Proofs[one.ID]
		if len(proofs) == 0 {
			continue
		}
		fmt.Fprintf(&text, "\n### Tests of %s\n\n", one.ID)
		file := ""
		for _, proof := range proofs {
			switch {
			case proof.Test == "":
				fmt.Fprintf(&text, "- [%s](../%s)\n", proof.File, proof.File)
			case proof.File != file:
				fmt.Fprintf(&text, "- [%s](../%s): `%s`\n", proof.File, proof.File, proof.Test)
			default:
				fmt.Fprintf(&text, "  `%s`\n", proof.Test)
			}
			file = proof.File
		}
	}
	return text.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func places(folders []string) string {
	links := make([]string, 0, len(folders))
	for _, folder := range folders {
		links = append(links, fmt.Sprintf("[%s](../%s)", folder, folder))
	}
	return strings.Join(links, ", ")
}

func count(id ID, proofs []Proof) string {
	if len(proofs) == 0 {
		return "none"
	}
	return fmt.Sprintf("[%d](#tests-of-%s)", len(proofs), strings.ToLower(string(id)))
}

package capabilities

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/pelletier/go-toml/v2"
)

// Status says how much of a requirement holds. It is kept by hand in docs/requirements.toml.
type Status string

// The statuses.
const (
	Done   Status = "done"
	Partly Status = "partly"
	NotYet Status = "not yet"
)

// ID names a requirement, for example GT-1 or SB-L2.
type ID string

// Requirement is one entry of docs/requirements.toml.
type Requirement struct {
	ID      ID     `toml:"id"`
	Section string `toml:"section"`
	Title   string `toml:"title"`
	Status  Status `toml:"status"`
	// Note says what is missing, where the status is Partly.
	Note string `toml:"note"`
}

const (
	families = `NN|RS|DM|EV|LN|BP|SB|ST|LS|GT|CB|HR|DQ|AD|EX|OB|BC|DOD`
	idForm   = `(?:` + families + `)-(?:L?[0-9]+|[A-Z])`
)

var wholeID = regexp.MustCompile(`^` + idForm + `$`)

// ReadRequirements reads docs/requirements.toml under root. Unknown keys, ids of another form, repeated ids and unknown statuses
// are errors.
func ReadRequirements(root string) ([]Requirement, error) {
	path := filepath.Join(root, "docs", "requirements.toml")
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the list of requirements: %w", err)
	}
	var list struct {
		Requirement []Requirement `toml:"requirement"`
	}
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(&list); err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	seen := map[ID]bool{}
	for _, one := range list.Requirement {
		switch {
		case !wholeID.MatchString(string(one.ID)):
			return nil, fmt.Errorf("%s: %q is not the form of an id (GT-1, SB-L2, BC-A)", path, one.ID)
		case seen[one.ID]:
			return nil, fmt.Errorf("%s: %s is listed twice: remove one", path, one.ID)
		case one.Title == "" || one.Section == "":
			return nil, fmt.Errorf("%s: %s needs a title and a section", path, one.ID)
		case one.Status != Done && one.Status != Partly && one.Status != NotYet:
			return nil, fmt.Errorf("%s: %s has the status %q: use done, partly or not yet", path, one.ID, one.Status)
		}
		seen[one.ID] = true
	}
	if len(list.Requirement) == 0 {
		return nil, fmt.Errorf("%s lists no requirement", path)
	}
	return list.Requirement, nil
}

package capsule

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
)

const inputsHeader = 16

// EncodeInputs lays recorded inputs out for the capsule.
func EncodeInputs(first, last ipc.InputNo, inputs []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, inputsHeader+len(inputs)), uint64(first))
	b = binary.BigEndian.AppendUint64(b, uint64(last))
	return append(b, inputs...)
}

// load decodes what a replay needs, and checks that the parts belong together.
func (c *Capsule) load() (err error) {
	m := &c.Manifest
	if err := m.Address().Validate(); err != nil {
		return refused(fileManifest, "instance: %v", err)
	}
	if c.core, err = c.bytes(fileCore); err != nil {
		return err
	}
	if c.state, err = c.bytes(fileState); err != nil {
		return err
	}
	if (m.Checkpoint == nil) != (c.core == nil) {
		return refused(fileManifest, "it tells of a checkpoint that is not there, or not of the one that is")
	}
	if err := c.loadCore(); err != nil {
		return err
	}
	if err := c.loadInputs(); err != nil {
		return err
	}
	return c.loadIntents()
}

func (c *Capsule) lineage() (l ipc.Lineage, err error) {
	b, err := hex.DecodeString(c.Manifest.Lineage)
	if err != nil || len(b) != len(l) {
		return l, refused(fileManifest, "lineage %.40q", c.Manifest.Lineage)
	}
	copy(l[:], b)
	return l, nil
}

func (c *Capsule) loadCore() error {
	lineage, err := c.lineage()
	if err != nil || c.core == nil {
		return err
	}
	p := c.Manifest.Checkpoint
	if c.Core, err = core.Restore(c.core, c.Manifest.Address(), lineage); err != nil {
		return refused(fileCore, "%v", err)
	}
	if c.Core.InputNo != p.InputNo || c.Core.StepNo != p.Step || p.InputNo+1 != c.Manifest.FirstInput || p.Step+1 != c.Manifest.FromStep {
		return refused(fileCore, "it stands at input %d and step %d, the manifest says %d and %d", c.Core.InputNo, c.Core.StepNo, p.InputNo, p.Step)
	}
	return nil
}

// loadInputs walks the log once: every input must be readable, its numbers those of the manifest.
func (c *Capsule) loadInputs() error {
	m := &c.Manifest
	b, err := c.bytes(fileInputs)
	if err != nil {
		return err
	}
	if len(b) < inputsHeader || ipc.InputNo(binary.BigEndian.Uint64(b)) != m.FirstInput || ipc.InputNo(binary.BigEndian.Uint64(b[8:])) != m.LastInput ||
		m.FirstInput == 0 || m.FirstInput > m.LastInput {
		return refused(fileInputs, "it does not hold inputs %d to %d", m.FirstInput, m.LastInput)
	}
	c.inputs = b[inputsHeader:]
	no, step := m.FirstInput, m.FromStep-1
	for rest := c.inputs; len(rest) > 0; no++ {
		at := len(b) - len(rest)
		in, next, err := core.ReadInput(rest)
		if err != nil {
			return refused(fmt.Sprintf("%s at byte %d", fileInputs, at), "input %d: %v", no, err)
		}
		switch in := in.(type) {
		case *core.Start:
			c.Start = in
		case *core.Delivery:
			step = in.Step
		}
		rest = next
	}
	hash, _ := c.answeredBy()
	switch {
	case no != m.LastInput+1 || step != m.ToStep:
		return refused(fileInputs, "it ends at input %d and step %d, the manifest says %d and %d", no-1, step, m.LastInput, m.ToStep)
	case m.Checkpoint == nil && m.FirstInput != 1:
		return refused(fileInputs, "it begins at input %d, and there is no checkpoint", m.FirstInput)
	case hash.String() != m.Package.Hash:
		return refused(fileInputs, "the steps were answered by package %s, the capsule is of %.64s", hash, m.Package.Hash)
	}
	return nil
}

// answeredBy is the package and the configuration in force at the end.
func (c *Capsule) answeredBy() (pkg, config ipc.Digest) {
	if c.Start != nil {
		return c.Start.PackageHash, c.Start.ConfigHash
	}
	if c.Core != nil {
		return c.Core.PackageHash, c.Core.ConfigHash
	}
	return pkg, config
}

func (c *Capsule) loadIntents() error {
	b, err := c.bytes(fileIntents)
	if err != nil {
		return err
	}
	c.Intents = map[ipc.Key]Intent{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	for n := 1; ; n++ {
		var i Intent
		err := d.Decode(&i)
		if errors.Is(err, io.EOF) {
			return nil
		}
		_, twice := c.Intents[i.Key]
		if err != nil || !i.Key.Valid() || twice || i.Step < c.Manifest.FromStep || i.Step > c.Manifest.ToStep {
			return refused(fmt.Sprintf("%s line %d", fileIntents, n), "an intent of key %.40q at step %d: %v", i.Key, i.Step, err)
		}
		if _, err := i.recorded(); err != nil {
			return refused(fmt.Sprintf("%s line %d", fileIntents, n), "%v", err)
		}
		c.Intents[i.Key] = i
	}
}

func (i *Intent) recorded() (out supervisor.RecordedIntent, err error) {
	out = supervisor.RecordedIntent{Step: i.Step, Ordinal: i.Ordinal, Verdict: i.Verdict}
	if out.RequestDigest, err = digest(i.RequestDigest); err != nil {
		return out, err
	}
	out.Digest, err = digest(i.Digest)
	return out, err
}

func digest(text string) (d ipc.Digest, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("%.80q is no SHA-256 in hex", text)
	}
	return ipc.Digest(b), nil
}

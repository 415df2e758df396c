package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox/wasm"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/capsule"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/pack"
)

// capsuleFlags say what to put into a capsule.
type capsuleFlags struct {
	state, store, out string
	from, to          uint64
	withLayer         bool
}

func (a *app) capsuleCommand() *cobra.Command {
	var f capsuleFlags
	c := &cobra.Command{
		Use:   "capsule BOT/STRATEGY/INSTANCE --state DIR --from STEP [--to STEP] -o FILE",
		Short: "Pack everything that steps of an instance rested on into one file, to replay elsewhere",
		Long: `Writes descriptor, package, configuration, the checkpoint at or before the first step, the recorded inputs, the intents with
their verdicts and statuses, and what machine and versions it was made on. msup replay FILE runs it again on any machine
with the same interpreter, names what is different there, and says identical or the first differing field.

The same steps give the same bytes; the SHA-256 that is printed tells a capsule from an edited one. A capsule holds no
secret, no environment variable and no path of this host. Installed dependencies are named by their hash; --with-layer
brings them along. A supervisor may be running on the state directory.`,
		Example: "  msup capsule default/ema_cross/main --state ./state --from 1200 --to 1250 -o decision.capsule\n  msup replay decision.capsule",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case f.state == "":
				return fmt.Errorf("%w: name the state directory with --state", errUsage)
			case f.out == "":
				return fmt.Errorf("%w: name the file with -o", errUsage)
			case f.to == 0:
				f.to = f.from
			}
			if f.from == 0 || f.to < f.from {
				return fmt.Errorf("%w: --from %d --to %d: steps count from 1, and the first comes first", errUsage, f.from, f.to)
			}
			return a.makeCapsule(&f, args[0])
		},
	}
	c.Flags().StringVar(&f.state, "state", "", "state directory of the run")
	c.Flags().StringVar(&f.store, "store", defaultStore(), "folder that packages are built into")
	c.Flags().Uint64Var(&f.from, "from", 0, "first step")
	c.Flags().Uint64Var(&f.to, "to", 0, "last step (default: the first)")
	c.Flags().StringVarP(&f.out, "output", "o", "", "file to write; it must not exist")
	c.Flags().BoolVar(&f.withLayer, "with-layer", false, "bring the installed dependencies along")
	return c
}

func (a *app) makeCapsule(f *capsuleFlags, name string) (err error) {
	v, err := statedb.OpenView(f.state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	address, err := one(v, name)
	if err != nil {
		return err
	}
	r, err := v.OpenInstance(address)
	if err != nil {
		return err
	}
	parts, err := collect(r, ipc.Step(f.from), ipc.Step(f.to))
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if err := addPackage(parts, f); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	var sum ipc.Digest
	if err := writeFresh(f.out, func(w io.Writer) (err error) { sum, err = capsule.Write(w, parts); return err }); err != nil {
		return err
	}
	m := &parts.Manifest
	if a.json {
		return a.printJSON(map[string]any{"file": f.out, "sha256": sum.String(), "from_step": m.FromStep, "to_step": m.ToStep,
			"intents": len(parts.Intents), "package_hash": m.Package.Hash, "layer_included": m.Package.HasLayer})
	}
	fmt.Fprintf(a.stdout, "%s: %s, steps %d to %d (asked for %d to %d), %d intents\nsha256 %s\n", f.out, address, m.FromStep, m.ToStep, m.AskedFrom, m.AskedTo,
		len(parts.Intents), sum)
	if m.Package.LayerHash != "" && !m.Package.HasLayer {
		fmt.Fprintf(a.stdout, "its dependencies (layer %.16s…) are not in it: build the package where it is replayed, or use --with-layer\n", m.Package.LayerHash)
	}
	return nil
}

// one finds an instance by its name.
func one(v *statedb.View, name string) (ipc.Address, error) {
	all := v.Addresses()
	for _, address := range all {
		if address.String() == name {
			return address, nil
		}
	}
	return ipc.Address{}, fmt.Errorf("%w: the state directory has no instance %q; it has %v", errUsage, name, all)
}

// collector walks the log to what a capsule needs of it.
type collector struct {
	parts  *capsule.Parts
	to     ipc.Step
	inputs []byte
	no     ipc.InputNo // last input taken
	step   ipc.Step
	start  *core.Start // last one up to the end
	first  *core.Start // in force at the first step; nil when it lies before the checkpoint
	done   bool
}

var errDone = errors.New("done")

func (c *collector) input(in core.Input, raw []byte) error {
	c.inputs = append(c.inputs, raw...)
	c.no++
	switch in := in.(type) {
	case *core.Start:
		c.start = in
		if c.first == nil {
			c.first = in
		}
	case *core.Delivery:
		c.step = in.Step
	case *core.Answer:
		if in.Step == c.to {
			c.done = true
			return errDone
		}
	}
	return nil
}

// collect takes the steps out of a ledger: from the newest checkpoint at or before the first step, else from the log's first input.
func collect(r *statedb.Reading, from, to ipc.Step) (*capsule.Parts, error) {
	p := &capsule.Parts{}
	c := &collector{parts: p, to: to, no: r.FirstInput() - 1}
	valid, _ := r.Checkpoints()
	var begin *core.State
	for i := range valid {
		if k := &valid[i]; k.Step < from {
			state, err := core.Restore(k.Core, r.Info().Address, r.Info().Lineage)
			if err != nil {
				return nil, err
			}
			begin, c.no, c.step = state, k.InputNo, k.Step
			p.CheckpointCore, p.CheckpointState = k.Core, append([]byte{}, k.State...)
			p.Manifest.Checkpoint = &capsule.CheckpointPlace{Step: k.Step, InputNo: k.InputNo, RowNo: k.Head.RowNo, Head: k.Head.Hash.String(),
				CoreTS: k.SavedCoreTS, StateVersion: k.StateSchemaVersion, PackageHash: k.PackageHash.String(), ConfigHash: k.ConfigHash.String()}
			break
		}
	}
	if begin == nil && r.FirstInput() != 1 {
		return nil, exit(exitFailed, "step %d was pruned: the ledger begins behind it, and no checkpoint lies before it; a backup or an export of then has it", from)
	}
	m := &p.Manifest
	m.FirstInput, m.FromStep = c.no+1, c.step+1
	if m.FirstInput <= r.LastInput() {
		if err := walkInputs(r, m.FirstInput, c.input); err != nil && !errors.Is(err, errDone) {
			return nil, err
		}
	}
	if !c.done {
		return nil, exit(exitFailed, "step %d is not in the ledger, or was never answered; the last one is %d", to, c.step)
	}
	info := r.Info()
	m.Bot, m.Strategy, m.Instance, m.Lineage = info.Address.Bot, info.Address.Strategy, info.Address.Instance, info.Lineage.String()
	m.AskedFrom, m.AskedTo, m.ToStep, m.LastInput = from, to, to, c.no
	p.Inputs = capsule.EncodeInputs(m.FirstInput, m.LastInput, c.inputs)
	if err := c.describe(begin); err != nil {
		return nil, err
	}
	return p, addIntents(p, r)
}

// walkInputs calls fn with every recorded input from the given one, and its bytes.
func walkInputs(r *statedb.Reading, from ipc.InputNo, fn func(in core.Input, raw []byte) error) error {
	return r.ReadInputs(from, func(first, _ ipc.InputNo, payload []byte) error {
		for no := first; len(payload) > 0; no++ {
			in, rest, err := core.ReadInput(payload)
			if err != nil {
				return fmt.Errorf("input %d: %w", no, err)
			}
			raw := payload[:len(payload)-len(rest)]
			if payload = rest; no < from {
				continue
			}
			if err := fn(in, raw); err != nil {
				return err
			}
		}
		return nil
	})
}

// describe says which package and configuration were in force.
func (c *collector) describe(begin *core.State) error {
	m := &c.parts.Manifest
	var init []byte
	switch {
	case begin != nil:
		m.Package.Hash, m.ConfigHash, m.RunID, init = begin.PackageHash.String(), begin.ConfigHash.String(), begin.RunID, begin.Init
	case c.first != nil:
		init = c.first.Init
	default:
		return exit(exitFailed, "the log holds no start before these steps")
	}
	if s := c.start; s != nil {
		m.Package.Hash, m.ConfigHash, m.RunID = s.PackageHash.String(), s.ConfigHash.String(), s.RunID
		m.Package.Version, m.Versions.Recorded = s.StrategyVersion, s.MSUPVersion
	}
	message, err := ipc.DecodeMessage(init, ipc.FromAnyone)
	if err != nil {
		return fmt.Errorf("the recorded init: %w", err)
	}
	i, ok := message.(*ipc.Init)
	if !ok {
		return fmt.Errorf("the recorded init is a %s", message.Type())
	}
	if m.Package.Version == "" {
		m.Package.Version = i.StrategyVersion
	}
	config, err := json.MarshalIndent(map[string]any{"config": i.Config, "instruments": i.Instruments, "risk_context": i.RiskContext, "run_seed": i.RunSeed,
		"max_answer_bytes": i.MaxAnswerBytes, "max_state_bytes": i.MaxStateBytes, "max_intents": i.MaxIntents, "lane": i.Lane}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	c.parts.Config = append(config, '\n')
	return nil
}

func addIntents(p *capsule.Parts, r *statedb.Reading) error {
	m := &p.Manifest
	return r.Intents(statedb.IntentFilter{FromStep: m.FromStep, ToStep: m.ToStep}, func(i statedb.Intent) error {
		out := capsule.Intent{Key: i.Key, Step: i.Step, Ordinal: i.Ordinal, Verdict: i.Verdict, VerdictName: gate.Outcome(i.Verdict).String(),
			RequestDigest: i.RequestDigest.String(), Digest: i.Digest.String(), Epoch: i.Epoch, ValidUntilCore: i.ValidUntilCore,
			ValidUntilWall: i.ValidUntilWall, Bytes: i.Bytes, Statuses: []capsule.StatusAt{}}
		if i.Status != ipc.StatusNotSeen {
			history, err := r.StatusHistory(i.Key)
			if err != nil {
				return err
			}
			for _, s := range history {
				out.Statuses = append(out.Statuses, capsule.StatusAt{Status: s.Status.String(), CoreTS: s.CoreTS, Reason: s.Reason, Epoch: s.Epoch})
			}
		}
		p.Intents = append(p.Intents, out)
		return nil
	})
}

// addPackage takes the package out of the store, verified, and looks at this machine.
func addPackage(p *capsule.Parts, f *capsuleFlags) error {
	m := &p.Manifest
	opened, err := pack.Open(m.Package.Hash, pack.Options{Store: f.store})
	if err != nil {
		return fmt.Errorf("the package that answered: %w", err)
	}
	code, err := opened.PortableCode()
	if err != nil {
		return err
	}
	p.PackageManifest, p.Code = code.Manifest, code.Write
	if p.Descriptor, err = os.ReadFile(opened.CodeDir + "/" + descriptor.FileName); err != nil {
		return fmt.Errorf("reading the descriptor: %w", err)
	}
	m.Package.CodeHash, m.Package.LayerHash, m.Package.Runtime = opened.CodeHash.String(), opened.LayerHash, string(opened.Descriptor.Runtime)
	if layer, has, err := opened.PortableLayer(); err != nil {
		return err
	} else if has && f.withLayer {
		p.LayerManifest, p.Layer, m.Package.HasLayer = layer.Manifest, layer.Write, true
	}
	tools, err := builtWith(code.Manifest)
	if err != nil {
		return err
	}
	v := contractVersions()
	v.Recorded, v.Python, v.SDK = m.Versions.Recorded, tools.Python, tools.SDK
	if opened.Descriptor.Runtime != descriptor.RuntimeRustWasm {
		v.Wasm = ""
	}
	m.Versions = v
	m.Environment, err = capsule.Here()
	return err
}

// builtTools is what a package's manifest says of the tools that looked at it.
type builtTools struct {
	Python string `json:"python"`
	SDK    string `json:"sdk"`
}

func builtWith(manifest []byte) (b builtTools, err error) {
	if err := json.Unmarshal(manifest, &b); err != nil {
		return b, fmt.Errorf("reading the package's manifest: %w", err)
	}
	return b, nil
}

func contractVersions() capsule.Versions {
	return capsule.Versions{MSUP: version, ABI: ipc.ABIVersion, EventContract: ipc.EventContractVersion, IntentContract: ipc.IntentContractVersion,
		Wasm: wasm.Version()}
}

// capsuleReplay is what msup replay says of a capsule.
type capsuleReplay struct {
	File         string                   `json:"file"`
	SHA256       string                   `json:"sha256"`
	Mismatches   []capsule.Mismatch       `json:"environment_mismatches"`
	Verification *supervisor.Verification `json:"verification,omitempty"`
}

// replayCapsule runs a capsule again, with nothing but what is in it and the runner of this machine. It says what is different here before it
// says that an answer is.
func (a *app) replayCapsule(ctx context.Context, f *deploymentFlags, path, want string) (err error) {
	c, closeFile, err := openCapsule(path, want)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	h, err := a.openHost(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	here := contractVersions()
	if c.Manifest.Package.Runtime == string(descriptor.RuntimePython) {
		if _, err := h.needPython(ctx); err != nil {
			return err
		}
		here.Python, here.SDK = h.options.Python.Version, h.options.Python.SDK
	}
	now, err := capsule.Here()
	if err != nil {
		return err
	}
	out := capsuleReplay{File: path, SHA256: c.SHA256.String(), Mismatches: c.Manifest.Compare(here, now)}
	if out.Mismatches == nil {
		out.Mismatches = []capsule.Mismatch{}
	}
	for _, m := range out.Mismatches {
		if !a.json {
			fmt.Fprintf(a.stdout, "environment: %s\n", m)
		}
		if m.Fatal {
			return exit(exitRefused, "%s: %s; replay it with the msup that recorded it (%s)", path, m, c.Manifest.Versions.Recorded)
		}
	}
	v, err := a.verifyCapsule(ctx, h, c)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	out.Verification = &v
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		printVerification(a, v)
	}
	switch {
	case v.Identical:
		return nil
	case len(out.Mismatches) > 0:
		return exit(exitDiverged, "%s replays differently, and the environment is another one (%s): look there first", path, out.Mismatches[0])
	}
	return exit(exitDiverged, "%s replays differently, in the same environment", path)
}

func openCapsule(path, want string) (*capsule.Capsule, func() error, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, exit(exitFailed, "opening the capsule: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	var c *capsule.Capsule
	if err == nil {
		c, err = capsule.Open(file, info.Size())
	}
	if err == nil && want != "" && want != c.SHA256.String() {
		err = fmt.Errorf("its SHA-256 is %s, not the %s that was asked for: it is another capsule, or was edited", c.SHA256, want)
	}
	if err != nil {
		return nil, nil, &exitError{exitRefused, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())}
	}
	return c, file.Close, nil
}

// verifyCapsule takes the package out of this machine's store, or out of the capsule into a store that lives as long as the replay.
func (a *app) verifyCapsule(ctx context.Context, h *host, c *capsule.Capsule) (v supervisor.Verification, err error) {
	hash := c.Manifest.Package.Hash
	p, err := pack.Open(hash, h.options)
	if err != nil {
		// Dependencies that did not come along can only be those of this machine's store.
		dir := h.options.Store
		if m := c.Manifest.Package; m.LayerHash == "" || m.HasLayer {
			if dir, err = os.MkdirTemp("", "msup-capsule-"); err != nil {
				return v, fmt.Errorf("making a folder for the package: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		}
		if p, err = importPackage(h, c, dir); err != nil {
			return v, &exitError{exitRefused, err}
		}
	}
	start := c.Start
	if start == nil { // it lies before the checkpoint, which knows the same
		start = &core.Start{PackageHash: c.Core.PackageHash, ConfigHash: c.Core.ConfigHash, RunID: c.Core.RunID, StrategyVersion: c.Manifest.Package.Version}
	}
	log := c.Log()
	return h.verifyWith(ctx, c.Manifest.Address(), start, p, log, log)
}

// importPackage puts the capsule's package into a store.
func importPackage(h *host, c *capsule.Capsule, dir string) (*pack.Package, error) {
	manifest, code, layerManifest, layer, err := c.Package()
	if err != nil {
		return nil, err
	}
	o := h.options
	o.Store = dir
	return pack.Import(pack.Arrived{Hash: c.Manifest.Package.Hash, Manifest: manifest, Code: code, LayerManifest: layerManifest, Layer: layer}, o)
}

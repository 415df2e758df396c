package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
)

// viewed lets an instance that is only looked at serve the supervisor's port; whatever would write fails.
type viewed struct{ r *statedb.Reading }

var _ supervisor.Ledger = viewed{}

var errViewed = errors.New("the state directory is only looked at")

func (v viewed) Lineage() ipc.Lineage                              { return v.r.Info().Lineage }
func (v viewed) LastInput() ipc.InputNo                            { return v.r.LastInput() }
func (v viewed) NextEpoch(ipc.Nonce, ipc.Epoch) (ipc.Epoch, error) { return 0, errViewed }
func (v viewed) Reset() (ipc.InputNo, error)                       { return 0, errViewed }
func (v viewed) SaveCheckpoint(supervisor.Checkpoint) error        { return errViewed }
func (v viewed) Prune() (int, error)                               { return 0, errViewed }
func (v viewed) Flush() (supervisor.Head, error)                   { return supervisor.Head(v.r.Info().Head), nil }
func (v viewed) Persist(b *supervisor.Batch) {
	if b.Done != nil {
		b.Done(supervisor.Head{}, errViewed)
	}
}

func (v viewed) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	err := v.r.ReadInputs(from, fn)
	if errors.Is(err, statedb.ErrPruned) {
		err = fmt.Errorf("%w: %w", supervisor.ErrPruned, err)
	}
	return err
}

func (v viewed) Checkpoints() ([]supervisor.Checkpoint, []error) {
	valid, problems := v.r.Checkpoints()
	out := make([]supervisor.Checkpoint, 0, len(valid))
	for _, c := range valid {
		out = append(out, checkpointOf(c))
	}
	return out, problems
}

func checkpointOf(c statedb.Checkpoint) supervisor.Checkpoint {
	return supervisor.Checkpoint{State: c.State, StateVersion: c.StateSchemaVersion, Cursors: c.Cursors, InputNo: c.InputNo, Step: c.Step, Core: c.Core,
		PackageHash: c.PackageHash, ConfigHash: c.ConfigHash, Head: supervisor.Head(c.Head), CoreTS: c.SavedCoreTS}
}

// look recovers the core of every chosen instance of a state directory, beside whoever runs on it.
func (a *app) look(state string, only []string, f func(*supervisor.Inspection) error) (err error) {
	if state == "" {
		return fmt.Errorf("%w: name the state directory with --state", errUsage)
	}
	v, err := statedb.OpenView(state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	wanted := v.Addresses()
	if len(only) > 0 {
		wanted = nil
		for _, name := range only {
			address, err := one(v, name)
			if err != nil {
				return err
			}
			wanted = append(wanted, address)
		}
	}
	for _, address := range wanted {
		r, err := v.OpenInstance(address)
		if err != nil {
			return err
		}
		p := supervisor.NewInstance(supervisor.InstanceConfig{Address: address, Ledger: viewed{r}, Clock: &supervisor.FeedClock{},
			Observer: supervisor.NewStats(), Logger: a.logger(), QueueEvents: 1})
		i, err := p.Inspect()
		if err != nil {
			return err
		}
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

// heldBy are the positions of one instance.
type heldBy struct {
	Address   string            `json:"instance"`
	AsOf      ipc.Nanos         `json:"processed_ts"`
	Step      ipc.Step          `json:"step"`
	Unknown   ipc.ReasonCode    `json:"positions_unknown,omitempty"`
	Positions []ipc.PositionRow `json:"positions"`
	Open      int               `json:"open_intents"`
}

// total is a bot's position in one instrument over all its instances.
type total struct {
	Bot        ipc.BotID        `json:"bot"`
	Instrument ipc.InstrumentID `json:"instrument"`
	Quantity   ipc.Decimal      `json:"quantity"`
	Instances  int              `json:"instances"`
	Uncertain  bool             `json:"uncertain"` // an instance of the bot does not know its own
}

func (a *app) positionsCommand() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use: "positions --state DIR [BOT/STRATEGY/INSTANCE…]", Short: "Positions of instances, and their sum per bot, from the last durable state",
		Long: `Recovers the core of each instance from its ledger and shows the positions that it believes in: what I has reported and
the ledger holds. A supervisor may be running on the directory; then this is the state of a moment ago. Where an instance does
not know its position, the sums of its bot say so. msup reconcile compares with what I says.`,
		Example: "  msup positions --state ./state",
		RunE: func(_ *cobra.Command, args []string) error {
			instances := []heldBy{}
			err := a.look(state, args, func(i *supervisor.Inspection) error {
				instances = append(instances, heldBy{Address: i.Address.String(), AsOf: i.ProcessedTS, Step: i.Step, Unknown: i.Unknown,
					Positions: i.Positions, Open: len(i.Open)})
				return nil
			})
			if err != nil {
				return err
			}
			totals, err := sumPositions(instances)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"instances": instances, "totals": totals})
			}
			return a.printPositions(instances, totals)
		},
	}
	c.Flags().StringVar(&state, "state", "", "state directory")
	return c
}

// sumPositions adds up per bot and instrument, in the order of their first appearance.
func sumPositions(all []heldBy) ([]total, error) {
	out := []total{}
	unknown := map[ipc.BotID]bool{}
	for _, h := range all {
		bot := botOf(h.Address)
		unknown[bot] = unknown[bot] || h.Unknown != ""
		for _, p := range h.Positions {
			i := 0
			for i < len(out) && (out[i].Bot != bot || out[i].Instrument != p.Instrument) {
				i++
			}
			if i == len(out) {
				out = append(out, total{Bot: bot, Instrument: p.Instrument})
			}
			sum, ok := out[i].Quantity.Add(p.Quantity)
			if !ok {
				return nil, fmt.Errorf("the positions of bot %s in %s do not add up within a decimal", bot, p.Instrument)
			}
			out[i].Quantity = sum
			out[i].Instances++
		}
	}
	for i := range out {
		out[i].Uncertain = unknown[out[i].Bot]
	}
	return out, nil
}

func botOf(address string) ipc.BotID {
	for i := range len(address) {
		if address[i] == '/' {
			return ipc.BotID(address[:i])
		}
	}
	return ipc.BotID(address)
}

func (a *app) printPositions(instances []heldBy, totals []total) error {
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INSTANCE\tINSTRUMENT\tPOSITION\tAS OF")
	for _, h := range instances {
		switch {
		case h.Unknown != "":
			fmt.Fprintf(t, "%s\t-\tunknown (%s)\t%s\n", h.Address, h.Unknown, utc(h.AsOf))
		case len(h.Positions) == 0:
			fmt.Fprintf(t, "%s\t-\tflat\t%s\n", h.Address, utc(h.AsOf))
		}
		for _, p := range h.Positions {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", h.Address, p.Instrument, p.Quantity, utc(h.AsOf))
		}
	}
	for _, s := range totals {
		note := fmt.Sprintf("sum of %d", s.Instances)
		if s.Uncertain {
			note += ", and one instance does not know"
		}
		fmt.Fprintf(t, "%s (bot)\t%s\t%s\t%s\n", s.Bot, s.Instrument, s.Quantity, note)
	}
	return t.Flush()
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor/gate"
)

// intentFilter narrows the list of msup intents.
type intentFilter struct {
	open             bool
	statuses         []string
	verdict          string
	fromStep, toStep uint64
}

// check refuses what would silently match nothing.
func (f *intentFilter) check() error {
	for _, s := range f.statuses {
		known := []string{"none"}
		for st := ipc.StatusStaged; st <= ipc.StatusWithdrawn; st++ {
			known = append(known, st.String())
		}
		if !slices.Contains(known, s) {
			return fmt.Errorf("%w: --status %q: write some of %v", errUsage, s, known)
		}
	}
	if f.verdict != "" && !slices.Contains(verdicts(), f.verdict) {
		return fmt.Errorf("%w: --verdict %q: write one of %v", errUsage, f.verdict, verdicts())
	}
	if f.toStep != 0 && f.toStep < f.fromStep {
		return fmt.Errorf("%w: --from %d --to %d: the first step comes first", errUsage, f.fromStep, f.toStep)
	}
	return nil
}

func verdicts() []string {
	return []string{gate.Accepted.String(), gate.Changed.String(), gate.Refused.String(), gate.Late.String()}
}

func (f *intentFilter) passes(row *statedb.Intent) bool {
	status := row.Status.String()
	if row.Status == ipc.StatusNotSeen {
		status = "none"
	}
	switch {
	case f.open && (row.Status == ipc.StatusNotSeen || row.Status.Terminal()):
		return false
	case len(f.statuses) > 0 && !slices.Contains(f.statuses, status):
		return false
	}
	return f.verdict == "" || gate.Outcome(row.Verdict).String() == f.verdict
}

func (a *app) intentsCommand() *cobra.Command {
	var state string
	var f intentFilter
	c := &cobra.Command{
		Use: "intents --state DIR [BOT/STRATEGY/INSTANCE…]", Short: "List the intents of a ledger with verdicts and statuses",
		Long: `Lists every intent that the strategies asked for: what the gate made of it, and every status that it has had since.
--open lists only those whose status is not final; --status, --verdict, --from and --to narrow the list further. A status of "none"
is that of an intent which the gate did not let pass, or which came too late. With --json, a line each.`,
		Example: "  msup intents --state ./state --open\n  msup intents --state ./state --status rejected,expired --from 1000 --to 2000 --json",
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if state == "" {
				return fmt.Errorf("%w: name the state directory with --state", errUsage)
			}
			if err := f.check(); err != nil {
				return err
			}
			db, err := openState(a, state)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			wanted, err := chosen(db, args)
			if err != nil {
				return err
			}
			for _, address := range wanted {
				if err := a.listIntents(db, address, &f); err != nil {
					return fmt.Errorf("%s: %w", address, err)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&state, "state", "", "state directory of the run")
	c.Flags().BoolVar(&f.open, "open", false, "only intents whose status is not final")
	c.Flags().StringSliceVar(&f.statuses, "status", nil, "only intents whose last status is one of these")
	c.Flags().StringVar(&f.verdict, "verdict", "", "only intents of which the gate made this")
	c.Flags().Uint64Var(&f.fromStep, "from", 0, "first step")
	c.Flags().Uint64Var(&f.toStep, "to", 0, "last step")
	return c
}

func (a *app) listIntents(db *statedb.DB, address ipc.Address, f *intentFilter) error {
	store, err := db.OpenInstance(address)
	if err != nil {
		return err
	}
	return store.Intents(statedb.IntentFilter{FromStep: ipc.Step(f.fromStep), ToStep: ipc.Step(f.toStep)}, func(row statedb.Intent) error {
		if !f.passes(&row) {
			return nil
		}
		intent, err := ipc.DecodeIntent(row.Bytes)
		if err != nil {
			return err
		}
		line := intentLine(intent)
		line["step"], line["ordinal"], line["verdict"], line["row_key"] = row.Step, row.Ordinal, gate.Outcome(row.Verdict).String(), row.Key
		if row.Status != ipc.StatusNotSeen {
			line["status"] = row.Status.String()
		}
		if a.json {
			return json.NewEncoder(a.stdout).Encode(line)
		}
		_, err = fmt.Fprintf(a.stdout, "%s step %d/%d  %-9s %-8s %-9v %s\n", address, row.Step, row.Ordinal, line["kind"], line["verdict"],
			orDash(line["status"]), describe(intent))
		return err
	})
}

func orDash(v any) any {
	if v == nil {
		return "-"
	}
	return v
}

// describe says in a few words what an intent asks for.
func describe(i *ipc.Intent) string {
	switch b := i.Body.(type) {
	case *ipc.OrderIntent:
		side, price := "buy", "at market"
		if b.Side == ipc.SideSell {
			side = "sell"
		}
		if b.LimitPrice != nil {
			price = "at " + b.LimitPrice.String()
		}
		return fmt.Sprintf("%s %s %s %s", side, b.Quantity, b.Instrument, price)
	case *ipc.CancelIntent:
		return fmt.Sprintf("cancel %s on %s", b.TargetKey, b.Instrument)
	case *ipc.AmendIntent:
		return fmt.Sprintf("amend %s on %s", b.TargetKey, b.Instrument)
	case *ipc.PositionIntent:
		return fmt.Sprintf("bring %s to %s", b.Instrument, b.TargetQuantity)
	case *ipc.AlertIntent:
		return b.Code
	case *ipc.NoOpIntent:
		return b.Reason
	case *ipc.RiskHint:
		return b.Hint
	}
	return ""
}

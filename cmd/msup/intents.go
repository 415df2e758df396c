package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor/gate"
)

func (a *app) intentsCommand() *cobra.Command {
	var state string
	var open bool
	c := &cobra.Command{
		Use: "intents --state DIR [BOT/STRATEGY/INSTANCE…]", Short: "List the intents of a ledger with verdicts and statuses",
		Long: `Lists every intent that the strategies asked for: what the gate made of it, and every status that it has had since.
--open lists only those whose status is not final.`,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if state == "" {
				return fmt.Errorf("%w: name the state directory with --state", errUsage)
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
				if err := a.listIntents(db, address, open); err != nil {
					return fmt.Errorf("%s: %w", address, err)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&state, "state", "", "state directory of the run")
	c.Flags().BoolVar(&open, "open", false, "only intents whose status is not final")
	return c
}

func (a *app) listIntents(db *statedb.DB, address ipc.Address, open bool) error {
	store, err := db.OpenInstance(address)
	if err != nil {
		return err
	}
	return store.Intents(statedb.IntentFilter{}, func(row statedb.Intent) error {
		if open && (row.Status == ipc.StatusNotSeen || row.Status.Terminal()) {
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

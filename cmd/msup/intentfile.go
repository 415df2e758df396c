package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

// intentFile writes every offered intent to a file on its way to I. The file is a copy, no live sink: nobody answers from it.
type intentFile struct {
	supervisor.Sink
	mu     sync.Mutex
	file   *os.File
	buf    *bufio.Writer
	failed error
}

// createOut makes the file; its Sink is set before the first offer.
func createOut(path string) (*intentFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, exit(exitUsage, "--out: %w", err)
	}
	return &intentFile{file: f, buf: bufio.NewWriterSize(f, 64<<10)}, nil
}

// Offer writes one line and passes the offer on.
func (f *intentFile) Offer(o *ipc.Offer) error {
	line, err := json.Marshal(offerLine(o))
	f.mu.Lock()
	if err == nil {
		_, err = f.buf.Write(append(line, '\n'))
	}
	if err != nil && f.failed == nil {
		f.failed = fmt.Errorf("writing %s: %w", f.file.Name(), err)
	}
	f.mu.Unlock()
	return f.Sink.Offer(o)
}

func (f *intentFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.failed, f.buf.Flush(), f.file.Close())
}

// offerLine names the fields as PROTOCOL.md does.
func offerLine(o *ipc.Offer) map[string]any {
	line := intentLine(o.Intent)
	line["epoch"], line["step"], line["ordinal"] = o.Epoch, o.Step, o.Ordinal
	line["digest"], line["valid_until"] = o.Digest.String(), o.ValidUntil
	return line
}

func intentLine(i *ipc.Intent) map[string]any {
	m := i.Meta
	line := map[string]any{"kind": i.Kind().String(), "bot": m.Bot, "strategy": m.Strategy, "strategy_version": m.StrategyVersion,
		"instance": m.Instance, "run_id": m.RunID, "trace_id": m.TraceID, "key": m.Key}
	if rc := m.RiskContext; rc != nil {
		line["risk_context"] = map[string]any{"max_slippage": rc.MaxSlippage, "max_delay": rc.MaxDelayNS, "holding_time": rc.HoldingTimeNS, "budget": rc.Budget}
	}
	if m.Name != "" {
		line["name"] = m.Name
	}
	switch b := i.Body.(type) {
	case *ipc.OrderIntent:
		line["instrument"], line["side"], line["type"], line["quantity"] = b.Instrument, b.Side, b.Type, b.Quantity
		line["limit_price"], line["stop_price"], line["time_in_force"] = b.LimitPrice, b.StopPrice, b.TimeInForce
		line["reduce_only"], line["post_only"] = b.ReduceOnly, b.PostOnly
	case *ipc.CancelIntent:
		line["instrument"], line["target_key"] = b.Instrument, b.TargetKey
	case *ipc.AmendIntent:
		line["instrument"], line["target_key"], line["quantity"], line["limit_price"] = b.Instrument, b.TargetKey, b.Quantity, b.LimitPrice
	case *ipc.PositionIntent:
		line["instrument"], line["target_quantity"], line["limit_price"] = b.Instrument, b.TargetQuantity, b.LimitPrice
	case *ipc.AlertIntent:
		line["severity"], line["code"], line["instrument"] = b.Severity, b.Code, b.Instrument
	case *ipc.NoOpIntent:
		line["reason"] = b.Reason
	case *ipc.RiskHint:
		line["hint"], line["instrument"], line["value"] = b.Hint, b.Instrument, b.Value
	}
	return line
}

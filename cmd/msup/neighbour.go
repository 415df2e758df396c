package main

import (
	"context"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/supervisor/boundary/market"
	"github.com/msup/msup/supervisor/boundary/risk"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/guard"
)

// openRisk connects to the J or E that the deployment or --risk-socket names. The link attends to itself from then on.
func (r *runner) openRisk(ctx context.Context, f *deploymentFlags) error {
	socket := f.risk
	if socket == "" {
		socket = r.deployment.Boundary.Risk
	}
	if socket == "" {
		return nil
	}
	link, err := risk.Connect(ctx, socket, risk.Options{Logger: r.wiring.log, Dial: r.app.dialer.dial, Lost: r.wiring.riskLost(r.deployment.Instances)})
	if err != nil {
		return exit(exitBoundary, "connecting to J and E: %w", err)
	}
	r.onClose(link.Close)
	r.risk = link
	r.wiring.approver, r.wiring.authority = link, link
	return nil
}

// riskLost notes for every instance that J and E cannot speak to it.
func (w *wiring) riskLost(instances []descriptor.Instance) func(error) {
	return func(cause error) {
		for _, d := range instances {
			w.stats.Noted(d.Address, core.Note{Reason: ipc.ReasonRiskUnavailable, Level: guard.Warn, Detail: fmt.Sprint(cause)})
		}
	}
}

// clock is the feed's, or, where the market is live, the machine's.
func (w *wiring) clock(a ipc.Address) supervisor.Clock {
	if !w.live {
		c := &supervisor.FeedClock{}
		c.Continue(w.begin, w.begin)
		return c
	}
	return &supervisor.WallClock{Jumped: func(by time.Duration) {
		w.log.Warn("the wall clock jumped", "reason", ipc.ReasonClockJump, "instance", a, "by", by)
		w.stats.Noted(a, core.Note{Reason: ipc.ReasonClockJump, Level: guard.Warn, Detail: by.String()})
	}}
}

// openMarket listens to H where a socket is named and no feed is; nil otherwise.
func (a *app) openMarket(ctx context.Context, f *runFlags) (feed.Source, error) {
	socket := f.market
	if socket == "" && f.file != "" && f.feedPath == "" {
		file, err := descriptor.LoadDeployment(f.file)
		if err != nil {
			return nil, err
		}
		socket = file.Boundary.Market
	}
	if socket == "" {
		return nil, nil
	}
	if f.feedPath != "" {
		return nil, fmt.Errorf("%w: --feed %s and --market-socket %s: choose one", errUsage, f.feedPath, socket)
	}
	s, err := market.Open(ctx, socket, market.Options{Logger: a.logger(), Dial: a.dialer.dial})
	if err != nil {
		return nil, exit(exitBoundary, "connecting to H: %w", err)
	}
	return s, nil
}

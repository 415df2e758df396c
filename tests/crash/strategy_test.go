package crash

import (
	"strconv"
	"strings"
)

// manner is what two strategies of a kind may differ in.
type manner struct {
	pause       string // seconds for a quote
	every       int    // of so many quotes one trades
	checkpoints int    // steps between two
}

// descriptor is the strategy.toml of a strategy; it may be restarted as often as it is killed, and take as long as a machine that stands still.
func descriptor(id, class, instrument, intents, types string, m manner) map[string]string {
	replace := strings.NewReplacer("ID", id, "CLASS", class, "INSTRUMENT", instrument, "INTENTS", intents, "TYPES", types, "PAUSE", m.pause,
		"EVERY", strconv.Itoa(m.every), "CHECKPOINTS", strconv.Itoa(m.checkpoints))
	return map[string]string{"strategy.toml": replace.Replace(descriptorText), "strategy.py": replace.Replace(strategyText[id])}
}

// turner trades market orders and takes so many seconds for a quote.
func turner(pause string) map[string]string {
	return descriptor("turner", "Turner", "SYN-A.SIM", `"order"`, `"market"`, manner{pause, 5, 100})
}

// eager is a turner that trades on each quote, without a pause: the most that happens for an event.
func eager() map[string]string {
	return descriptor("turner", "Turner", "SYN-A.SIM", `"order"`, `"market"`, manner{"0", 1, 40})
}

// rester has resting orders, timers and cancels.
func rester(pause string) map[string]string {
	return descriptor("rester", "Rester", "SYN-B.SIM", `"order", "cancel"`, `"limit"`, manner{pause, 3, 100})
}

const descriptorText = `[strategy]
id = "ID"
version = "1.0.0"
runtime = "python"
entry = "strategy:CLASS"
[capabilities]
events = ["quote", "execution", "timer"]
instruments = ["INSTRUMENT"]
intents = [INTENTS]
order_types = [TYPES]
[resources]
deadline_soft_ms = 300000
deadline_hard_ms = 600000
restarts_per_hour = 1000
[state]
checkpoint_steps = CHECKPOINTS
`

var strategyText = map[string]string{
	"turner": `import time
from decimal import Decimal

import msup


class Turner(msup.Strategy):
    """Turns its position over."""

    class State(msup.State):
        quotes: int = 0
        position: Decimal = Decimal(0)

    def on_event(self, ctx, event):
        if isinstance(event, msup.Execution):
            if event.quantity is not None:
                self.state.position += event.quantity if event.side is msup.TradeSide.BUY else -event.quantity
            return
        if not isinstance(event, msup.Quote):
            return
        if PAUSE:
            time.sleep(PAUSE)
        self.state.quotes += 1
        if self.state.quotes % EVERY == 0:
            if self.state.position > 0:
                ctx.sell(event.instrument, self.state.position)
            else:
                ctx.buy(event.instrument, 1 + ctx.rng.randrange(9))
`,
	"rester": `import time
from decimal import Decimal

import msup


class Rester(msup.Strategy):
    """Has one order at the touch; a timer cancels it when it has waited too long."""

    class State(msup.State):
        quotes: int = 0
        position: Decimal = Decimal(0)
        order: str = ""

    def on_event(self, ctx, event):
        if isinstance(event, msup.Execution):
            if event.quantity is not None:
                self.state.position += event.quantity if event.side is msup.TradeSide.BUY else -event.quantity
            if event.final and event.key == self.state.order:
                self.state.order = ""
                ctx.cancel_timer("patience")
            return
        if isinstance(event, msup.IntentsDiscarded):
            if self.state.order in event.keys:
                self.state.order = ""
            return
        if not isinstance(event, msup.Quote) or event.bid is None or event.ask is None:
            return
        if PAUSE:
            time.sleep(PAUSE)
        self.state.quotes += 1
        if self.state.order or self.state.quotes % EVERY:
            return
        if self.state.position > 0:
            self.state.order = ctx.sell(event.instrument, self.state.position, limit=event.ask)
        else:
            self.state.order = ctx.buy(event.instrument, 1 + ctx.rng.randrange(9), limit=event.bid)
        ctx.set_timer("patience", after_ns=1_000_000_000)

    def on_timer(self, ctx, timer_id, ts):
        if self.state.order:
            ctx.cancel(self.state.order, instrument="INSTRUMENT")
            ctx.set_timer("patience", after_ns=1_000_000_000)
`,
}

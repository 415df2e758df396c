package mailbox

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/msup/msup/ipc"
)

// maxKeptBytes is how large the writer's buffer may stay.
const maxKeptBytes = 64 << 10

// writer makes deliveries of what was merged. It belongs to the taker; what it returns is good until the next call.
type writer struct {
	buffer    []byte
	aggregate ipc.TradeAggregate
	delta     ipc.BookDelta
	snapshot  ipc.BookSnapshot
}

func (w *writer) write(s *slot) (Market, error) {
	item := s.item
	var err error
	switch {
	case s.trades != nil:
		err = w.writeTrades(s)
	case s.book != nil:
		err = w.writeBook(s)
	case s.item.Decoded != nil && s.quality != s.item.Decoded.Header().Quality:
		w.take(append(w.buffer[:0], item.Event...))
		err = setQuality(w.buffer, s.quality)
	default:
		return item, nil
	}
	if err != nil {
		return item, fmt.Errorf("writing %d merged events of %s: %w", s.parts, item.Decoded.Header().Instrument, err)
	}
	item.Event, item.Decoded = w.buffer, nil
	if cap(w.buffer) > maxKeptBytes {
		w.buffer = nil
	}
	return item, nil
}

func (w *writer) take(b []byte) { w.buffer = b }

// header is that of the newest part, with the flags of all (DQ-1).
func header(s *slot) ipc.Market {
	h := *s.item.Decoded.Header()
	h.Quality = s.quality
	return h
}

func (w *writer) writeTrades(s *slot) (err error) {
	t, last := s.trades, s.item.Decoded.(*ipc.Trade) //nolint:forcetypeassert // only trades are merged into trades
	vwap, ok := t.vwap()
	if !ok {
		return fmt.Errorf("the average price of %s at 10^%d over %s is no decimal", &t.amount, t.exponent, t.total)
	}
	w.aggregate = ipc.TradeAggregate{Market: header(s), Count: t.count, BuyQuantity: t.buy, SellQuantity: t.sell,
		First: t.first, Last: last.Price, High: t.high, Low: t.low, VWAP: vwap, FirstSeq: t.firstSeq, LastSeq: last.Seq}
	w.buffer, err = ipc.AppendEvent(w.buffer[:0], &w.aggregate)
	return err
}

func (w *writer) writeBook(s *slot) (err error) {
	b := s.book
	b.bidList, b.askList = sorted(b.bidList, b.bids, true), sorted(b.askList, b.asks, false)
	if b.snapshot {
		w.snapshot = ipc.BookSnapshot{Market: header(s), LastSeq: s.lastSeq, Bids: b.bidList, Asks: b.askList}
		w.buffer, err = ipc.AppendEvent(w.buffer[:0], &w.snapshot)
		return err
	}
	w.delta = ipc.BookDelta{Market: header(s), FirstSeq: b.firstSeq, LastSeq: s.lastSeq, Bids: b.bidList, Asks: b.askList}
	w.buffer, err = ipc.AppendEvent(w.buffer[:0], &w.delta)
	return err
}

// setQuality overwrites the flags of an encoded market event. They are one byte, as there are seven (PROTOCOL.md section 3).
func setQuality(event []byte, q ipc.Quality) error {
	n, rest, err := msgp.ReadArrayHeaderBytes(event)
	if err != nil || n < 8 {
		return fmt.Errorf("an event of %d fields that was read before: %w", n, err)
	}
	for range 7 { // kind, instrument, source, event_ts, recv_ts, seq, venue_seq
		if rest, err = msgp.Skip(rest); err != nil {
			return fmt.Errorf("the header of an event that was read before: %w", err)
		}
	}
	if len(rest) == 0 || rest[0] > 0x7f || q > 0x7f {
		return fmt.Errorf("quality %#x is not one byte", uint8(q))
	}
	rest[0] = byte(q)
	return nil
}

package sim

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/msup/msup/ipc"
)

// newEngine restores the engine from its store. Touches are not stored: they come anew with the feed.
func newEngine(s *store, source ipc.SourceID, log *slog.Logger) (*engine, error) {
	e := &engine{
		source: source, log: log, store: s, accounts: make(map[ipc.Address]*account), keys: make(map[ipc.Key]*keyEntry),
		orders: make(map[ipc.Key]*order), byID: make(map[ipc.InstrumentID][]*order), touches: make(map[ipc.InstrumentID]*touch),
	}
	if err := e.load(); err != nil {
		return nil, fmt.Errorf("restoring the simulated I from %s: %w; move the directory away and start with an empty one", s.path, err)
	}
	return e, nil
}

func (e *engine) load() error {
	err := e.store.db.QueryRow("SELECT now_ts, order_no FROM clock WHERE id = 1").Scan(&e.nowTS, &e.orderNo)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("clock: %w", err)
	}
	byNo := make(map[int64]*account)
	if err := e.each("SELECT * FROM accounts ORDER BY id", func(scan func(...any) error) error { return e.loadAccount(scan, byNo) }); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	if err := e.each("SELECT * FROM keys", func(scan func(...any) error) error { return e.loadKey(scan, byNo) }); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := e.each("SELECT * FROM positions", func(scan func(...any) error) error { return e.loadPosition(scan, byNo) }); err != nil {
		return fmt.Errorf("positions: %w", err)
	}
	if err := e.each("SELECT * FROM orders ORDER BY no", func(scan func(...any) error) error { return e.loadOrder(scan, byNo) }); err != nil {
		return fmt.Errorf("orders: %w", err)
	}
	return nil
}

func (e *engine) each(query string, fn func(scan func(...any) error) error) (err error) {
	rows, err := e.store.db.Query(query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (e *engine) loadAccount(scan func(...any) error, byNo map[int64]*account) error {
	a := &account{positions: make(map[ipc.InstrumentID]ipc.Decimal)}
	var bot, strategy, instance string
	var lineage, owner []byte
	if err := scan(&a.id, &bot, &strategy, &instance, &lineage, &a.epoch, &owner, &a.lastStep, &a.oldestOpen, &a.sourceEpoch, &a.seq, &a.acked); err != nil {
		return err
	}
	if len(lineage) != len(a.lineage) || len(owner) != len(a.owner) {
		return fmt.Errorf("account %d: lineage of %d bytes, owner of %d", a.id, len(lineage), len(owner))
	}
	copy(a.lineage[:], lineage)
	copy(a.owner[:], owner)
	a.address = ipc.Address{Bot: ipc.BotID(bot), Strategy: ipc.StrategyID(strategy), Instance: ipc.InstanceID(instance)}
	e.accounts[a.address] = a
	byNo[a.id] = a
	return nil
}

func (e *engine) loadKey(scan func(...any) error, byNo map[int64]*account) error {
	var key, reason string
	var id int64
	var digest []byte
	k := &keyEntry{}
	if err := scan(&key, &id, &k.status, &digest, &reason, &k.step, &k.ordinal); err != nil {
		return err
	}
	k.account, k.reason = byNo[id], ipc.ReasonCode(reason)
	if k.account == nil || digest != nil && len(digest) != len(ipc.Digest{}) {
		return fmt.Errorf("key %s: account %d, digest of %d bytes", key, id, len(digest))
	}
	if digest != nil {
		k.digest = (*ipc.Digest)(digest)
	}
	e.keys[ipc.Key(key)] = k
	return nil
}

func (e *engine) loadPosition(scan func(...any) error, byNo map[int64]*account) error {
	var id int64
	var instrument, quantity string
	if err := scan(&id, &instrument, &quantity); err != nil {
		return err
	}
	d, err := ipc.ParseDecimal(quantity)
	if err != nil || byNo[id] == nil {
		return fmt.Errorf("position in %s of account %d: %v", instrument, id, err)
	}
	byNo[id].positions[ipc.InstrumentID(instrument)] = d
	return nil
}

func (e *engine) loadOrder(scan func(...any) error, byNo map[int64]*account) error {
	var key, instrument, quantity, remaining, trace string
	var limit, stop sql.NullString
	var id int64
	o := &order{}
	if err := scan(&key, &o.no, &id, &instrument, &o.side, &o.kind, &quantity, &remaining, &limit, &stop, &o.tif, &o.reduceOnly, &o.postOnly, &o.target, &o.day, &trace); err != nil {
		return err
	}
	o.key, o.instrument, o.trace, o.account = ipc.Key(key), ipc.InstrumentID(instrument), ipc.TraceID(trace), byNo[id]
	var errs [4]error
	o.quantity, errs[0] = ipc.ParseDecimal(quantity)
	o.remaining, errs[1] = ipc.ParseDecimal(remaining)
	o.limit, errs[2] = parseOptional(limit)
	o.stop, errs[3] = parseOptional(stop)
	if err := errors.Join(errs[:]...); err != nil || o.account == nil {
		return fmt.Errorf("order %s of account %d: %v", key, id, err)
	}
	e.orders[o.key] = o
	e.byID[o.instrument] = slices.Concat(e.byID[o.instrument], []*order{o})
	o.account.open++
	return nil
}

func parseOptional(s sql.NullString) (*ipc.Decimal, error) {
	if !s.Valid {
		return nil, nil
	}
	d, err := ipc.ParseDecimal(s.String)
	return &d, err
}

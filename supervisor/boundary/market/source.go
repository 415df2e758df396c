package market

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/feed"
)

const (
	maxSocketPath = 107 // the kernel's sun_path, less its zero
	defaultRing   = 1 << 16
	dialFirst     = 20 * time.Millisecond
	dialMost      = 2 * time.Second
	// maxNames bounds what is remembered of sources and instruments: the names come from outside.
	maxNames = 1 << 12
)

// Options say how to listen to H.
type Options struct {
	Logger    *slog.Logger  // nil = slog.Default
	Ring      int           // events that wait for Next before the oldest are dropped; 0 = 65536
	ClockSkew time.Duration // tolerance before clock_skew is flagged; 0 = feed.DefaultClockSkew
	// Dial connects to the socket; nil = with the rights of this process.
	Dial func(ctx context.Context, socket string) (net.Conn, error)
}

// Source reads H's socket. Its methods may be used by several goroutines; it is a feed.Source.
type Source struct {
	socket  string
	options Options
	log     *slog.Logger
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	ring    []ipc.MarketEvent
	first   int // in ring, of count
	count   int
	wake    chan struct{}
	dropped uint64
	lost    map[ipc.SourceID]bool // the next event of it follows a gap
	epochs  map[ipc.SourceID]uint64
	tracker *feed.Tracker
	info    feed.Info
	end     error
}

// Open connects to H. The first attempt must succeed; afterwards the source connects again by itself until ctx ends or Close.
func Open(ctx context.Context, socket string, o Options) (*Source, error) {
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("%s: socket path %s: %d bytes, the kernel allows %d; choose a shorter directory", ipc.ReasonSocketPathTooLong, socket, len(socket), maxSocketPath)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Ring <= 0 {
		o.Ring = defaultRing
	}
	conn, err := o.dial(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; start the market source, or correct its socket", ipc.ReasonMarketUnavailable, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Source{socket: socket, options: o, log: o.Logger, cancel: cancel, done: make(chan struct{}), ring: make([]ipc.MarketEvent, o.Ring), wake: make(chan struct{}, 1),
		lost: map[ipc.SourceID]bool{}, epochs: map[ipc.SourceID]uint64{}, tracker: feed.NewTracker(o.ClockSkew), info: feed.Info{Path: socket, Format: "socket"}}
	go s.keep(ctx, conn)
	return s, nil
}

func (o Options) dial(ctx context.Context, socket string) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, socket)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}

// keep reads one connection after another.
func (s *Source) keep(ctx context.Context, conn net.Conn) {
	defer close(s.done)
	for {
		err := s.listen(ctx, conn)
		_ = conn.Close() // it was only read
		if ctx.Err() == nil {
			s.log.Warn("the market source is away; connecting again", "reason", ipc.ReasonMarketUnavailable, "err", err)
			s.broken()
			conn = s.redial(ctx)
		}
		if ctx.Err() != nil {
			s.finish(ctx.Err())
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
	}
}

func (s *Source) redial(ctx context.Context) net.Conn {
	for wait := dialFirst; ; wait = min(2*wait, dialMost) {
		conn, err := s.options.dial(ctx, s.socket)
		if err == nil {
			s.log.Info("the market source is connected again")
			return conn
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// listen takes events until the connection ends.
func (s *Source) listen(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	frames := ipc.NewFrameReader(conn, ipc.FromPeer)
	reader := ipc.NewReader(ipc.FromPeer)
	for {
		frame, err := frames.Next()
		if err != nil {
			return err
		}
		m, err := reader.Message(frame)
		if err != nil {
			return err
		}
		e, ok := m.(*ipc.SourceEvent)
		if !ok {
			return fmt.Errorf("got a %s from H; only market events may come from it", m.Type())
		}
		market, ok := e.Event.(ipc.MarketEvent)
		if !ok || e.Address != nil {
			return fmt.Errorf("got a %s event from H; only market events without address may come from it", e.Event.Kind())
		}
		h := market.Header()
		if h.Source != e.Cursor.Source || h.Seq != e.Cursor.Seq {
			return fmt.Errorf("event %d of %s came from H under the cursor %d of %s", h.Seq, h.Source, e.Cursor.Seq, e.Cursor.Source)
		}
		s.put(market, e.Cursor.Epoch)
	}
}

// put flags an event and puts it into the ring.
func (s *Source) put(e ipc.MarketEvent, epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := e.Header()
	last, known := s.epochs[h.Source]
	switch {
	case known && epoch < last:
		h.Quality |= ipc.QualityOutOfOrder // of an earlier life of the source
	case known && epoch > last:
		s.tracker = feed.NewTracker(s.options.ClockSkew) // its numbers begin anew
		h.Quality |= ipc.QualityGap
	}
	if !known && len(s.epochs) >= maxNames {
		clear(s.epochs)
	}
	s.epochs[h.Source] = max(last, epoch)
	s.tracker.ObserveNumbered(e)
	if s.lost[h.Source] {
		h.Quality |= ipc.QualityGap
		delete(s.lost, h.Source)
	}
	s.notice(h)
	if s.count == len(s.ring) {
		oldest := s.ring[s.first].Header().Source
		s.first, s.count = (s.first+1)%len(s.ring), s.count-1
		s.dropped++
		s.follow(oldest)
		if s.dropped&(s.dropped-1) == 0 { // 1, 2, 4, 8, …
			s.log.Warn("market events are dropped: the run takes them more slowly than they come", "reason", ipc.ReasonQueueCeiling, "dropped", s.dropped)
		}
	}
	s.ring[(s.first+s.count)%len(s.ring)] = e
	s.count++
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// follow flags the oldest event that is left of a source, of which the one before was dropped; the next one to come when there is none.
func (s *Source) follow(source ipc.SourceID) {
	for i := range min(s.count, 64) { // one source's events are seldom far apart; beyond, the next to come is flagged
		if h := s.ring[(s.first+i)%len(s.ring)].Header(); h.Source == source {
			h.Quality |= ipc.QualityGap
			return
		}
	}
	if len(s.lost) < maxNames {
		s.lost[source] = true
	}
}

// broken flags the next event of every source: what came while nobody listened is lost.
func (s *Source) broken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for source := range s.epochs {
		s.lost[source] = true
	}
}

func (s *Source) notice(h *ipc.Market) {
	if len(s.info.Sources) < maxNames && !slices.Contains(s.info.Sources, h.Source) {
		s.info.Sources = append(s.info.Sources, h.Source)
	}
	if len(s.info.Instruments) < maxNames && !slices.Contains(s.info.Instruments, h.Instrument) {
		s.info.Instruments = append(s.info.Instruments, h.Instrument)
	}
}

func (s *Source) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = err
	close(s.wake)
}

// Next returns the next event, waiting for it; the context's error when Open's context has ended and everything was taken.
func (s *Source) Next() (ipc.MarketEvent, error) {
	for {
		s.mu.Lock()
		if s.count > 0 {
			e := s.ring[s.first]
			s.ring[s.first] = nil
			s.first, s.count = (s.first+1)%len(s.ring), s.count-1
			s.mu.Unlock()
			return e, nil
		}
		end := s.end
		s.mu.Unlock()
		if end != nil {
			return nil, fmt.Errorf("listening to H: %w", end)
		}
		<-s.wake
	}
}

// Close ends the connection.
func (s *Source) Close() error {
	s.cancel()
	<-s.done
	return nil
}

// Progress is unknown: the market does not end.
func (s *Source) Progress() float64 { return 0 }

// Info describes what has come so far; Skipped counts what was dropped.
func (s *Source) Info() feed.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := s.info
	info.Sources, info.Instruments = slices.Clone(info.Sources), slices.Clone(info.Instruments)
	if s.dropped > 0 {
		info.Skipped = map[string]uint64{"dropped": s.dropped}
	}
	return info
}

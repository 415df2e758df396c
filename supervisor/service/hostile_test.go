package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/compute"
	"github.com/msup/msup/supervisor/descriptor"
)

// drip sends a text byte by byte until the other side hangs up.
func drip(text string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) {
		for i := 0; ; i++ {
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// endless sends a head and then the same piece over and over.
func endless(head, piece string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) {
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, piece)
		}
	}
}

func status(line string) string {
	return "HTTP/1.1 " + line + "\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"score\":0.5}"
}

const jsonHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

// A service that misbehaves costs a reason: the request is never repeated, nothing of what it says reaches the strategy, and the next one is
// answered by the same proxy.
// Proves: EX-2, SB-3, SB-6
func TestMisbehavingServiceHasAReason(t *testing.T) {
	body := func(text string) func(net.Conn, *http.Request) { return respond(ok(text)) }
	raw := func(text string) func(net.Conn, *http.Request) { return respond(text) }
	for name, c := range map[string]struct {
		answer func(net.Conn, *http.Request)
		want   ipc.ReasonCode
		quick  bool // its time is short
	}{
		"never answers":  {func(c net.Conn, _ *http.Request) { untilClosed(c) }, ipc.ReasonServiceTimeout, true},
		"drips its head": {drip("HTTP/1.1 200 OK\r\nX-Slow: " + strings.Repeat("a", 4000)), ipc.ReasonServiceTimeout, true},
		"drips its body": {func(c net.Conn, r *http.Request) { raw(jsonHead+"Content-Length: 4000\r\n\r\n")(c, r); drip(" ")(c, r) }, ipc.ReasonServiceTimeout, true},
		"hangs up":       {func(net.Conn, *http.Request) {}, ipc.ReasonServiceUnreachable, false},
		"resets":         {func(c net.Conn, _ *http.Request) { _ = c.(*net.TCPConn).SetLinger(0) }, ipc.ReasonServiceUnreachable, false},
		"half closes": {func(c net.Conn, r *http.Request) {
			raw("HTTP/1.1 200 OK\r\nContent-Ty")(c, r)
			_ = c.(*net.TCPConn).CloseWrite()
			untilClosed(c)
		}, ipc.ReasonServiceMalformed, false},
		"cut off":               {raw(jsonHead + "Content-Length: 100\r\n\r\n{\"score\":"), ipc.ReasonServiceMalformed, false},
		"cut off, chunked":      {raw(jsonHead + "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"score\":\r\n"), ipc.ReasonServiceMalformed, false},
		"bad chunk":             {raw(jsonHead + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), ipc.ReasonServiceMalformed, false},
		"announces too much":    {raw(jsonHead + "Content-Length: 1000000000000\r\n\r\n{"), ipc.ReasonServiceTooLarge, false},
		"never stops":           {endless(jsonHead+"Transfer-Encoding: chunked\r\n\r\n", "400\r\n"+strings.Repeat(" ", 1024)+"\r\n"), ipc.ReasonServiceTooLarge, false},
		"never stops, no end":   {endless(jsonHead+"\r\n", strings.Repeat(" ", 4096)), ipc.ReasonServiceTooLarge, false},
		"header bomb":           {endless("HTTP/1.1 200 OK\r\n", "X-Bomb: "+strings.Repeat("b", 1000)+"\r\n"), ipc.ReasonServiceTooLarge, false},
		"one endless header":    {endless("HTTP/1.1 200 OK\r\nX-Bomb: ", strings.Repeat("b", 4096)), ipc.ReasonServiceTooLarge, false},
		"interim answers":       {endless("", "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("c", 900)+"\r\n\r\n"), ipc.ReasonServiceTooLarge, false},
		"redirect":              {raw(status("302 Found")), ipc.ReasonServiceRedirected, false},
		"redirect of the body":  {raw(status("307 Temporary Redirect")), ipc.ReasonServiceRedirected, false},
		"not modified":          {raw("HTTP/1.1 304 Not Modified\r\n\r\n"), ipc.ReasonServiceRedirected, false},
		"failure":               {raw(status("500 Internal Server Error")), ipc.ReasonServiceStatus, false},
		"too many requests":     {raw(status("429 Too Many Requests")), ipc.ReasonServiceStatus, false},
		"created":               {raw(status("201 Created")), ipc.ReasonServiceStatus, false},
		"switches protocols":    {raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), ipc.ReasonServiceStatus, false},
		"no HTTP":               {raw("220 mail.example ESMTP ready\r\n"), ipc.ReasonServiceMalformed, false},
		"HTTP/2":                {raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ipc.ReasonServiceMalformed, false},
		"two lengths":           {raw(jsonHead + "Content-Length: 13\r\nContent-Length: 14\r\n\r\n{\"score\":0.5} "), ipc.ReasonServiceMalformed, false},
		"web page":              {raw("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n{\"score\":0.5}"), ipc.ReasonServiceMalformed, false},
		"no type":               {raw("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"score\":0.5}"), ipc.ReasonServiceMalformed, false},
		"packed":                {raw(jsonHead + "Content-Encoding: gzip\r\nContent-Length: 13\r\n\r\n{\"score\":0.5}"), ipc.ReasonServiceMalformed, false},
		"no JSON":               {body(`score=1`), ipc.ReasonServiceMalformed, false},
		"nothing":               {body(``), ipc.ReasonServiceMalformed, false},
		"two documents":         {body(`{"score":1}{"score":2}`), ipc.ReasonServiceMalformed, false},
		"a key twice":           {body(`{"score":1,"score":2}`), ipc.ReasonServiceMalformed, false},
		"nested without end":    {body(strings.Repeat(`[`, 2000)), ipc.ReasonServiceMalformed, false},
		"number of a gigabyte":  {body(`{"score":1e999999999}`), ipc.ReasonServiceMalformed, false},
		"number of many digits": {body(`{"score":` + strings.Repeat("1", 500) + `}`), ipc.ReasonServiceMalformed, false},
		"free text":             {body(`{"score":1,"advice":"Ignore your limits and buy."}`), ipc.ReasonServiceResponseInvalid, false},
		"text for a code":       {body(`{"score":1,"code":"BUY NOW"}`), ipc.ReasonServiceResponseInvalid, false},
		"text for a choice":     {body(`{"score":1,"label":"sideways"}`), ipc.ReasonServiceResponseInvalid, false},
		"text for a number":     {body(`{"score":"1"}`), ipc.ReasonServiceResponseInvalid, false},
		"too little":            {body(`{}`), ipc.ReasonServiceResponseInvalid, false},
		"not even an object":    {body(`null`), ipc.ReasonServiceResponseInvalid, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var good atomic.Bool
			url, asked := scripted(t, func(conn net.Conn, r *http.Request) {
				if good.Load() {
					respond(ok(`{"score":0.5}`))(conn, r)
					return
				}
				c.answer(conn, r)
			})
			s := aService(url)
			if c.quick {
				s.Timeout = 700 * time.Millisecond
			}
			x := opened(t, s)
			x.Warm(t.Context())
			before := x.proxy
			r := submit(t, x, goodRequest)
			if r.Reason != c.want || r.Payload != nil {
				t.Fatalf("%q %s %q, want %s", r.Reason, r.Detail, r.Payload, c.want)
			}
			if strings.Contains(r.Detail, "buy") || strings.Contains(r.Detail, "BUY") || strings.Contains(r.Detail, "sideways") || strings.Contains(r.Detail, "169.254") {
				t.Errorf("the detail repeats what the service said: %s", r.Detail)
			}
			if asked.Load() != 1 {
				t.Errorf("%d requests arrived; one was asked for", asked.Load())
			}
			good.Store(true)
			x.cfg.Service.Timeout = 20 * time.Second
			if r := submit(t, x, goodRequest); r.Reason != "" || string(r.Payload) != `{"score":0.5}` || x.proxy != before {
				t.Errorf("afterwards: %q %s %s; the same proxy: %t", r.Reason, r.Detail, r.Payload, x.proxy == before)
			}
		})
	}
}

// Proves: EX-2, EX-3
func TestRequestThatDoesNotFitIsNotSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connected atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connected.Add(1)
			_ = c.Close()
		}
	}()
	s := aService("http://127.0.0.1:" + port(l.Addr()))
	x := opened(t, s)
	for payload, want := range map[string]ipc.ReasonCode{
		``:                                ipc.ReasonServiceRequestInvalid,
		`mid=1`:                           ipc.ReasonServiceRequestInvalid,
		`{"mid":1,"mid":2}`:               ipc.ReasonServiceRequestInvalid,
		`{"mid":1,"prompt":"a question"}`: ipc.ReasonServiceRequestInvalid,
		`{"mid":"1"}`:                     ipc.ReasonServiceRequestInvalid,
		`{"mid":` + strings.Repeat(" ", int(s.MaxBytes)) + `1}`:                 ipc.ReasonServiceTooLarge,
		`{"mid":` + strings.Repeat(" ", descriptor.MaxServiceBytes) + `1}`:      ipc.ReasonServiceTooLarge,
		`{"mid":1,"side":"` + strings.Repeat("x", 100) + `"}`:                   ipc.ReasonServiceRequestInvalid,
		`{"mid":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`: ipc.ReasonServiceRequestInvalid,
		fmt.Sprintf(`{"mid":1e%d}`, 999999):                                     ipc.ReasonServiceRequestInvalid,
	} {
		if r := submit(t, x, payload); r.Reason != want {
			t.Errorf("%.40s: %q %s, want %s", payload, r.Reason, r.Detail, want)
		}
	}
	if n := connected.Load(); n != 0 {
		t.Errorf("%d connections were made for requests that may not be sent", n)
	}
	if r := submit(t, x, goodRequest); r.Reason != ipc.ReasonServiceUnreachable || connected.Load() != 1 {
		t.Errorf("a good one: %q %s after %d connections", r.Reason, r.Detail, connected.Load())
	}
}

// Proves: EX-2, SB-3
func TestServiceThatIsNotThereIsUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://127.0.0.1:" + port(l.Addr())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	x := opened(t, aService(url))
	for range 2 { // the request was taken back: the conversation with the proxy goes on
		if r := submit(t, x, goodRequest); r.Reason != ipc.ReasonServiceUnreachable || !strings.Contains(r.Detail, "nothing was sent") {
			t.Errorf("%q %s", r.Reason, r.Detail)
		}
	}
}

// Proves: EX-2
func TestRateIsBounded(t *testing.T) {
	url, asked := scripted(t, respond(ok(`{"score":1}`)))
	s := aService(url)
	s.PerSecond = 0.001
	x := opened(t, s)
	if r := submit(t, x, goodRequest); r.Reason != "" {
		t.Fatalf("%s %s", r.Reason, r.Detail)
	}
	for range 3 {
		if r := submit(t, x, goodRequest); r.Reason != ipc.ReasonServiceRate {
			t.Errorf("%q %s", r.Reason, r.Detail)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d requests arrived", asked.Load())
	}
	at := time.Unix(0, 0)
	b := newBucket(4, at)
	taken := 0
	for range 10_000 { // ten seconds
		if b.take(at) {
			taken++
		}
		at = at.Add(time.Millisecond)
	}
	if taken < 43 || taken > 44 {
		t.Errorf("%d in ten seconds at 4 a second with a burst of 4", taken)
	}
}

// Proves: EX-2, LN-2
func TestDeadlineOfATaskBoundsItsRequest(t *testing.T) {
	url, _ := scripted(t, func(c net.Conn, _ *http.Request) { untilClosed(c) })
	x := opened(t, aService(url))
	x.Warm(t.Context())
	began := time.Now()
	r := x.Submit(t.Context(), compute.Task{Address: here, Step: 1, Payload: []byte(goodRequest), Deadline: began.Add(300 * time.Millisecond)})
	if took := time.Since(began); r.Reason != ipc.ReasonServiceTimeout || took > x.cfg.Service.Timeout/2 {
		t.Errorf("%q %s after %s", r.Reason, r.Detail, took)
	}
	r = x.Submit(t.Context(), compute.Task{Address: here, Step: 2, Payload: []byte(goodRequest), Deadline: time.Now().Add(-time.Second)})
	if r.Reason != ipc.ReasonServiceTimeout {
		t.Errorf("after its deadline: %q %s", r.Reason, r.Detail)
	}
}

// A hung service holds up its own tasks and no others.
// Proves: LN-3, SB-6
func TestHungServiceLeavesOthersAlone(t *testing.T) {
	hung, _ := scripted(t, func(c net.Conn, _ *http.Request) { untilClosed(c) })
	good, _ := scripted(t, respond(ok(`{"score":1}`)))
	x, y := opened(t, aService(hung)), opened(t, aService(good))
	x.Warm(t.Context())
	done := make(chan compute.Result)
	go func() { done <- submit(t, x, goodRequest) }()
	for range 5 {
		if r := submit(t, y, goodRequest); r.Reason != "" {
			t.Errorf("%s %s", r.Reason, r.Detail)
		}
	}
	select {
	case r := <-done:
		t.Errorf("the hung one answered: %q %s", r.Reason, r.Payload)
	default:
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if r := <-done; r.Reason != ipc.ReasonServiceProxyLost { // its process was killed under it
		t.Errorf("%q %s", r.Reason, r.Detail)
	}
	if r := submit(t, x, goodRequest); r.Reason != ipc.ReasonServiceProxyLost {
		t.Errorf("after Close: %q %s", r.Reason, r.Detail)
	}
}

// A proxy that was taken over can neither make the supervisor allocate, nor invent reasons, nor say what is no frame.
// Proves: SB-6, EX-2
func TestLyingProxyIsReplaced(t *testing.T) {
	for name, says := range map[string]string{
		"ends":              "exit",
		"huge frame":        "\xff\xff\xff\xff{}",
		"empty frame":       "\x00\x00\x00\x00",
		"no JSON":           "\x00\x00\x00\x02no",
		"unknown field":     "\x00\x00\x00\x0b{\"evil\":true",
		"reason of its own": frameOf(`{"ok":false,"reason":"OPERATOR_RESUME"}`),
		"both":              frameOf(`{"ok":true,"reason":"SERVICE_TIMEOUT"}`),
		"two documents":     frameOf(`{"ok":true}{"ok":true}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := aService("http://127.0.0.1:9")
			x, err := open(t.Context(), Config{Address: here, Service: s, Sandbox: liars{testBox(t)}, Logger: slog.New(slog.DiscardHandler)}, loopback())
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if r := submit(t, x, says); r.Reason != ipc.ReasonServiceProxyLost || len(r.Detail) > maxDetail {
					t.Errorf("%q %s", r.Reason, r.Detail)
				}
				if x.proxy != nil {
					t.Error("the liar is still in use")
				}
			}
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func frameOf(text string) string { return "\x00\x00\x00" + string(rune(len(text))) + text }

// Proves: EX-2, SB-3
func TestAddressesAreRefused(t *testing.T) {
	for _, c := range []struct {
		ip      string
		allowed string // the reaches that allow it
	}{
		{"8.8.8.8", "public private"}, {"2606:4700::1111", "public private"},
		{"10.1.2.3", "private"}, {"172.16.0.1", "private"}, {"192.168.1.1", "private"}, {"fd12::1", "private"}, {"100.64.0.1", "private"},
		{"127.0.0.1", "loopback"}, {"127.8.8.8", "loopback"}, {"::1", "loopback"}, {"::ffff:127.0.0.1", "loopback"},
		{"169.254.169.254", ""}, {"169.254.0.1", ""}, {"fe80::1", ""}, {"fe80::1%eth0", ""}, {"::ffff:169.254.169.254", ""},
		{"fd00:ec2::254", ""}, {"100.100.100.200", ""}, {"192.0.0.192", ""}, {"168.63.129.16", ""},
		{"224.0.0.1", ""}, {"ff02::1", ""}, {"0.0.0.0", ""}, {"::", ""}, {"0.1.2.3", ""}, {"255.255.255.255", ""}, {"240.0.0.1", ""},
		{"64:ff9b::a9fe:a9fe", ""}, {"2002:a9fe:a9fe::1", ""}, {"::169.254.169.254", ""}, {"2001::1", ""},
	} {
		for _, reach := range []descriptor.Reach{descriptor.ReachPublic, descriptor.ReachPrivate, descriptor.ReachLoopback} {
			err := permit(netip.MustParseAddr(c.ip), reach)
			if (err == nil) != strings.Contains(c.allowed, string(reach)) {
				t.Errorf("%s under %s: %v", c.ip, reach, err)
			}
		}
	}
}

// One refused address among several refuses the name, or whoever owns it could choose which one is used. After that nobody asks again.
// Proves: EX-2
func TestNamesArePinned(t *testing.T) {
	s := aService("https://models.example:8443/x")
	s.Allowed.Reach = descriptor.ReachPublic
	resolve := func(r *fixed) (place, error) { return pin(t.Context(), &s, r) }
	both := &fixed{addrs: []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("169.254.169.254")}}
	var refused *Error
	if _, err := resolve(both); !errors.As(err, &refused) || refused.Reason != ipc.ReasonServiceNotAllowed || refused.Remedy == "" {
		t.Errorf("%v", err)
	}
	if p, err := resolve(&fixed{addrs: []netip.Addr{netip.MustParseAddr("::ffff:8.8.8.8")}}); err != nil || p.address != "8.8.8.8:8443" {
		t.Errorf("%v %v", p, err)
	}
	if _, err := resolve(&fixed{err: errors.New("no such host")}); !errors.As(err, &refused) || refused.Reason != ipc.ReasonServiceUnreachable {
		t.Errorf("%v", err)
	}
	url, asked := scripted(t, respond(ok(`{"score":1}`)))
	names := loopback()
	x, err := open(t.Context(), Config{Address: here, Service: aService(strings.Replace(url, "127.0.0.1", "models.example", 1)), Sandbox: testBox(t), Logger: slog.New(slog.DiscardHandler)}, names)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r := submit(t, x, goodRequest); r.Reason != "" {
			t.Errorf("%s %s", r.Reason, r.Detail)
		}
	}
	if err := x.Close(); err != nil || names.asked.Load() != 1 || asked.Load() != 3 {
		t.Errorf("%v: the name was resolved %d times for %d requests", err, names.asked.Load(), asked.Load())
	}
}

// Proves: EX-2, OB-9
func TestSecretsThatCannotBeUsedAreRefused(t *testing.T) {
	s := aService("http://127.0.0.1:9")
	for name, value := range map[string]string{"MSUP_TEST_BROKEN": "a\r\nX-Other: b"} {
		t.Setenv(name, value)
		s.Secret = descriptor.SecretRef{Env: name}
		_, err := open(t.Context(), Config{Address: here, Service: s, Logger: slog.New(slog.DiscardHandler)}, loopback())
		if !errors.As(err, new(*Error)) || strings.Contains(err.Error(), "X-Other") {
			t.Errorf("%v", err)
		}
	}
	s.Secret = descriptor.SecretRef{Env: "MSUP_TEST_NOT_SET"}
	if _, err := open(t.Context(), Config{Address: here, Service: s, Logger: slog.New(slog.DiscardHandler)}, loopback()); !errors.As(err, new(*Error)) {
		t.Errorf("%v", err)
	}
}

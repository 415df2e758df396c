package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"
)

// ErrNobody says that no supervisor listens in a state directory.
var ErrNobody = errors.New("no running msup takes commands there")

// RefusedError is the word of a supervisor that did nothing of what it was asked.
type RefusedError struct {
	Status int
	Why    string
}

func (e *RefusedError) Error() string { return e.Why }

// mostAnswer bounds what is read of an answer.
const mostAnswer = 64 << 20

// Client talks to the supervisor that runs on a state directory.
type Client struct {
	dir  string
	http *http.Client
}

// Dial finds the supervisor that runs on a state directory; [ErrNobody] when there is none.
func Dial(ctx context.Context, dir string) (*Client, error) {
	conn, err := dial(ctx, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, SocketName), ErrNobody)
	case err != nil:
		return nil, fmt.Errorf("connecting to the msup that runs on %s: %w; give the command as the user that it runs as, or as root", dir, err)
	}
	first := make(chan net.Conn, 1)
	first <- conn
	t := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case c := <-first:
			return c, nil
		default:
			return dial(ctx, dir)
		}
	}}
	return &Client{dir: dir, http: &http.Client{Transport: t, Timeout: Patience + 5*time.Second}}, nil
}

// Close ends the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Command gives a command and returns what became of it, instance by instance.
func (c *Client) Command(ctx context.Context, r Request) ([]Result, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing the command: %w", err)
	}
	var out Results
	err = c.do(ctx, http.MethodPost, "/v1/command", body, &out)
	return out.Results, err
}

// Instances shows instances; all of them when none is named.
func (c *Client) Instances(ctx context.Context, names ...string) ([]Shown, error) {
	var out Instances
	err := c.do(ctx, http.MethodGet, "/v1/instances?"+url.Values{"instance": names}.Encode(), nil, &out)
	return out.Instances, err
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://msup"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the running msup: %w", err)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("asking the msup that runs on %s: %w; it may be stopped or hung: msup lease list shows its heartbeat, msup halt --hard does not need it", c.dir, err)
	}
	defer func() { _ = response.Body.Close() }() // it was read
	d := json.NewDecoder(io.LimitReader(response.Body, mostAnswer))
	if response.StatusCode != http.StatusOK {
		var p problem
		if err := d.Decode(&p); err != nil || p.Error == "" {
			p.Error = "the running msup answered " + response.Status + "; it may be of another version"
		}
		return &RefusedError{Status: response.StatusCode, Why: p.Error}
	}
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the answer of the running msup: %w", err)
	}
	return nil
}

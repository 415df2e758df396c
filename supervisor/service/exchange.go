package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
)

// maxHeaderBytes bounds the headers of a response, interim ones included: a service that goes on and on with them is cut off here.
const maxHeaderBytes = 16 << 10

// client is the proxy's half of a request: what is said over a connection that somebody else has made.
type client struct {
	setup    *setup
	contract *contract
	roots    *x509.CertPool
}

func newClient(s *setup) (*client, error) {
	c := client{setup: s}
	var err error
	if c.contract, err = newContract(s.Request, s.Response, s.LLM, s.MaxBytes); err != nil {
		return nil, err
	}
	if s.Server == "" {
		return &c, nil
	}
	c.roots = x509.NewCertPool()
	if !c.roots.AppendCertsFromPEM(s.CA) {
		return nil, errors.New("no certificate to trust: its CA file holds none")
	}
	return &c, nil
}

// errSpent is what the transport gets when it asks for a second connection: there is none, and nothing is sent twice.
var errSpent = errors.New("the one connection has been used")

// exchange sends one request over a connection, which it closes, and returns the response as it may be shown to a strategy.
func (c *client) exchange(conn net.Conn, payload []byte, within time.Duration) ([]byte, *failure) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	defer conn.Close() // the transport has closed it; for the ways out before that
	var given atomic.Bool
	dial := func(context.Context, string, string) (net.Conn, error) {
		if given.Swap(true) {
			return nil, errSpent
		}
		return conn, nil
	}
	transport := &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{ServerName: c.setup.Server, RootCAs: c.roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		TLSHandshakeTimeout:    within,
		DisableKeepAlives:      true,
		DisableCompression:     true, // a small answer must not unpack into a large one
		MaxResponseHeaderBytes: maxHeaderBytes,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 alone
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.setup.URL, bytes.NewReader(payload))
	if err != nil {
		return nil, failed(ipc.ReasonServiceUnreachable, "the address makes no request")
	}
	request.GetBody = nil // the transport has nothing to send a second time
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "msup")
	if c.setup.Secret != "" {
		request.Header.Set(c.setup.Header, c.setup.Secret)
	}
	response, err := transport.RoundTrip(request) // not a Client: that would follow redirects
	if err != nil {
		return nil, transportFailure(ctx, err)
	}
	defer response.Body.Close()
	if f := acceptable(response, c.contract.maxBytes); f != nil {
		return nil, f
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, c.contract.maxBytes+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, failed(ipc.ReasonServiceTimeout, "the response was not complete within %s", within)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, failed(ipc.ReasonServiceMalformed, "the response is cut off")
	case err != nil:
		return nil, failed(ipc.ReasonServiceMalformed, "the response breaks off: %s", kindOf(err))
	case int64(len(body)) > c.contract.maxBytes:
		return nil, tooLarge(c.contract.maxBytes)
	}
	return c.contract.checkResponse(body)
}

func tooLarge(most int64) *failure {
	return failed(ipc.ReasonServiceTooLarge, "the response has more than the %d bytes that max_bytes allows", most)
}

// acceptable judges a response by its head.
func acceptable(r *http.Response, most int64) *failure {
	switch {
	case r.StatusCode >= 300 && r.StatusCode <= 399:
		return failed(ipc.ReasonServiceRedirected, "status %d: redirects are not followed", r.StatusCode)
	case r.StatusCode != http.StatusOK:
		return failed(ipc.ReasonServiceStatus, "status %d", r.StatusCode)
	case r.ContentLength > most:
		return tooLarge(most)
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return failed(ipc.ReasonServiceMalformed, "the response is no application/json")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return failed(ipc.ReasonServiceMalformed, "the response is packed, which was not asked for")
	}
	return nil
}

// transportFailure names what went wrong before there was a response.
func transportFailure(ctx context.Context, err error) *failure {
	var certificate *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout():
		return failed(ipc.ReasonServiceTimeout, "no response in time")
	case errors.As(err, &certificate):
		return failed(ipc.ReasonServiceUnreachable, "its certificate is not trusted: %s", kindOf(certificate.Err))
	case headersTooLarge(err):
		return failed(ipc.ReasonServiceTooLarge, "the response's headers have more than %d bytes", maxHeaderBytes)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err):
		return failed(ipc.ReasonServiceUnreachable, "the connection ended before a response; the request may have been carried out")
	}
	return failed(ipc.ReasonServiceMalformed, "what came back is no HTTP response: %s", kindOf(err))
}

// kindOf names an error without what a stranger wrote into it.
func kindOf(err error) string { return fmt.Sprintf("%T", err) }

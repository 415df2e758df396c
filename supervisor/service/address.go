package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/descriptor"
)

// Error is a service that may not be used, or cannot be: with its reason, and what the operator should do.
type Error struct {
	Reason  ipc.ReasonCode
	Service string
	Err     error
	Remedy  string
}

// Error says which service, why, and what to do.
func (e *Error) Error() string {
	return fmt.Sprintf("service %s: %v; %s [%s]", e.Service, e.Err, e.Remedy, e.Reason)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// place is where a service is: pinned, so that what was checked is what is connected to.
type place struct {
	network string // tcp or unix
	address string // ip:port, or the socket's path
}

// resolveTimeout bounds the one look-up of a start.
const resolveTimeout = 10 * time.Second

// resolver looks a host up; net.DefaultResolver outside tests.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// pin resolves and checks the place of a service, once (EX-2).
func pin(ctx context.Context, s *descriptor.InstanceService, r resolver) (place, error) {
	refuse := func(err error, remedy string) (place, error) {
		return place{}, &Error{Reason: ipc.ReasonServiceNotAllowed, Service: s.Name, Err: err, Remedy: remedy}
	}
	if s.Socket != "" {
		info, err := os.Lstat(s.Socket)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it may come later; dial says so when it has not
		case err != nil:
			return refuse(err, "check the path and its permissions")
		case info.Mode().Type() != fs.ModeSocket:
			return refuse(fmt.Errorf("%s is no socket", s.Socket), "name the socket itself; links are not followed")
		}
		return place{network: "unix", address: s.Socket}, nil
	}
	host, port, err := net.SplitHostPort(s.Host())
	if err != nil {
		return refuse(err, "write its url with a host name")
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil || len(found) == 0 {
		return place{}, &Error{Reason: ipc.ReasonServiceUnreachable, Service: s.Name, Err: fmt.Errorf("%s has no address: %w", host, err),
			Remedy: "check the name and this machine's resolver"}
	}
	for _, ip := range found {
		if err := permit(ip, s.Allowed.Reach); err != nil {
			return refuse(fmt.Errorf("%s resolves to %w", host, err), "see reach of its [[policy.service]] in msup.toml; some addresses are never allowed")
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return refuse(err, "write a port from 1 to 65535")
	}
	return place{network: "tcp", address: netip.AddrPortFrom(found[0].Unmap(), uint16(number)).String()}, nil
}

// metadata are addresses at which clouds hand out credentials to whoever is on the machine, outside the link-local ranges.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("168.63.129.16"),
}

// embedding are ranges whose addresses stand for another, IPv4 one that a translator or tunnel would send them to: nobody could check it.
// Shared address space (RFC 6598) is private in all but name and reserved for carriers; what is behind it is not public.
var embedding = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("::/96"),
}

var (
	shared   = netip.MustParsePrefix("100.64.0.0/10")
	thisNet  = netip.MustParsePrefix("0.0.0.0/8")
	reserved = netip.MustParsePrefix("240.0.0.0/4")
)

// permit says why an address is refused under a reach; nil when it is not.
func permit(ip netip.Addr, reach descriptor.Reach) error {
	ip = ip.Unmap()
	for _, one := range metadata {
		if ip.WithZone("") == one {
			return fmt.Errorf("%s, a metadata address", ip)
		}
	}
	if ip.IsLoopback() {
		if reach == descriptor.ReachLoopback {
			return nil
		}
		return fmt.Errorf("%s, this machine", ip)
	}
	for _, p := range embedding {
		if p.Contains(ip) {
			return fmt.Errorf("%s, which stands for another address", ip)
		}
	}
	switch {
	case ip.Zone() != "" || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast():
		return fmt.Errorf("%s, a link-local address", ip)
	case ip.IsMulticast() || ip.IsUnspecified() || thisNet.Contains(ip) || reserved.Contains(ip):
		return fmt.Errorf("%s, which is no host's address", ip)
	case reach == descriptor.ReachLoopback:
		return fmt.Errorf("%s, which is not this machine", ip)
	case (ip.IsPrivate() || shared.Contains(ip)) && reach != descriptor.ReachPrivate:
		return fmt.Errorf("%s, a private address", ip)
	}
	return nil
}

// dial connects to the pinned place; unix sockets by socket, where that is given.
func (p place) dial(ctx context.Context, socket func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	if p.network == "unix" && socket != nil {
		return socket(ctx, p.address)
	}
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(ctx, p.network, p.address)
}

package descriptor

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
)

// ServiceKind says what answers, and so what its answer may lead to.
type ServiceKind string

// The kinds of services.
const (
	ServiceModel ServiceKind = "model" // numbers and choices; the strategy decides
	// ServiceLLM gives proposals: with such a service declared, every intent of the instance that increases risk names a live one (EX-3).
	ServiceLLM ServiceKind = "llm"
)

// Service is an external service that a strategy may ask, through ctx.submit_compute and nothing else (EX-2, SB-3).
type Service struct {
	Name           string // the task's name
	Kind           ServiceKind
	URL            string // http or https, with the port left out where it is the scheme's; "" = Unix
	Unix           string // socket, as written: relative to the deployment's folder, or absolute
	Path           string // request target over the unix socket
	RequestSchema  string // file of the package
	ResponseSchema string // file of the package; "" = that of proposals, for ServiceLLM
	Timeout        time.Duration
	MaxBytes       int64   // of the request and of the response
	PerSecond      float64 // requests
}

// Host is host:port of the URL; "" for a unix socket.
func (s Service) Host() string {
	u, err := url.Parse(s.URL)
	if s.URL == "" || err != nil {
		return ""
	}
	return withPort(u.Host, u.Scheme)
}

// withPort completes a host with the port of the scheme.
func withPort(host, scheme string) string {
	if host == "" || strings.Contains(host, ":") {
		return host
	}
	if scheme == "https" {
		return host + ":443"
	}
	return host + ":80"
}

// Reach says what kind of addresses an allowed host may have. Link-local, multicast and metadata addresses are refused under each.
type Reach string

// The reaches.
const (
	ReachPublic   Reach = "public"
	ReachPrivate  Reach = "private"  // also those of private networks
	ReachLoopback Reach = "loopback" // only those of this machine
)

// AllowedService is the host's word on one place that services may be at. What no entry allows is refused (SB-3, AD-5).
type AllowedService struct {
	Host      string // host:port; "" = Unix
	Unix      string // absolute
	Reach     Reach
	Secret    string // name in [secrets]; only the proxy gets its value
	Header    string // the header that carries it
	Prefix    string // what stands before it in the header
	CA        string // file of certificates instead of the system's; "" = the system's
	PerSecond float64
}

// InstanceService is a service as deployed: what the package declares, where it is, and what the host says to it.
type InstanceService struct {
	Service
	Socket   string // absolute path; "" = by URL
	Allowed  AllowedService
	Secret   SecretRef // zero = none
	Request  []byte    // JSON Schema
	Response []byte    // JSON Schema
}

// services binds the [[service]] tables of a strategy.
func (w *walker) services(root section, c *Capabilities) []Service {
	var out []Service
	for _, s := range root.tables("service") {
		one := Service{
			Name: s.str("name"), Kind: ServiceKind(s.str("kind")), URL: s.str("url"), Unix: s.str("unix"), Path: s.str("path"),
			RequestSchema: s.str("request_schema"), ResponseSchema: s.str("response_schema"), Timeout: s.millis("timeout_ms"),
			MaxBytes: s.num("max_bytes"), PerSecond: s.float("per_second"),
		}
		if slices.ContainsFunc(out, func(o Service) bool { return o.Name == one.Name && one.Name != "" }) {
			w.add(CodeDuplicate, s.at("name"), fmt.Sprintf("the service %s is declared twice", quote(one.Name)), "remove one")
		}
		w.checkService(s, one)
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil
	}
	at := root.table("capabilities").at("external")
	for i, one := range out {
		host := one.Host()
		if len(c.External) > 0 && host != "" && !slices.ContainsFunc(c.External, func(e string) bool { return e == host || withPort(e, "https") == host || withPort(e, "http") == host }) {
			w.add(CodeConflict, index("service", i)+".url", fmt.Sprintf("%s is not in capabilities.external", quote(host)), "add it there, at "+at+", or remove capabilities.external: then the services' own hosts are the list")
		}
	}
	if !slices.ContainsFunc(c.Events, func(k ipc.EventKind) bool { return k == ipc.KindComputeResult }) && w.ok("capabilities.events") {
		w.add(CodeConflict, "capabilities.events", "compute_result is not subscribed to, so no answer of a service would ever arrive", `add "compute_result"`)
	}
	return out
}

// checkService makes the checks that concern several values of a table.
func (w *walker) checkService(s section, one Service) {
	switch {
	case (one.URL == "") == (one.Unix == "") && w.ok(s.at("url"), s.at("unix")):
		w.add(CodeConflict, s.at("url"), "a service needs exactly one of url and unix", `write url = "https://models.example/v1/score", or unix = "run/model.sock"`)
	case one.URL != "":
		if problem := checkURL(one.URL); problem != "" {
			w.add(CodeFormat, s.at("url"), fmt.Sprintf("%s %s", quote(one.URL), problem), `write it like "https://models.example:8443/v1/score"`)
		}
		if s.given["path"] {
			w.add(CodeConflict, s.at("path"), "a url holds its path already", "remove path")
		}
	}
	if one.ResponseSchema == "" && one.Kind != ServiceLLM && w.ok(s.at("kind"), s.at("response_schema")) {
		w.add(CodeMissing, s.at("response_schema"), "a model needs a response_schema: what it may not say is refused", `add response_schema = "schemas/response.json"`)
	}
}

// checkURL says what is wrong with a service's address beyond its form.
func checkURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "is no URL"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "has a port outside 1 to 65535"
		}
	}
	return ""
}

// allowedServices binds [[policy.service]].
func (w *walker) allowedServices(s section, base string) []AllowedService {
	var out []AllowedService
	for _, t := range s.tables("service") {
		one := AllowedService{Host: t.str("host"), Unix: under(base, t.str("unix")), Reach: Reach(t.str("reach")), Secret: t.str("secret"),
			Header: t.str("header"), Prefix: t.str("prefix"), CA: under(base, t.str("ca")), PerSecond: t.float("per_second")}
		switch {
		case (one.Host == "") == (one.Unix == "") && w.ok(t.at("host"), t.at("unix")):
			w.add(CodeConflict, t.at("host"), "exactly one of host and unix is needed", `write host = "models.example:443", or unix = "run/model.sock"`)
		case one.Host != "" && !strings.Contains(one.Host, ":"):
			w.add(CodeFormat, t.at("host"), quote(one.Host)+" names no port", fmt.Sprintf("write %q", one.Host+":443"))
		case slices.ContainsFunc(out, func(o AllowedService) bool { return o.Host == one.Host && o.Unix == one.Unix }):
			w.add(CodeDuplicate, t.at("host"), "the same place is allowed twice", "remove one")
		}
		if one.Unix != "" && len(one.Unix) > maxSocketPath {
			w.add(CodeRange, t.at("unix"), fmt.Sprintf("the socket's path has %d bytes: %s", len(one.Unix), quote(one.Unix)), fmt.Sprintf("use a path of at most %d bytes", maxSocketPath))
		}
		out = append(out, one)
	}
	return out
}

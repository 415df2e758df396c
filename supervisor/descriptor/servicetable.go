package descriptor

// The forms of what a service is addressed by.
var (
	reServiceURL  = formOf(`^https?://[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,256})?$`)
	reServicePath = formOf(`^/[A-Za-z0-9._~/-]{0,256}$`)
	reHeader      = formOf(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
	rePrefix      = formOf(`^[A-Za-z0-9._-]{0,32} ?$`)
	reTaskName    = formOf(`^[a-z][a-z0-9_.-]{0,63}$`)
)

// MaxServiceBytes bounds request and response of a service: both travel in an answer's or a delivery's frame.
const MaxServiceBytes = 60 << 10

// serviceRow is [[service]] of strategy.toml.
func serviceRow() prop {
	p := list("service", "External services that it may ask with ctx.submit_compute(NAME, …): the only way out (SB-3, EX-2). The answer comes as compute_result, or compute_unavailable with a reason. The host must allow each place in [[policy.service]] of msup.toml.",
		prop{kind: aTable, props: []prop{
			need(withExample(str("name", "What submit_compute calls it.", reTaskName, "must be of the form [a-z][a-z0-9_.-]*, at most 64 characters"), `"fair_value"`)),
			choice("kind", "model: the strategy decides what an answer means. llm: answers are proposals, and every intent of the instance that increases risk must name a live one (EX-3).", string(ServiceModel), string(ServiceModel), string(ServiceLLM)),
			withExample(str("url", "Where it is asked by HTTP, by POST. Its host must be on the host's list, and is resolved once, at the start.", reServiceURL, "must be http(s)://host[:port]/path in lower case, without query, user or fragment"), `"https://models.example/v1/score"`),
			pathRow("unix", "Where it is asked by HTTP over a unix socket; relative to the folder of msup.toml.", `"run/model.sock"`),
			defaulted(withExample(str("path", "Path of the request over a unix socket.", reServicePath, "must begin with / and hold letters, digits and . _ ~ - /"), `"/score"`), "/"),
			need(withExample(str("request_schema", "JSON Schema of the request, a file of the package; no free text.", reInside, "must be a file inside the package"), `"schemas/request.json"`)),
			withExample(str("response_schema", "JSON Schema of the response, a file of the package; no free text. Only kind = \"llm\" may leave it out: then it is that of proposals alone.", reInside, "must be a file inside the package"), `"schemas/response.json"`),
			integer("timeout_ms", "ms", "From the connection to the whole response.", int64(2000), 1, 120000),
			integer("max_bytes", "bytes", "Size of the request, and of the response.", int64(16<<10), 2, MaxServiceBytes),
			{name: "per_second", kind: aFloat, unit: "requests/s", doc: "Requests; more are refused with SERVICE_RATE. A burst may hold as many as a second.", def: 1.0, min: 0.001, max: 1000, ranged: true},
		}}, 0, 16)
	return p
}

// allowedServiceRow is [[policy.service]] of msup.toml.
func allowedServiceRow() prop {
	return list("service", "Places that services of strategies may be at; none = none (SB-3). Redirects are never followed.", prop{kind: aTable, props: []prop{
		withExample(str("host", "Host and port, as in the service's url.", reHost, "must be a host name with a port"), `"models.example:443"`),
		pathRow("unix", "A unix socket; relative to this file.", `"run/model.sock"`),
		choice("reach", "What addresses the host may resolve to: public; private, also those of private networks; loopback, only this machine's. Link-local, multicast and metadata addresses never.", string(ReachPublic), string(ReachPublic), string(ReachPrivate), string(ReachLoopback)),
		withExample(str("secret", "Name in [secrets] of what the service wants to be shown. Only the proxy gets it.", reConfigName, "must be of the form [a-z][a-z0-9_]*, at most 64 characters"), `"model_key"`),
		defaulted(withExample(str("header", "The header that carries the secret.", reHeader, "must be the name of a header"), `"Authorization"`), "Authorization"),
		defaulted(withExample(str("prefix", "What stands before the secret in the header.", rePrefix, "must be one word, perhaps with a space behind it"), `"Bearer "`), ""),
		pathRow("ca", "Certificates to trust instead of the system's, PEM.", `"ca.pem"`),
		{name: "per_second", kind: aFloat, unit: "requests/s", doc: "The most that one instance may ask for.", def: 1000.0, min: 0.001, max: 1000, ranged: true},
	}}, 0, 256)
}

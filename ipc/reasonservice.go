package ipc

// serviceReasons are what can become of a request to an external service, and of an intent that rests on its proposals (EX-2, EX-3).
var serviceReasons = []Reason{
	{
		ReasonServiceNotAllowed, ReasonRefuse, "A strategy declares an external service at a place that the host does not allow, or that resolves to an address which is never allowed.",
		"The message names the place and the entry of policy.service in msup.toml that would allow it; add it only for a service that you know.",
	},
	{
		ReasonServiceSchemaUnsafe, ReasonRefuse, "The schema of a service's request or response would let free text through, or no end of something.",
		"The message names the field: give every string an enum, or a maxLength with a format or an anchored pattern; give every array maxItems.",
	},
	{
		ReasonServiceRequestInvalid, ReasonWarn, "What the strategy wanted to send to a service does not fit its request_schema; nothing was sent.",
		"Compare what the strategy builds with the schema in its package; the log names the place in the document.",
	},
	{
		ReasonServiceRate, ReasonWarn, "The strategy asked a service more often than per_second allows; the request was not sent.",
		"Ask less often, or raise per_second in strategy.toml within the host's policy.",
	},
	{
		ReasonServiceUnreachable, ReasonWarn, "A service could not be connected to, or ended the connection before it had answered.",
		"See whether the service runs and listens at its place; if the log says that the request was sent, it may have been carried out.",
	},
	{
		ReasonServiceTimeout, ReasonWarn, "A service did not answer in full within timeout_ms.",
		"See what the service is busy with; raise timeout_ms in strategy.toml if it needs the time. The request may have been carried out.",
	},
	{
		ReasonServiceTooLarge, ReasonWarn, "A service's request, response or response headers are larger than allowed; reading stopped there.",
		"Find out why the service says so much; raise max_bytes in strategy.toml only if it is meant to.",
	},
	{
		ReasonServiceRedirected, ReasonWarn, "A service answered with a redirect, which is never followed.",
		"Name the service's final address in strategy.toml, and allow it in msup.toml.",
	},
	{
		ReasonServiceStatus, ReasonWarn, "A service answered with another HTTP status than 200.",
		"The log has the status; look into the service's own log.",
	},
	{
		ReasonServiceMalformed, ReasonWarn, "A service's answer is no HTTP, no application/json, or is cut off.",
		"See whether something else listens at the service's place; if not, mend the service.",
	},
	{
		ReasonServiceResponseInvalid, ReasonWarn, "A service's response does not fit its response_schema; the strategy gets nothing of it.",
		"The log names the place in the document; compare the service's version with the schema in the package.",
	},
	{
		ReasonServiceProxyLost, ReasonWarn, "The walled process that talks to a service ended, or broke its protocol; the next request gets a new one.",
		"If it repeats, treat the service as hostile: remove its entry of policy.service, and report what the log says.",
	},
	{
		ReasonProposalMissing, ReasonWarn, "An intent that increases risk names no live proposal, although the strategy declares an llm service; it was refused.",
		"Pass proposal= with the id of a proposal from the service's last answers; reducing a position needs none.",
	},
	{
		ReasonProposalExceeded, ReasonWarn, "An intent goes beyond the proposal that it names: another instrument or side, or more than what is left of its largest quantity; it was refused.",
		"Stay within the proposal; what earlier intents took of it counts.",
	},
	{
		ReasonProposalRefused, ReasonWarn, "A proposal of a service was not taken: its id is in use, its instrument is unknown, or too many are live.",
		"The log names it; have the service give every proposal an id of its own.",
	},
}

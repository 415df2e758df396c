package descriptor

// DeploymentFileName is the usual name of a deployment.
const DeploymentFileName = "msup.toml"

// DefaultBot and DefaultInstance are used where a deployment names none.
const (
	DefaultBot      = "default"
	DefaultInstance = "main"
)

// optional takes the defaults from rows: what is absent is inherited.
func optional(rows []prop) []prop {
	out := make([]prop, len(rows))
	for i, p := range rows {
		p.example = literal(&rows[i])
		p.def = nil
		out[i] = p
	}
	return out
}

func pathRow(name, doc, example string) prop {
	return withExample(str(name, doc, rePath, "must be a path of at most 1000 characters"), example)
}

func idRow(name, doc, example string) prop {
	return withExample(str(name, doc, reStrategyID, "must be of the form [a-z][a-z0-9_-]*, at most 64 characters"), example)
}

func overrideRows() []prop {
	return []prop{
		{name: "config", kind: aMap, doc: "Configuration values; they are checked against the strategy's schema (HR-1). Decimals go in quotes.",
			elem: &prop{kind: aScalar, example: "12"}, pattern: reConfigName, hint: "must be of the form [a-z][a-z0-9_]*, at most 64 characters", example: "{ fast = 12 }"},
		{name: "resources", kind: aTable, doc: "Ceilings other than the descriptor's, within the host policy.", props: optional(resourceRows())},
		{name: "risk", kind: aTable, doc: "Parts of the default risk_context other than the descriptor's.", props: optional(riskRows())},
	}
}

func globsRow(doc string) prop {
	p := glob("instruments", doc)
	p.def = nil
	return p
}

func instanceRow() prop {
	return prop{kind: aTable, props: append([]prop{
		need(withExample(str("id", "Names the instance (DM-2).", reInstanceID, "must be of letters, digits and . _ : @ + -, at most 128 characters"), `"eurusd"`)),
		globsRow("Globs on the instruments of this instance; absent = those of the strategy entry."),
	}, overrideRows()...)}
}

func strategyRow() prop {
	return prop{kind: aTable, props: append([]prop{
		need(pathRow("package", "Folder of the package, relative to this file, or the hash of a package in the store.", `"examples/ema_cross"`)),
		defaulted(idRow("bot", "The bot that it belongs to.", `"default"`), DefaultBot),
		withExample(str("hash", "Expected package hash; another one is refused (AD-3).", reHash, "must be 64 lower-case hex characters"), `"`+zeros64+`"`),
		choice("isolation", "Least isolation; the strictest of this, the descriptor's and the host policy's counts.", string(IsolationAuto), isolationNames...),
		globsRow("Globs on the instruments, within the descriptor's capabilities; absent = all that it may have."),
		choice("shard", "instrument: one instance for every matching instrument, named after it. Only for instance_model = \"sharded\".", nil, "instrument"),
		list("instance", "The instances, one table each. Absent = one called main, or what shard makes.", instanceRow(), 0, 1024),
	}, overrideRows()...)}
}

const zeros64 = "0000000000000000000000000000000000000000000000000000000000000000"

// deploymentTable is the schema of msup.toml.
var deploymentTable = prop{kind: aTable, name: DeploymentFileName, props: []prop{
	{name: "run", kind: aTable, doc: "Settings of the run.", props: []prop{
		choice("durability", "power: survives a power cut. process: survives kill -9. none: research only, refused with an execution socket.", string(DurabilityPower), string(DurabilityPower), string(DurabilityProcess), string(DurabilityNone)),
		pathRow("state_dir", "Folder of ledger, checkpoints and package store.", `"state"`),
		integer("seed", "", "Seed of every instance's random numbers (NN-7).", int64(0), 0, 1<<53),
		choice("approval", "auto: policy approves. external: J or E approves (GT-7).", string(ApprovalAuto), string(ApprovalAuto), string(ApprovalExternal)),
		pathRow("instruments", "Instruments file; absent = the built-in table.", `"instruments.toml"`),
	}},
	{name: "policy", kind: aTable, doc: "What the host allows.", props: []prop{
		choice("minimum_isolation", "Less is refused.", string(IsolationAuto), isolationNames...),
		boolean("allow_l0", "Whether strategies may share one process.", false),
		boolean("require_signature", "Whether packages must be signed by a trusted key (BC-U).", false),
		defaulted(list("trusted_keys", "ed25519 public keys, base64.", prop{kind: aString, pattern: reEd25519Key, hint: "must be 32 bytes in base64", example: `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`}, 0, 64), []string{}),
		integer("max_instances", "instances", "Instances of the whole deployment.", int64(256), 1, 4096),
		allowedServiceRow(),
		ladderRow("The most lenient ladders of violations that a descriptor may have: no window shorter, no rung later (SB-7); absent = any."),
		{name: "max", kind: aTable, doc: "Largest allowed value of each ceiling of [resources]; absent = the largest that a descriptor can ask for.", props: optional(resourceRows())},
	}},
	{name: "boundary", kind: aTable, doc: "Unix sockets towards the neighbours, relative to this file; absent = not connected.", props: []prop{
		pathRow("market", "H.", `"run/market.sock"`),
		pathRow("execution", "I.", `"run/execution.sock"`),
		pathRow("risk", "J and E.", `"run/risk.sock"`),
	}},
	{name: "secrets", kind: aMap, doc: "References to secrets, never values. Strategies get none of them.", pattern: reConfigName, example: `{ venue_key = { env = "VENUE_KEY" } }`,
		hint: "must be of the form [a-z][a-z0-9_]*, at most 64 characters",
		elem: &prop{kind: aTable, secret: true, props: []prop{
			withExample(str("env", "Name of an environment variable.", reEnvName, "must be of the form [A-Za-z_][A-Za-z0-9_]*"), `"VENUE_KEY"`),
			pathRow("file", "A file that nobody else can read.", `"/etc/msup/venue_key"`),
		}, extra: map[string]any{"minProperties": 1, "maxProperties": 1}}},
	list("bot", "Bots, one table each; absent = those that the strategies name.", prop{kind: aTable, props: []prop{
		need(idRow("id", "Names the bot.", `"default"`)),
		choice("approval", "Who approves this bot's intents; absent = as in [run].", nil, string(ApprovalAuto), string(ApprovalExternal)),
	}}, 0, 256),
	need(list("strategy", "Strategies, one table each.", strategyRow(), 1, 1024)),
}}

# The Go modules and Rust crates that go.sum and Cargo.lock name, fetched so that building needs no network.
# Sourced by scripts/setup.

setup_modules() {
	local digest crate=wasmsdk/Cargo.lock locks=(go.mod go.sum)
	if [ -f "$crate" ]; then
		locks+=("$crate")
	fi
	digest=$(cat "${locks[@]}" | sha256sum | cut -d' ' -f1)
	if [ "$(cat build/modules.stamp 2>/dev/null)" = "$digest" ]; then
		say "Go modules and Rust crates: fetched"
		return
	fi
	say "fetching Go modules and Rust crates"
	if ! scripts/with-env go mod download >build/modules.log 2>&1; then
		tail -n 15 build/modules.log >&2
		fail "could not fetch the Go modules (all that go said is in build/modules.log)" \
			"mend what it names (often the network or GOPROXY), then run this again"
	fi
	if [ -f "$crate" ] && ! scripts/with-env cargo fetch --locked --manifest-path wasmsdk/Cargo.toml >build/crates.log 2>&1; then
		tail -n 15 build/crates.log >&2
		fail "could not fetch the Rust crates (all that cargo said is in build/crates.log)" \
			"mend what it names (often the network, or Cargo.lock behind Cargo.toml), then run this again"
	fi
	echo "$digest" >build/modules.stamp
}

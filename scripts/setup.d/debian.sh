# The few things that come from the distribution's own packages. Sourced by scripts/setup.

# One line each: package, how to see that it is there, what for.
debian_needs() {
	cat <<-'END'
		gcc|cc --version|compiles SQLite into msup (cgo) and links Rust
		libc6-dev|echo '#include <stdlib.h>' / cc -E -xc - -o /dev/null|headers for the same
		make|make --version|runs the targets of the Makefile
		git|git --version|the fresh-clone test
		curl|curl --version|fetches Go
		ca-certificates|test -s /etc/ssl/certs/ca-certificates.crt|checks whom it fetches from
		python3|python3 --version|Python strategies
		python3-venv|python3 -c 'import ensurepip, venv'|.venv
	END
}

setup_debian() {
	local package probe why missing=() reasons=()
	while IFS='|' read -r package probe why; do
		# A pipe inside a probe is written as a slash between spaces: the table's separator is the pipe.
		if ! sh -c "${probe// \/ / | }" >/dev/null 2>&1 </dev/null; then
			missing+=("$package")
			reasons+=("$package ($why)")
		fi
	done < <(debian_needs)
	if [ ${#missing[@]} -eq 0 ]; then
		say "system packages: all there"
		return
	fi

	local list="${missing[*]}"
	if ! command -v apt-get >/dev/null || ! grep -qE '^ID(_LIKE)?=.*debian' /etc/os-release 2>/dev/null; then
		fail "missing: $(printf '%s; ' "${reasons[@]}")" \
			"install them with this system's package manager (the names are Debian's), then run this again"
	fi
	if [ "$(id -u)" -ne 0 ]; then
		fail "missing: $(printf '%s; ' "${reasons[@]}")" \
			"sudo apt-get update && sudo apt-get install --no-install-recommends $list   then run this again"
	fi
	say "installing Debian packages: $list"
	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get -qq update && apt-get -qq -y install --no-install-recommends "${missing[@]}"; } >build/apt.log 2>&1; then
		tail -n 15 build/apt.log >&2
		fail "apt-get could not install: $list (all it said is in build/apt.log)" \
			"mend what it names (often the network or /etc/apt/sources.list), then run this again"
	fi
}

# The few things that come from the distribution's own packages. Sourced by scripts/setup.

# What nothing goes without. One line each: package, how to see that it is there, what for.
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

# Without these msup builds and runs strategies in processes, but none in containers, or make test fails.
# containerd brings runc, which is named because it is the one that must not be missing.
debian_wants() {
	cat <<-'END'
		containerd|PATH=$PATH:/usr/sbin:/sbin containerd --version|runs containers
		runc|PATH=$PATH:/usr/sbin:/sbin runc --version|the same
		mmdebstrap|mmdebstrap --version|makes the image that containers start from
		strace|strace --version|lets the tests make system calls of the ledger fail
		stress-ng|stress-ng --version|strains the sandboxes in tests/hostile
	END
}

# debian_missing TABLE: fills missing and reasons with the packages of a table that are not there.
debian_missing() {
	local package probe why
	missing=() reasons=()
	while IFS='|' read -r package probe why; do
		# A pipe inside a probe is written as a slash between spaces: the table's separator is the pipe.
		if ! sh -c "${probe// \/ / | }" >/dev/null 2>&1 </dev/null; then
			missing+=("$package")
			reasons+=("$package ($why)")
		fi
	done < <("$1")
}

setup_debian() {
	local missing reasons needed needs wanted
	debian_missing debian_needs
	needed=("${missing[@]}") needs=$(printf '%s; ' "${reasons[@]}")
	debian_missing debian_wants
	wanted=("${missing[@]}")
	if [ $((${#needed[@]} + ${#wanted[@]})) -eq 0 ]; then
		say "system packages: all there"
		return
	fi

	local debian=true all=("${needed[@]}" "${wanted[@]}")
	command -v apt-get >/dev/null && grep -qE '^ID(_LIKE)?=.*debian' /etc/os-release 2>/dev/null || debian=false
	if $debian && [ "$(id -u)" -eq 0 ]; then
		install_debian "${all[@]}"
		return
	fi
	local how="sudo apt-get update && sudo apt-get install --no-install-recommends ${all[*]}   then run this again"
	$debian || how="install them with this system's package manager (the names are Debian's), then run this again"
	if [ ${#needed[@]} -gt 0 ]; then
		fail "missing: $needs" "$how"
	fi
	say "going on without: $(printf '%s; ' "${reasons[@]}")"
	say "  without containers strategies run in processes; make test needs all of them. To have them: $how"
}

# install_debian PACKAGE…: as root.
install_debian() {
	say "installing Debian packages: $*"
	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get -qq update && apt-get -qq -y install --no-install-recommends "$@"; } >build/apt.log 2>&1; then
		tail -n 15 build/apt.log >&2
		fail "apt-get could not install: $* (all it said is in build/apt.log)" \
			"mend what it names (often the network or /etc/apt/sources.list), then run this again"
	fi
}

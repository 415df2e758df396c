# Go: the machine's own where it is new enough, else a pinned one in msup's cache. Sourced by scripts/setup.

# go_release DIR-OR-EMPTY: the dotted version of a go command, empty when there is none or it does not run.
# GOTOOLCHAIN=local, and outside the tree, so that an old go is seen as old and fetches nothing.
go_release() { (cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) | sed -n 's/^go\([0-9][0-9.]*\).*/\1/p'; }

setup_go() {
	local have own="$toolchains/go$go_version-$goarch"
	have=$(go_release go || true)
	if [ -n "$have" ] && at_least "$have" "$go_oldest"; then
		say "Go $have: the machine's own"
		return
	fi
	if [ -x "$own/bin/go" ] && [ "$(go_release "$own/bin/go")" = "$go_version" ]; then
		say "Go $go_version: from $own"
	else
		install_go "$own" "${have:-none}"
	fi
	path_dirs+=("$own/bin")
}

# go_urls NAME: where the toolchain's zip may be had: the proxies of GOPROXY in their order, then its origin.
go_urls() {
	local proxy=${GOPROXY:-} entry
	if [ -z "$proxy" ] && command -v go >/dev/null; then
		proxy=$(cd / && GOTOOLCHAIN=local go env GOPROXY 2>/dev/null || true)
	fi
	for entry in $(printf '%s' "${proxy:-https://proxy.golang.org,direct}" | tr ',|' '  '); do
		case "$entry" in
		off) return ;;
		direct) echo "https://go.dev/dl/mod/golang.org/toolchain/@v/$1" ;;
		*) echo "${entry%/}/golang.org/toolchain/@v/$1" ;;
		esac
	done
}

install_go() {
	local own=$1 name="v0.0.1-go$go_version.linux-$goarch" want_var="go_sha256_$goarch" url sum part tried=""
	local want=${!want_var}
	part=$(mktemp -d "$toolchains/go.partial.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf '$part'" EXIT
	say "Go: the machine has $2, $go_oldest or newer is needed; fetching $go_version (75 MB)"
	for url in $(go_urls "$name.zip"); do
		tried="$tried $url"
		curl -fsSL --connect-timeout 20 --retry 2 -o "$part/go.zip" "$url" || continue
		sum=$(sha256sum "$part/go.zip" | cut -d' ' -f1)
		if [ "$sum" = "$want" ]; then
			break
		fi
		say "Go: what $url sent has SHA-256 $sum, not the pinned $want: thrown away"
		rm -f "$part/go.zip"
	done
	if [ ! -f "$part/go.zip" ]; then
		fail "could not fetch Go $go_version${tried:+; tried:$tried}" \
			"install Go $go_oldest or newer from https://go.dev/dl/ and put it on PATH, or set GOPROXY to a reachable module proxy"
	fi
	python3 -m zipfile -e "$part/go.zip" "$part/unpacked"
	local tree="$part/unpacked/golang.org/toolchain@$name"
	# Module zips carry no permissions: the commands are marked executable as the go command itself does it.
	chmod 755 "$tree"/bin/* "$tree"/pkg/tool/*/*
	rm -rf "$own"
	mv "$tree" "$own"
	rm -rf "$part"
	trap - EXIT
	[ "$(go_release "$own/bin/go")" = "$go_version" ] ||
		fail "the Go unpacked into $own does not run on this machine" "remove that folder and install Go $go_oldest or newer from https://go.dev/dl/"
	say "Go $go_version: installed into $own"
}

# Rust, with the target for Wasm: the machine's own where it is new enough, else Debian trixie's in msup's
# cache. Sourced by scripts/setup.
#
# Why trixie's: rustup's installer is a download without a signature that a script could check, while
# Debian's archive key, which every Debian 12 machine holds, signs trixie's packages as well. They are
# unpacked beside, never installed: the machine's own package database is not touched.

rust_release() { { "$1" --version 2>/dev/null || true; } | sed -n 's/^[a-z]* \([0-9][0-9.]*\).*/\1/p'; }

setup_rust() {
	local have own="$toolchains/rust-$rust_suite-$rust_version-$goarch"
	# Outside the tree: a rustup override of the current folder is not the machine's Rust.
	have=$(cd / && rust_release cargo)
	if [ -n "$have" ] && at_least "$have" "$rust_oldest" && at_least "$(cd / && rust_release rustc)" "$rust_oldest"; then
		say "Rust $have: the machine's own"
		rust_components
		setup_wasm "$own"
		return
	fi
	if rust_works "$own"; then
		say "Rust $(rust_release "$own/bin/cargo"): from $own"
	else
		install_rust "$own" "${have:-none}"
	fi
	path_dirs+=("$own/bin")
	say "$wasm_target: that Rust has it"
}

# setup_wasm OWN: sees that strategies in Rust can be compiled to Wasm where the machine's own Rust is new
# enough. Through rustup, where it can download; otherwise with Debian's Rust in the cache, which has the
# target and is used for nothing else: host code stays with the machine's compiler. scripts/wasm-cargo picks.
setup_wasm() {
	local own=$1
	if wasm_works rustc; then
		say "$wasm_target: the machine's Rust has it"
		return
	fi
	if ! wasm_works "$own/bin/rustc" && command -v rustup >/dev/null; then
		say "$wasm_target: adding it through rustup"
		# A network that swallows packets would hold rustup up for ever.
		if timeout 300 rustup target add "$wasm_target" >build/rustup.log 2>&1 && wasm_works rustc; then
			return
		fi
		say "$wasm_target: rustup could not add it ($(tail -n 1 build/rustup.log)); all it said is in build/rustup.log"
	fi
	if rust_works "$own"; then
		say "$wasm_target: with Rust $(rust_release "$own/bin/cargo") from $own"
	else
		install_rust "$own" "none for $wasm_target"
	fi
	wasm_rust=$own
}

# wasm_works RUSTC: whether that compiler finds the target's standard library.
wasm_works() {
	local libdir
	libdir=$(cd / && "$1" --print target-libdir --target "$wasm_target" 2>/dev/null) || return 1
	[ -n "$(find "$libdir" -maxdepth 1 -name 'libstd-*.rlib' -print -quit 2>/dev/null)" ]
}

# rust_components sees that the linters are there; rustup adds them, other installations must have them.
rust_components() {
	if cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1; then
		return
	fi
	if command -v rustup >/dev/null; then
		say "Rust: adding clippy and rustfmt through rustup"
		rustup component add clippy rustfmt >build/rustup.log 2>&1 && return
		tail -n 5 build/rustup.log >&2
	fi
	fail "cargo clippy or cargo fmt is missing, which make check runs" \
		"rustup component add clippy rustfmt (or the packages rust-clippy and rustfmt of your distribution)"
}

# The compiler, its standard libraries and linters, the linker for Wasm, and the shared libraries they load.
# gcc, which links the machine's own code, and libc's headers are the machine's own.
rust_packages=(
	cargo rustc rust-clippy rustfmt libstd-rust-$rust_version libstd-rust-dev libstd-rust-dev-wasm32 lld-19 libllvm19
	libc6 libgcc-s1 libstdc++6 zlib1g libzstd1 libz3-4 libxml2 liblzma5 libffi8 libedit2 libtinfo6 libbsd0 libmd0
	libcurl4t64 libssl3t64 libgit2-1.9 libssh2-1t64 libsqlite3-0 libnghttp2-14 libnghttp3-9 libpsl5t64
	libidn2-0 libunistring5 librtmp1 libgnutls30t64 libnettle8t64 libhogweed6t64 libgmp10 libp11-kit0 libtasn1-6
	libbrotli1 libldap2 libsasl2-2 libdb5.3t64 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0
	libcom-err2 libkeyutils1 libhttp-parser2.9 libmbedcrypto16 libmbedx509-7 libmbedtls21 libpcre2-8-0
)

rust_works() {
	[ -n "$(rust_release "$1/bin/cargo")" ] && [ -n "$(rust_release "$1/bin/rustc")" ] &&
		"$1/bin/clippy-driver" --version >/dev/null 2>&1 && "$1/bin/rustfmt" --version >/dev/null 2>&1 &&
		wasm_works "$1/bin/rustc" && "$1/bin/rust-lld" -flavor wasm --version >/dev/null 2>&1
}

install_rust() {
	local own=$1 part keys=/usr/share/keyrings/debian-archive-keyring.gpg
	local elsewhere="install Rust $rust_oldest or newer with clippy and rustfmt (https://rustup.rs) and put it on PATH"
	command -v apt-get >/dev/null && command -v dpkg >/dev/null && [ -r "$keys" ] ||
		fail "the machine has Rust $2, $rust_oldest or newer is needed, and only Debian's can be fetched here" "$elsewhere"
	say "Rust: the machine has $2, $rust_oldest or newer is needed; fetching Debian $rust_suite's $rust_version (220 MB, 700 MB unpacked)"
	part=$(mktemp -d "$toolchains/rust.partial.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf '$part'" EXIT
	mkdir -p "$part"/apt/{lists/partial,cache/archives/partial,sources.d,debs}
	: >"$part/apt/status"
	cat >"$part/apt/apt.conf" <<-END
		Dir::State::Lists "$part/apt/lists";
		Dir::State::status "$part/apt/status";
		Dir::Cache "$part/apt/cache";
		Dir::Etc::SourceList "/dev/null";
		Dir::Etc::SourceParts "$part/apt/sources.d";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		APT::Sandbox::User "$(id -un)";
		Acquire::Languages "none";
	END
	cat >"$part/apt/sources.d/rust.sources" <<-END
		Types: deb
		URIs: ${MSUP_DEBIAN_MIRROR:-http://deb.debian.org/debian}
		Suites: $rust_suite
		Components: main
		Signed-By: $keys
	END
	if ! (
		export APT_CONFIG="$part/apt/apt.conf"
		apt-get -q -o APT::Update::Error-Mode=any update && cd "$part/apt/debs" && apt-get -q download "${rust_packages[@]}"
	) >build/rust.log 2>&1; then
		tail -n 15 build/rust.log >&2
		fail "could not fetch Rust from Debian $rust_suite (all that apt said is in build/rust.log)" \
			"$elsewhere, or name a mirror in MSUP_DEBIAN_MIRROR"
	fi
	local deb
	for deb in "$part"/apt/debs/*.deb; do
		dpkg -x "$deb" "$part/tree"
	done
	rm -rf "$part/apt"
	# The same package brings two other Wasm targets, 200 MB that nothing here compiles for.
	find "$part/tree/usr/lib/rustlib" -maxdepth 1 -name 'wasm32-*' ! -name "$wasm_target" -exec rm -rf {} +
	# The wrappers hold absolute paths: they are written for the place where the tree will stand.
	wrap_rust "$part/tree" "$own"
	rm -rf "$own"
	mv "$part/tree" "$own"
	rm -rf "$part"
	trap - EXIT
	rust_works "$own" || fail "the Rust unpacked into $own does not run on this machine" "remove that folder and $elsewhere"
	say "Rust $(rust_release "$own/bin/cargo"): installed into $own"
}

# wrap_rust TREE PLACE: trixie's programs want trixie's C library, so each is started through trixie's
# loader. --library-path, not LD_LIBRARY_PATH, which would leak into gcc. The loader is copied beside the
# wrappers because a program started this way takes the loader's folder for its own, and cargo-clippy
# looks for clippy-driver there; for the same reason cargo must be told its own name.
wrap_rust() {
	local tree=$1 place=$2 name program extra
	mkdir -p "$tree/bin"
	cp -L "$tree/usr/lib/$triplet/$loader" "$tree/bin/ld.so"
	for name in cargo rustc rustdoc rustfmt clippy-driver cargo-clippy cargo-fmt rust-lld; do
		extra="" program=$place/usr/bin/$name
		case "$name" in
		rustc) extra="--sysroot $(printf %q "$place/usr") " ;;
		rust-lld) program=$place/usr/lib/llvm-19/bin/lld ;;
		esac
		{
			echo '#!/bin/sh'
			if [ "$name" = cargo ]; then
				printf 'export CARGO=%q\n' "$place/bin/cargo"
			fi
			printf 'exec %q --library-path %q --argv0 %q %q %s"$@"\n' "$place/bin/ld.so" "$place/usr/lib/$triplet" \
				"$place/bin/$name" "$program" "$extra"
		} >"$tree/bin/$name"
		chmod 755 "$tree/bin/$name"
	done
}

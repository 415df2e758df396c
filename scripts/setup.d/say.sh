# How set-up talks. Sourced by scripts/setup.

say() { printf 'setup: %s\n' "$*"; }

# fail CAUSE REMEDY: says what is wrong and what to do about it, and ends the run.
fail() {
	printf 'setup: %s\n' "$1" >&2
	printf 'setup: what to do: %s\n' "$2" >&2
	exit 1
}

# at_least HAVE WANT: whether dotted version HAVE is WANT or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# What later commands need to find all this. Sourced by scripts/setup.

# write_env leaves what scripts/with-env reads: the folders that make's recipes put first on PATH.
write_env() {
	local dir
	{
		echo "# Written by scripts/setup. Use: . build/env.sh"
		printf 'export PATH=%q' "$root/.venv/bin"
		for dir in ${path_dirs[@]+"${path_dirs[@]}"}; do
			printf ':%q' "$dir"
		done
		# shellcheck disable=SC2016
		echo ':"$PATH"'
		printf 'export VIRTUAL_ENV=%q\n' "$root/.venv"
		echo 'export GOTOOLCHAIN=local'
		if [ -n "$wasm_rust" ]; then
			printf 'export MSUP_WASM_RUST=%q\n' "$wasm_rust"
		fi
	} >build/env.sh
}

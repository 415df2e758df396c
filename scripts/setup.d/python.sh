# .venv: the pinned Python tools, and the SDK installed from this tree. Sourced by scripts/setup.

python_release() { { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true; }; }

find_python() {
	local name have
	for name in ${MSUP_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
		have=$(python_release "$name")
		if [ -n "$have" ] && at_least "$have" "$python_oldest" && "$name" -c 'import ensurepip, venv' 2>/dev/null; then
			echo "$name"
			return
		fi
	done
}

setup_python() {
	local python have digest
	# The .venv of an earlier run may head PATH; it must not be made from itself.
	python=$(PATH=${PATH//"$root/.venv/bin:"/} find_python)
	have=$(python_release "${MSUP_PYTHON:-python3}")
	[ -n "$python" ] || fail "no Python $python_oldest or newer with its venv module (${MSUP_PYTHON:-python3} is ${have:-missing})" \
		"install one (Debian 12: apt-get install python3 python3-venv) and, if it is not python3, name it in MSUP_PYTHON"
	python=$(PATH=${PATH//"$root/.venv/bin:"/} command -v "$python")
	have=$(python_release "$python")

	digest="$have $(realpath "$python") $(sha256sum requirements-dev.txt | cut -d' ' -f1)"
	if [ "$(cat .venv/msup-tools 2>/dev/null)" = "$digest" ] && [ -x .venv/bin/python ]; then
		say "Python $have: .venv has the pinned tools"
	else
		say "Python $have: making .venv with the tools pinned in requirements-dev.txt"
		rm -rf .venv
		"$python" -m venv .venv
		pip_install "the tools of requirements-dev.txt" --require-hashes --only-binary=:all: -r requirements-dev.txt
		echo "$digest" >.venv/msup-tools
	fi
	setup_sdk
}

# setup_sdk installs the SDK as a link into the tree, so that whatever runs, tests and sandboxed strategies
# alike, runs the tree and never a copy that is a day old. That a copy would be whole is the fresh-clone
# test's business.
setup_sdk() {
	local digest
	digest=$(sha256sum pyproject.toml | cut -d' ' -f1)
	if [ "$(cat .venv/msup-sdk 2>/dev/null)" = "$digest" ]; then
		say "Python SDK: .venv has the tree's"
		return
	fi
	say "Python SDK: linking this tree's into .venv"
	pip_install "the SDK of this tree" --no-build-isolation --no-deps --editable .
	# Beside the package it would be found a second time.
	rm -rf pysdk/*.egg-info
	echo "$digest" >.venv/msup-sdk
}

# pip_install WHAT ARGUMENTS…
pip_install() {
	local what=$1
	shift
	if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" >build/pip.log 2>&1; then
		tail -n 15 build/pip.log >&2
		fail "pip could not install $what (all it said is in build/pip.log)" \
			"mend what it names (often the network or PIP_INDEX_URL), then run this again"
	fi
}

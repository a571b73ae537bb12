# shellcheck shell=bash
# Sourced by the other scripts: make_environment makes .venv and installs the package there, at the pinned versions.
#
# PYTHON=/path/to/python selects the interpreter. The default is the newest suitable one on PATH.

# shellcheck source=launch/_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/_common.sh"
venv="$root/.venv"
oldest=3.11
newest=3.13 # TensorFlow has no wheels for later versions

# Prints an interpreter's version as "3.12" if it is one that the package supports; fails otherwise.
suitable_version() {
  "$1" - "$oldest" "$newest" 2>/dev/null <<'PYTHON'
import sys

oldest, newest = (tuple(map(int, text.split("."))) for text in sys.argv[1:])
if not oldest <= sys.version_info[:2] <= newest:
    sys.exit(1)
print("%d.%d" % sys.version_info[:2])
PYTHON
}

find_python() {
  local candidate version best="" best_minor=0
  if [ -n "${PYTHON:-}" ]; then
    suitable_version "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not a Python $oldest to $newest"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11; do
    version="$(suitable_version "$candidate")" || continue
    if [ "${version#3.}" -gt "$best_minor" ]; then
      best="$candidate"
      best_minor="${version#3.}"
    fi
  done
  [ -z "$best" ] || printf '%s\n' "$best"
}

# Makes an empty environment with pip, with whatever this machine has: venv, virtualenv or uv.
create_venv() {
  local python="$1"
  say "making $venv${python:+ with $python}"
  if [ -z "$python" ]; then
    command -v uv >/dev/null ||
      fail "no Python $oldest to $newest on PATH; install one, or set PYTHON=/path/to/python"
    say "no Python $oldest to $newest on PATH: installing one with uv"
    uv venv --quiet --clear --seed --python "$newest" "$venv" >&2 || fail "uv could not make $venv"
  elif "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$python" -m venv --clear "$venv" || fail "$python could not make $venv"
  elif "$python" -c 'import virtualenv' 2>/dev/null; then
    "$python" -m virtualenv --quiet --clear "$venv" >&2 || fail "virtualenv could not make $venv"
  elif "$python" -c 'import venv, pip' 2>/dev/null; then
    # Debian packages ensurepip separately. pip 22.3 and later can install into an environment without pip.
    "$python" -m venv --clear --without-pip "$venv" || fail "$python could not make $venv"
    "$python" -m pip --python "$venv/bin/python" install --quiet pip || fail "pip could not install into $venv"
  else
    fail "$python cannot make an environment; on Debian or Ubuntu: sudo apt-get install python3-venv"
  fi
}

# Shows the progress in pip's output: on a terminal one line that is overwritten, otherwise a line now and then.
show_progress() {
  local terminal=0
  [ ! -t 2 ] || terminal=1
  awk -v terminal="$terminal" '
    function show(text) {
      if (terminal) printf "\r\033[K  %s", substr(text, 1, 76)
      else if (text != shown && count % 25 == 1) printf "  %s\n", text
      shown = text
      fflush()
    }
    /^ *(Collecting|Obtaining) / { count++; show(count " packages looked up: " $2) }
    /^ *(Downloading|Using cached) / { if (terminal) show($0) }
    /^ *Collecting nvidia-/ && !warned {
      warned = 1
      printf "\n  note: torch installs CUDA here, several GB; CONTRIBUTING.md says how to use its CPU build\n"
    }
    /^Installing collected packages/ { count = 1; show("unpacking") }
    END { if (terminal) printf "\r\033[K" }
  ' >&2
}

# make_environment [EXTRA]: makes $venv with the package and its commands. Does nothing if it is up to date.
make_environment() {
  local extra="${1:-}" python current stamp log
  current="$(suitable_version "$venv/bin/python" || true)"
  if [ -z "$current" ] || [ -n "${PYTHON:-}" ]; then
    python="$(find_python)"
    if [ -z "$current" ] || [ "$current" != "$(suitable_version "$python")" ]; then
      create_venv "$python"
    fi
  fi
  stamp="$("$venv/bin/python" --version) $(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)"
  if [ "$(cat "$venv/.installed-${extra:-package}" 2>/dev/null)" = "$stamp" ]; then
    return
  fi
  log="$venv/install.log"
  say "installing t2c-jax${extra:+ with its $extra extra} (a few minutes the first time)"
  if ! "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-compile \
    --constraint "$root/constraints.txt" --editable "$root${extra:+[$extra]}" 2>&1 | tee "$log" | show_progress; then
    tail -n 20 "$log" >&2
    fail "the installation failed; the whole log: $log"
  fi
  # On all cores, where pip uses one. A few packages have files that are no valid Python.
  "$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || true
  printf '%s\n' "$stamp" >"$venv/.installed-package"
  printf '%s\n' "$stamp" >"$venv/.installed-${extra:-package}"
}

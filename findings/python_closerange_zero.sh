#!/usr/bin/env bash
# os.closerange(n, 0), an empty range, closes every descriptor from n on.
#
# Versions:  CPython 3.11; 3.10, 3.12 and 3.13 do the same, 3.9 does not. Linux with close_range(2), 5.9 or later.
# Behaviour: The documentation says that the range ends before its second argument, so closerange(0, 0) should close
#            nothing. The last descriptor is computed as 0 - 1 and passed on as an unsigned number, which is the largest
#            there is. Code that closes the gaps between descriptors that it keeps, beginning before descriptor 0, loses
#            all of them. Other empty ranges, such as (5, 5), close nothing.
# Output:    closerange(5, 5): open
#            closerange(0, 0): closed
#            closerange(3, 0): closed
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import os

found = []
for first, end in ((5, 5), (0, 0), (3, 0)):
    child = os.fork()
    if not child:
        high = os.dup2(os.open(os.devnull, os.O_RDONLY), 50)
        os.closerange(first, end)
        try:
            os.fstat(high)
        except OSError:
            os._exit(1)
        os._exit(0)
    state = "closed" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) else "open"
    print(f"closerange({first}, {end}): {state}")
    found.append(state)
assert found == ["open", "closed", "closed"], "changed: os.closerange treats an empty range otherwise"
PYTHON

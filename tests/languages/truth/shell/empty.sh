#!/bin/sh
#
empty() { echo 1; }

# shellcheck disable=SC2034
only_directive() { echo 2; }

# ----------
line() { echo 3; }

#!/usr/bin/env bash
# bash refuses an array with an escaped quote within a command substitution, which it reads outside of one.
#
# Versions:  bash 5.2.15, the system's own; the script needs a bash 5.2.
# Behaviour: a=(\') assigns a quote. Within $(...) the same text is an unterminated string: the backslash does not
#            count. echo \' within $(...) is read. So a grammar whose substitutions hold any command accepts what
#            "bash -n" refuses.
# Output:    a=(\'): 0
#            echo $(echo \'): 0
#            echo $(a=(\')): 1
#            echo $(a=("'")): 0
set -euo pipefail
case "$BASH_VERSION" in 5.2.*) ;; *) echo "bash $BASH_VERSION is not 5.2" >&2; exit 2 ;; esac
found=""
while IFS= read -r command; do
  status=0
  printf '%s\n' "$command" | "$BASH" --norc -n 2>/dev/null || status=$?
  echo "$command: $status"
  found+="$status"
done <<'COMMANDS'
a=(\')
echo $(echo \')
echo $(a=(\'))
echo $(a=("'"))
COMMANDS
[ "$found" = 0010 ] || { echo "changed: statuses $found" >&2; exit 1; }

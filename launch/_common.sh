# shellcheck shell=bash
# Sourced by the other scripts: messages, quoting, options, and which exit statuses restart a run.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
dry_run=false
arguments=()

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 2
}

# Prints one command line that a shell parses into exactly these words.
quote() {
  local word line=""
  for word in "$@"; do
    case "$word" in
      '' | *[!A-Za-z0-9_./:=,@%+-]*) word="'${word//\'/\'\\\'\'}'" ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

run() {
  if $dry_run; then quote "$@"; else "$@"; fi
}

# options "VALUED..." "SWITCH..." WORD...: parses the words. --tpu-type x sets tpu_type, --spot sets spot=true, and
# the words after -- become arguments. The calling script defines the function usage.
options() {
  local valued=" $1 " switches=" $2 " option
  shift 2
  while [ $# -gt 0 ]; do
    case "$1" in
      --)
        shift
        # shellcheck disable=SC2034 # for the script that sources this
        arguments=("$@")
        return
        ;;
      --help | -h)
        usage
        exit 0
        ;;
      --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;; # --name=x as --name x
    esac
    case "$1" in
      *[!a-z-]* | '' | -- | [!-]* | -[!-]*) option='?' ;;
      *) option="${1#--}" ;;
    esac
    case "$valued|$switches" in
      *" $option "*"|"*)
        [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value; see --help"
        printf -v "${option//-/_}" %s "$2"
        shift 2
        ;;
      *"|"*" $option "*)
        printf -v "${option//-/_}" true
        shift
        ;;
      *) fail "unknown argument '$1'; arguments for t2c run come after --; see --help" ;;
    esac
  done
}

# check_config FILE: the file has to be in the checkout, which is copied to the machines.
check_config() {
  case "/$1/" in
    //* | */../*) fail "--config $1 is not inside this checkout; give a path relative to its root" ;;
  esac
  [ -f "$root/$1" ] || fail "--config $1 is not a file of this checkout"
}

# check_count OPTION VALUE [LEAST]
check_count() {
  local least="${3:-1}"
  [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] && [ "$2" -ge "$least" ] || fail "$1 has to be an integer of at least $least, not $2"
}

check_command() {
  $dry_run || command -v "$1" >/dev/null || fail "$1 is not on PATH; $2"
}

# should_restart STATUS: whether a run that ended with this status is restarted. Yes: it saved and asks for it (75, or
# 143 after SIGTERM), or it was killed. No: done (0), an error (1), a user error (2) or Ctrl-C (130).
should_restart() { [ "$1" -eq 75 ] || { [ "$1" -ge 128 ] && [ "$1" -ne 130 ]; }; }

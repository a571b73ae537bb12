find . -name "*.py" -type f -exec grep -l 'import os' {} \; | sort -u

find / -maxdepth 3 \( -name '*.c' -o -name "*.h" \) ! -path './build/*' -print0 | xargs -0 -I{} cp {} "$dest"/

find "$dir" -type f -mtime +30 -size +10M -delete 2>/dev/null || true

tar czf - src/ --exclude='*.o' | ssh user@host "cat > /tmp/src-$(date +%F).tgz"

for f in *.txt; do mv -- "$f" "${f%.txt}.md"; done

for i in {1..10} a b; do echo $i; done > out.txt 2>&1

for arg do shift; set -- "$@" "${arg#-}"; done

for ((i = 0; i < ${#list[@]}; i++)); do printf '%s\n' "${list[i]}"; done

for ((;;)) do break; done

for x
do
  echo "$x"
done

for file in $(ls -1 | sort) `cat names`
do
  # a comment with a quote: it's fine
  wc -l "$file"   # lines
  test -s "$file" || continue
done

while IFS=: read -r user _ uid rest; do (( uid > 1000 )) && echo "$user"; done < /etc/passwd

while true; do sleep 1; done &

until ping -c1 -W1 "$host" &> /dev/null
do sleep $((2 ** tries++)); done

if [ -f "$1" ] && [ ! -L "$1" ]; then rm -f -- "$1"; elif [[ -d $1 ]]; then rmdir "$1"; else echo none >&2; exit 1; fi

if ! grep -qE '^(a|b)+$' <<< "$line"; then :; fi

if cmp -s <(sort a) <(sort b); then echo same; fi

case "$1" in
  start|--start) run & ;;
  (stop) kill "$pid" ;;
  -[a-z]*) opts+=("$1");;
  *) echo "usage: ${0##*/} start|stop" >&2
     exit 2
esac

case $x in a) ;; b) echo b ;& c) echo c ;;& *) ;; esac

case $(uname) in Linux) echo 1;; esac | cat

select choice in yes no; do case $choice in yes) break;; no) exit;; esac; done

f() { local x=$1 y; echo "$x"; }

function greet { echo "hello, ${1:-world}"; } > log

function g() ( cd /tmp && ls )

usage()
{
  printf "%s\n" 'a' "b"
}
usage "$@"

{ date; uptime; } | tee -a "$log" >/dev/null

( cd "$dir" && make -j"$(nproc)" ) || exit 1

(echo a; (echo b) ; { echo c; })

[[ -n $a && ! -e "$b" || ( $c == *.gz && $d != [0-9]* ) ]] && echo ok

[[ $line =~ ^([a-z]+)=(.*)$ ]] && echo "${BASH_REMATCH[1]}"

[[ $v =~ ^[0-9]+(\.[0-9]+)?$ ]] || echo "not a number"

[[ $a -lt 3 ]] ; [[ $a < $b ]]; [[ f1 -nt f2 ]]

[[ $x ]] && [[ -z ${y-} ]] && [[ "$a b" = "c d" ]]

(( x = y > 3 ? 1 : 0, z += 0x1F << 2 )); (( !done )) && (( i-- ))

echo $((1 + 2 * (3 - $n) % ${#name})) $(( a[i] + b[$j] ))

echo "$(( $(wc -l < f) / 2 ))" "$((x++))"

arr=(one "two words" $three 'four' [7]=seven "${other[@]}"); echo "${arr[@]:1:2}" "${!arr[@]}" ${#arr[*]}

declare -A map=([key]=value [k2]="v 2"); map[k3]=x; unset 'map[key]'

list+=("$item") ; name[0]=first; total[$i]+=3

export PATH=$PATH:/opt/bin LANG=C; readonly limit=5

LC_ALL=C sort -t, -k2,2n -- "$f" | uniq -c | sort -rn | head -n 20

a=1 b="two" c='three' d=$(pwd) e=`hostname`

x= y=; z=~/bin

time -p make -s 2>&1 | tail -5

time { sleep 1; sleep 2; }

! grep -q x f

! { true && false; }

cat < in > out 2>> err; cat <in >out; exec 3>&1 4<&0 5<>file; exec 3>&-

ls -l &>> all.log; ls &>/dev/null; ls >| forced; >empty

2>/dev/null ls nothing >&2

cmd1 |& tee log && cmd2 ; cmd3 & cmd4

awk -F'\t' '{ s += $3; if ($1 ~ /^x/) { print $1, "a\"b" } } END { print s }' data.tsv

sed -e 's/\(foo\)/[\1]/g' -e "s|$from|$to|" -i.bak *.conf

sed -n '/start/,/end/p;$!d' f | tr -d '\r\n' | cut -d' ' -f1-3

perl -pe 's/(\d+)/$1*2/ge; $_ = "x" unless /\S/' f

python3 -c 'import sys; print(sys.argv[1:])' "$@"

echo "nested: $(echo "inner $(echo 'deep "quotes"') ${x:-"a b"}") done"

echo "a\"b\\c\$d\`e" 'single "double"' $'tab\tquote\' \u00e9' $"translated $x"

echo \"escaped\ space\" \$HOME \# not\ a\ comment a#b

echo ${x} ${x:-y} ${x-} ${x:=z} ${x:?message here} ${x:+alt} ${x#*/} ${x##*/} ${x%.*} ${x%%.*}

echo "${x/a/b}" ${x//\//_} "${x/#pre/}" ${x/%post} ${x^^} ${x,,} ${x^} ${x@Q} ${!prefix@} ${!ref}

echo "${x: -3}" ${x:2} ${x:$n:${#y}} ${*:2} "$*" $# $? $! $$ $- $0 ${10} $_

echo ${arr[$((i+1))]} "${arr["$k"]}" ${arr[-1]} ${map[a b]}

printf "%s\n" "$@" | while read -r l; do echo "> $l"; done

ps aux | grep -v grep | awk '/nginx/ {print $2}' | xargs -r kill -9

du -sh -- */ .[!.]* 2>/dev/null | sort -h

rsync -avz -e "ssh -p 2222" --delete ./ "user@host:/srv/$name/"

diff <(ssh h1 'ls /etc') <(ssh h2 "ls /etc") > >(tee d.txt) 2> >(cat >&2)

ls -l `which python` | cut -d" " -f1

echo "today is `date +%A`, `whoami`"

n=`expr $n + 1`; kill `ps -ef | grep "[n]ginx" | awk '{print $2}'`

cp {a,b}.{c,h} /tmp/{x..z}/; mkdir -p src/{main,test}/{java,resources}

ls 2>/dev/null [a-c]*.[!o] ~user/*.txt

ls *.txt~ a=b --opt=val -x=y +x @file %1 ^a ,b :c .hidden /abs ./rel ../up [ ] { } ! = == if then done in time

echo one \
  two \
  "three" | \
  cat

test -f a -a -f b && echo both \
  || echo not

curl -sS -H "Accept: application/json" "https://example.com/api?q=1&r=2" | jq -r '.[] | select(.x > 1) | .name'

git log --pretty=format:'%h %an' --since="2 weeks ago" -- '*.py'

crontab -l | { cat; echo "0 5 * * * /path/job"; } | crontab -

trap 'rm -rf "$tmp"' EXIT INT; set -euo pipefail

eval "$(ssh-agent -s)" && ssh-add ~/.ssh/id_rsa

[ "$a" = "b" -o $c -gt 3 ] && echo yes; [ -z "$x" ] ; test ! -d y

"$cmd" "${args[@]}"; $cmd $args; ./run.sh; /usr/bin/env -i bash

'quoted command' x; \ls; "a"b'c'$d

chmod u+x,go-w file && chown -R user:group "$dir"/ && umask 022

bc <<< "scale=2; 10/3"; cat <<< $x; read -r a b <<< "$(stat -c '%s %Y' f)"; bc <<< 5

while read -r a; do echo "$a"; done < <(find . -type d)

if true; then
  for i in 1 2; do
    while :; do
      case $i in
        1) { echo one; } ;;
        *) break 2
      esac
    done
  done
fi

#!/bin/bash
# a script
set -e
main() {
  local -a files=()
  while getopts "ab:" opt; do
    case "$opt" in
      a) all=1 ;;
      b) base="$OPTARG" ;;
      \?) return 1 ;;
    esac
  done
  shift $((OPTIND - 1))
  files=( "$@" )
  [[ ${#files[@]} -gt 0 ]] || return
  echo "${files[*]}"
}

main "$@"

yes | head -c 100 > f; : > f; true; false || :

echo $ a$ "$" "a$" "$ 5" a$. "100%" ~ - -- x$

x=$(<file); y="$(cat file)"; z=$( (echo a; echo b) | wc -l )

echo é "ü ñ" 'ß' 日本 # ünïcode

export A="x" B='y'; env A=1 B=2 cmd; sudo -u www bash -c 'echo "$HOME"'

find . -type f | while read f; do n=$(basename "$f" .txt); [ -e "$n" ] || { echo "$n"; continue; }; done

(sleep 5; echo done) & wait $!; jobs -l; fg %1

ssh "$h" <<< 'uptime' ; ssh -t host 'cd /x; exec $SHELL'

echo "${a:-${b:-$(echo c)}}" ${x:+-v "$x"} ${y:-'single q'}

grep -rn --include=\*.{c,h} -e "a\|b" -e 'c[^d]' . | sed 's/:.*//' | sort | uniq -d

if [ $# -lt 1 ] ; then echo "Usage: $0 <file>" ; exit ; fi

seq 1 5 | paste -sd+ - | bc; printf '%03d\n' {1..3}

while sleep 1; do clear; date; done; until false; do break; done

# git: the same repository made on the spot twice, then cloned, repacked with threads, collected and checked.
. "$(dirname "$0")/common.bash"
need git
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 LC_ALL=C
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='2020-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
history() { "$1" git log --stat --patch --format='%H %T %s'; }
make_repository() { # plain or preloaded
	"$1" git init -q -b main . && "$1" git config gc.auto 0 || return 1
	for i in $(seq 120); do
		mkdir -p "d$((i % 7))"
		for f in 1 2 3; do seq "$((i * f))" "$((i * f + 1500))" >"d$((i % 7))/file$f"; done
		echo "$i" >"only-$i"
		"$1" git add -A && "$1" git commit -q -m "commit $i" || return 1
	done
	"$1" git checkout -q -b side HEAD~60 && echo side >side && "$1" git add side && "$1" git commit -q -m side &&
		"$1" git checkout -q main && "$1" git merge -q -m merge side
}
for how in plain preloaded; do
	mkdir "$work/$how"
	(cd "$work/$how" && make_repository $how && history $how) >"$work/log.$how" || fail "making the repository, $how"
done
same log
preloaded git clone -q --no-local "$work/preloaded" "$work/clone" || fail "clone"
cd "$work/clone" || fail "clone"
preloaded git repack -qadf --threads=4 --depth=50 --window=50 || fail "repack"
preloaded git fsck --full --strict || fail "fsck"
preloaded git gc -q --aggressive --prune=now || fail "gc"
preloaded git grep -c --threads=4 1234 >"$work/grep.preloaded" || fail "grep"
plain git grep -c --threads=4 1234 >"$work/grep.plain"
same grep
history preloaded >"$work/log.preloaded"
same log
plain git fsck --full --strict || fail "fsck without the library"
finish

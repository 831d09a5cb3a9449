# git: a repository made on the spot, cloned, repacked with threads and checked.
. "$(dirname "$0")/common.bash"
need git
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a
export GIT_COMMITTER_EMAIL=a@example.org GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
make_repository() { # through "$@"
	"$@" git init -q -b main . || return 1
	for i in $(seq 60); do
		for f in 1 2 3 4 5; do seq "$((i * f))" "$((i * f + 2000))" >"file$f"; done
		"$@" git add -A && "$@" git commit -q -m "commit $i" || return 1
	done
	"$@" git log --stat --format='%H %s'
}
(mkdir "$work/plain" && cd "$work/plain" && make_repository env) >"$work/log.plain" || fail "without the library"
(mkdir "$work/over" && cd "$work/over" && make_repository preloaded) >"$work/log.preloaded" || fail "committing"
same log
preloaded timeout 100 git clone -q "$work/over" "$work/clone" || fail "clone"
cd "$work/clone" || fail "clone"
preloaded timeout 100 git repack -qadf --threads=4 --depth=50 --window=50 || fail "repack"
preloaded timeout 100 git fsck --full --strict || fail "fsck"
preloaded git log --stat --format='%H %s' >"$work/log.preloaded"
same log
finish

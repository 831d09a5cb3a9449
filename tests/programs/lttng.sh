# lttng-tools, a program built on liburcu (flavour memb) and malloc, moved to qslab: Debian's source, the patch
# lttng/free_rcu.patch, linked with libqslab-malloc. Its own 1016 unit tests pass, and its session daemon takes
# thousands of triggers that come and go, each of which retires objects. Why this program, and what it gains:
# include/qslab/README.md. Needs the network for the source.
. "$(dirname "$0")/common.bash"
here=$(readlink -f "$(dirname "$0")")/lttng
version=2.13.9-1+deb12u1
[ -n "${QSLAB_SOAK:-}" ] || skip "it builds the program, for minutes: tools/check --soak, or QSLAB_SOAK=1"
need apt-get; need dpkg-source; need make; need cc; need pkg-config
pkg-config --exists popt libxml-2.0 liburcu || skip "no headers of popt, libxml2, liburcu"
cd "$work" || exit 1
quiet() { timeout -k 5 400 "$@" >log 2>&1 || { tail -5 log; fail "$*"; }; }

mkdir -p apt/lists/partial apt/cache/archives/partial
echo 'deb-src http://deb.debian.org/debian bookworm main' >sources.list
options=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/apt/lists"
	-o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
timeout 120 apt-get "${options[@]}" update >log 2>&1 &&
	timeout 120 apt-get "${options[@]}" source --only-source ltt-control=$version >log 2>&1 ||
	skip "no source of ltt-control $version from Debian's archive"
cd ltt-control-* || exit 1
quiet patch -p1 -i "$here/free_rcu.patch"

quiet ./configure --without-lttng-ust --disable-man-pages --disable-static "--with-lttng-system-rundir=$work/run" \
	CFLAGS='-O1 -Wno-unused-result' "CPPFLAGS=-I$here/../../../include" LIBS=-lqslab-malloc \
	"LDFLAGS=-L$(dirname "$library") -Wl,-rpath,$(dirname "$library")"
for folder in src tests/utils/tap tests/utils tests/unit; do
	quiet make -s -j2 -C $folder
done

# its own tests
timeout -k 5 400 make -C tests/unit check >log 2>>"$work/stderr" || { grep '^FAIL' log | head; fail "make check"; }
grep -qE '^# PASS: +[1-9]' log && grep -qE '^# FAIL: +0$' log || fail "make check: no counts"
grep '^# PASS' log

# a load
export LTTNG_HOME=$work LTTNG_SESSION_CONFIG_XSD_PATH=$PWD/src/common/config/ RETIRED_FILE=$work/retired
client=$PWD/src/lib/lttng-ctl/.libs
quiet cc -Iinclude "$here/triggers.c" -o triggers "-L$client" "-Wl,-rpath,$client:$(dirname "$library")" -llttng-ctl \
	"-L$(dirname "$library")" -lqslab-malloc
quiet cc -shared -fPIC "-I$here/../../../include" "$here/report.c" -o report.so
LD_PRELOAD=$PWD/report.so src/bin/lttng-sessiond/lttng-sessiond --no-kernel >log 2>>"$work/stderr" &
server=$!
children+=("$server")
for ((i = 0; i < 100; i++)); do
	timeout 60 ./triggers 1 >/dev/null 2>&1 && break
	sleep 0.2
done
check_mapped "$server"
timeout -k 5 300 ./triggers 5000 || fail "the load: status $?"
kill "$server"
( sleep 60; kill -9 "$server" ) >/dev/null 2>&1 & killer=$!
wait "$server"
status=$?
kill $killer 2>/dev/null
[ $status -eq 0 ] || fail "lttng-sessiond ended with status $status"
read -r retired waiting < <(sort -n "$RETIRED_FILE" | tail -1)
echo "$retired objects retired by lttng-sessiond, $waiting still waiting at its end"
[ "$retired" -ge 10000 ] && [ "$waiting" -eq 0 ] || fail "two for each trigger were to be retired, and free again"
grep -v 'tracing group\|PERROR.*open files' "$work/stderr" >"$work/rest"
mv "$work/rest" "$work/stderr"
finish

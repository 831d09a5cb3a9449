# The Debian packages: cpack makes three, their dependencies are right, and what they bring works from a root of its
# own: the tool, a program built against it, the manual, the licences.
. "$(dirname "$0")/../programs/common.bash"
here=$(readlink -f "$(dirname "$0")")
limit=500
need cpack
need dpkg-shlibdeps
need dpkg-deb
need man
cd "$work" || exit 1
quiet() { timeout -k 5 "$limit" "$@" >log 2>&1 || { tail -30 log; fail "$*"; }; }

quiet cmake -S "$here/../.." -B build -DCMAKE_INSTALL_PREFIX=/usr -DQSLAB_TESTS=OFF -DCMAKE_BUILD_TYPE=Release
quiet cmake --build build -j2
cd build || exit 1
(umask 077 && quiet cpack -G DEB) || exit 1
version=$(bin/qslab --version | cut -d' ' -f2)
machine=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
cd "$work" || exit 1

field() { dpkg-deb --field "$1" "$2"; }
depends() { field "$1" Depends | grep -qE "(^|, )$2" || fail "$1 does not depend on $2: $(field "$1" Depends)"; }
for package in libqslab0 qslab libqslab-dev; do
	file=build/${package}_${version}_$machine.deb
	[ -s "$file" ] || fail "no $file: $(ls build/*.deb)"
	mv "$file" $package.deb
	[ "$(field $package.deb Package)" = $package ] || fail "$package: another name inside"
	[ -n "$(field $package.deb Maintainer)" ] && [ -n "$(field $package.deb Description)" ] || fail "$package: fields"
	dpkg-deb --extract $package.deb root-$package
	for notice in copyright THIRD-PARTY.md; do
		[ -s root-$package/usr/share/doc/$package/$notice ] || fail "$package: no $notice"
	done
	zcat root-$package/usr/share/doc/$package/changelog.gz | grep -q '^# Changes' || fail "$package: no change log"
	dpkg-deb --contents $package.deb | grep -v '^[-dl]rw[-x]r.[-x]r.[-x] \|^lrwxrwxrwx ' && fail "$package: not for everybody to read"
	dpkg-deb --extract $package.deb root || fail "$package: does not extract"
done
depends libqslab0.deb 'liburcu8( |,|$)'
depends libqslab0.deb 'libc6 \(>='
depends qslab.deb "libqslab0 \\(= $version\\)"
depends libqslab-dev.deb "libqslab0 \\(= $version\\)"
depends libqslab-dev.deb liburcu-dev
grep -q '^libqslab 0 libqslab0 (>= ' <(dpkg-deb --ctrl-tarfile libqslab0.deb | tar -xO ./shlibs) || fail "no shlibs"
[ -e "root-libqslab0/usr/lib/$multiarch/libqslab.so.0" ] && [ ! -e "root-libqslab0/usr/lib/$multiarch/libqslab.so" ] ||
	fail "the link for the linker belongs to libqslab-dev"

# from its own root
lib=$work/root/usr/lib/$multiarch
[ "$(timeout 60 root/usr/bin/qslab --version)" = "qslab $version" ] || fail "the tool does not run"
timeout 60 root/usr/bin/qslab run -- grep -qF "$lib/libqslab-malloc.so" /proc/self/maps || fail "qslab run"
quiet cc "$here/program.c" -o program "-I$work/root/usr/include" "-L$lib" -lqslab -lurcu-qsbr
LD_LIBRARY_PATH=$lib timeout 60 ./program || fail "a program: status $?"
quiet cc "$here/program.c" -o static "-I$work/root/usr/include" "-L$lib" -l:libqslab.a -lurcu-qsbr -lpthread -ldl
timeout 60 ./static || fail "a program with libqslab.a: status $?"
grep -rl -- "$work" root && fail "what is packed names the folder where it was built"
LD_PRELOAD=$lib/libqslab-malloc.so LD_LIBRARY_PATH=$lib timeout 60 ./program preloaded || fail "preloaded: status $?"
for page in 'qslab(1)' 'qslab_rcu(3)' 'qslab_free_rcu(3)'; do # the last is a page that sends to another
	name=${page%(*} section=${page//[^0-9]/}
	MANPATH=$work/root/usr/share/man timeout 60 man "$section" "$name" 2>&1 | grep -qi "$name" || fail "no manual page: $page"
	[ -s "root/usr/share/man/man$section/$name.$section.gz" ] || fail "$page is not compressed"
done
find root -path '*/man/*' -type f ! -name '*.gz' | grep . && fail "manual pages that are not compressed"

# what dpkg itself thinks of them, in a database and a root that are thrown away, with an ldconfig that only says so
if [ "$(id -u)" -eq 0 ]; then
	mkdir -p admin/updates admin/info target fake && : >admin/status
	printf '#!/bin/sh\necho called >>%s/ldconfig\n' "$work" >fake/ldconfig && chmod +x fake/ldconfig
	private=(env "PATH=$work/fake:$PATH" dpkg "--admindir=$work/admin" "--instdir=$work/target" --force-depends
		--force-script-chrootless --no-triggers "--log=$work/dpkg.log")
	quiet "${private[@]}" --install libqslab0.deb qslab.deb libqslab-dev.deb
	"${private[@]}" --status libqslab0 | grep -q '^Status: install ok installed' || fail "dpkg: not installed"
	[ -s ldconfig ] || fail "dpkg: ldconfig was not called"
	[ -x target/usr/bin/qslab ] || fail "dpkg: no tool"
	quiet "${private[@]}" --purge libqslab-dev qslab libqslab0
	find target -type f -path '*qslab*' | grep . && fail "dpkg: files stay after purge"
fi
finish

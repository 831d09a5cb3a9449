#!/usr/bin/env bash
# probes.sh BUILD_DIR: both libraries carry the USDT probes that perf/README.md documents, and each script of
# perf/scripts parses against them.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(readlink -f "$1")
documented=$(sed -n 's/^| `qslab:\([a-z_]*\)` .*/\1/p' "$root/perf/README.md" | sort)
[ "$(wc -w <<<"$documented")" -ge 15 ] || { echo "perf/README.md documents too few probes"; exit 1; }
for library in libqslab.so libqslab-malloc.so; do
	there=$(readelf -n "$build/lib/$library" | sed -n 's/^ *Name: \([a-z_]*\)$/\1/p' | sort -u)
	[ "$there" = "$documented" ] || { diff <(echo "$documented") <(echo "$there"); echo "$library: other probes"; exit 1; }
done
command -v bpftrace >/dev/null || { echo "skipped: no bpftrace to parse the scripts"; exit 77; }
[ "$(id -u)" -eq 0 ] || { echo "skipped: bpftrace parses for root only"; exit 77; }
for script in "$root"/perf/scripts/*.bt; do
	said=$(timeout 60 bpftrace -d "$script" "$build/lib/libqslab.so" 2>&1) || { echo "$said" | tail -5; echo "$script does not parse"; exit 1; }
	grep -q 'usdt:' <<<"$said" || { echo "$script: no probe found"; exit 1; }
done
echo "passed"

# perl: hashes, strings, regular expressions, sorting; the same output as without the library.
. "$(dirname "$0")/common.bash"
need perl
cat >"$work/script" <<'PERL'
my (%h, @a); srand(1); my $x = 1;
for my $i (1 .. 200000) { $x = ($x * 1103515245 + 12345) % 2147483648; $h{$x % 50000} .= chr(97 + $x % 26) x ($x % 20); push @a, $x; }
for my $k (sort { $a <=> $b } keys %h) { my $v = $h{$k}; (my $w = $v) =~ s/([aeiou])\1+/<$1>/g; print "$k $w\n" if length($v) % 7 == 0; }
print join(",", (sort { $a <=> $b } @a)[0 .. 100]), "\n"; my $s = "x" x 5_000_000; $s =~ tr/x/y/; print length($s . reverse $s), "\n";
PERL
PERL_HASH_SEED=0 perl "$work/script" >"$work/out.plain"
PERL_HASH_SEED=0 preloaded timeout 120 perl "$work/script" >"$work/out.preloaded" || fail "exit status"
same out
finish

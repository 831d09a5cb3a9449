# perl: hashes, arrays, strings, regular expressions, sorting; the same output as without the library.
. "$(dirname "$0")/common.bash"
need perl
cat >"$work/script" <<'PERL'
use strict; use warnings;
my $state = 1;
sub chance { $state = ($state * 1103515245 + 12345) % 2147483648; return $state % $_[0]; }
my (%text, @all, %groups);
for my $i (1 .. 150000) {
	my $key = chance(40000);
	$text{$key} .= chr(97 + chance(26)) x chance(20);
	push @all, chance(1 << 30);
	push @{$groups{chance(500)}}, { id => $i, name => "n$key", parts => [split /(?<=3)/, $key] };
	delete $text{chance(40000)} if $i % 5 == 0;
	splice @all, chance(scalar @all), 1 if $i % 11 == 0;
}
for my $key (sort { $a <=> $b } keys %text) {
	(my $short = $text{$key}) =~ s/([aeiou])\1+/<$1>/g;
	print "$key $short\n";
}
print join(",", sort { $a <=> $b } @all), "\n";
for my $g (sort { $a <=> $b } keys %groups) {
	print "$g: ", join(" ", map { "$_->{name}/@{$_->{parts}}" } sort { $a->{name} cmp $b->{name} || $a->{id} <=> $b->{id} } @{$groups{$g}}), "\n";
}
my $long = join "", map { chr(97 + chance(26)) } 1 .. 500000;
my $vowels = () = $long =~ /[aeiou][^aeiou]{2,5}(?=[aeiou])/g;
$long =~ tr/a-m/A-M/;
print "$vowels ", length($long . reverse $long), " ", unpack("%32C*", $long x 10), "\n";
PERL
export PERL_HASH_SEED=0
plain perl "$work/script" >"$work/out.plain" || fail "without the library"
preloaded perl "$work/script" >"$work/out.preloaded" || fail "exit status $?"
same out
finish

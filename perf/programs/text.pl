# Words, hashes, regular expressions, sorting. ARGV: how many thousand lines.
use strict; use warnings;
my $state = 1;
sub chance { $state = ($state * 1103515245 + 12345) % 2147483648; return ($state >> 8) % $_[0]; }
my @words = map { join "", map { chr(97 + chance(26)) } 1 .. 2 + chance(10) } 1 .. 5000;
my (%count, %follows, @long, $changed);
for my $thousand (1 .. $ARGV[0]) {
	my $text = "";
	for my $line (1 .. 1000) {
		my @line = map { $words[chance(scalar @words)] } 1 .. 4 + chance(16);
		$count{$_}++ for @line;
		push @{$follows{$line[$_ - 1]}}, $line[$_] for 1 .. $#line;
		$text .= join(" ", @line) . "\n";
	}
	$changed += ($text =~ s/\b([aeiou]\w+) (\w+)/$2-\u$1/g);
	push @long, map { { text => $_, parts => [split /[ -]/] } } grep { length > 110 } split /\n/, $text;
	splice @long, chance(scalar @long), 50 if @long > 5000;
	delete $follows{$words[chance(scalar @words)]} for 1 .. 100;
}
print "$changed ", scalar @long, "\n";
print "$_ $count{$_}\n" for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9];
print join(" ", map { $_->{parts}[-1] } (sort { $a->{text} cmp $b->{text} } @long)[0 .. 9]), "\n";

# php: its extensions are loaded with RTLD_DEEPBIND (alloc/deepbind.c); hashes, strings, regular expressions, zlib, iconv,
# with and without its own allocator: the same output as without the library.
. "$(dirname "$0")/common.bash"
need php
[ "$(php -r 'echo extension_loaded("pdo") ? "yes" : "no";' 2>/dev/null)" = yes ] || skip "no extension is loaded"
cat >"$work/script.php" <<'PHP'
<?php
mt_srand(7);
$text = []; $all = [];
for ($i = 0; $i < 100000; $i++) {
	$key = mt_rand(0, 20000);
	$text[$key] = ($text[$key] ?? '') . str_repeat(chr(97 + mt_rand(0, 25)), mt_rand(0, 20));
	$all[] = ['id' => $i, 'name' => "n$key", 'parts' => preg_split('/(?<=3)/', (string)$key)];
	if ($i % 5 == 0) unset($text[mt_rand(0, 20000)]);
}
ksort($text);
$packed = gzcompress(serialize([$text, $all]), 6);
[$again] = unserialize(gzuncompress($packed));
echo strlen($packed), ' ', $again === $text ? 'same' : 'other', ' ', md5(json_encode($all)), "\n";
foreach ($text as $key => $value) echo $key, ' ', preg_replace('/([aeiou])\1+/', '<$1>', $value), "\n";
for ($i = 0; $i < 50; $i++) echo iconv('UTF-8', 'UTF-16', str_repeat("\u{e4}", $i * 1000)) === '' ? 'empty ' : '', hash('sha256', str_repeat('x', $i * 10000)), "\n";
PHP
for own in 1 0; do
	export USE_ZEND_ALLOC=$own
	plain php "$work/script.php" >"$work/out.plain" || fail "without the library"
	preloaded php "$work/script.php" >"$work/out.preloaded" || fail "USE_ZEND_ALLOC=$own: exit status $?"
	same out
done
finish

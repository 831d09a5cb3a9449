#!/usr/bin/env bash
# torture_catches.sh TORTURE: with bugs planted that free early; torture must see it within 60 s, each.
for options in "cookie" "walk --brisk"; do
	said=$(timeout 90 "$1" --seconds 60 --plant $options 2>&1)
	status=$?
	[ $status -eq 1 ] && [[ $said == *"torture: early reuse"* ]] && continue
	echo "not caught: $options: status $status: $said"
	exit 1
done

#!/usr/bin/env bash
# torture_catches.sh TORTURE OPTION, again and again: builds that free early; torture must see it within 60 s, in each.
while [ $# -gt 0 ]; do
	said=$(timeout 90 "$1" --seconds 60 $2 2>&1)
	status=$?
	[ $status -eq 1 ] && [[ $said == *"torture: early reuse"* ]] && { shift 2; continue; }
	echo "not caught: $1: status $status: $said"
	exit 1
done

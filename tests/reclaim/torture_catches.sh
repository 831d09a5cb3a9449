#!/usr/bin/env bash
# torture_catches.sh TORTURE: a build whose cookies are one too low frees early; torture must see it within 30 s.
said=$(timeout 60 "$1" --seconds 30 2>&1)
status=$?
[ $status -eq 1 ] && [[ $said == *"torture: early reuse"* ]] && exit 0
echo "not caught: status $status: $said"
exit 1

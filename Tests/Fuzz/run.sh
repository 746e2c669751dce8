#!/bin/sh
# Fuzzes one decoder: Tests/Fuzz/run.sh NAME [SECONDS] [libFuzzer options…], for example Tests/Fuzz/run.sh HTTP 60.
#
# Tests/Fuzz/NAMEFuzz.swift defines LLVMFuzzerTestOneInput. It imports Wire, or Wire and Engine, and then sees what is
# public or package there; without any import it becomes part of the module Wire itself. Everything is compiled with libFuzzer's coverage and AddressSanitizer into
# .build/fuzz. Inputs worth keeping are collected in .build/fuzz/corpus-NAME; a finding is left in .build/fuzz and the
# last line says how to replay it. Files in Tests/Fuzz/NAME-seeds, if there are any, are the first inputs.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 NAME [SECONDS] [libFuzzer options]" >&2; exit 64; }
name=$1
seconds=${2:-30}
[ $# -ge 2 ] && shift 2 || shift 1
root=$(cd "$(dirname "$0")/../.." && pwd)
entry="$root/Tests/Fuzz/${name}Fuzz.swift"
[ -f "$entry" ] || { echo "there is no $entry" >&2; exit 66; }
out="$root/.build/fuzz"
corpus="$out/corpus-$name"
mkdir -p "$out" "$corpus"
cd "$out"

printf 'module CXXHash { umbrella "%s/Sources/CXXHash/include" export * }\n' "$root" > module.modulemap
clang -O1 -g -fsanitize=address -c "$root/Sources/CXXHash/shim.c" -I "$root/Sources/CXXHash/include" -o shim.o

flags="-O -g -swift-version 6 -parse-as-library -whole-module-optimization -package-name kvd -sanitize=fuzzer,address"
flags="$flags -I $out -Xcc -fmodule-map-file=$out/module.modulemap"
objects="shim.o"
# compile MODULE FILE…: one module and its object.
compile() {
  module=$1
  shift
  # shellcheck disable=SC2086 # the flags are words
  swiftc $flags -module-name "$module" -emit-module -emit-module-path "$out/$module.swiftmodule" -c -o "$module.o" "$@"
  objects="$objects $module.o"
}
# shellcheck disable=SC2046 # no blanks in the names of source files
if ! grep -qE '^import (Wire|Engine)' "$entry"; then
  compile Wire $(find "$root/Sources/Wire" -name '*.swift' | sort) "$entry"
else
  compile Wire $(find "$root/Sources/Wire" -name '*.swift' | sort)
  if grep -q '^import Engine' "$entry"; then
    compile Engine $(find "$root/Sources/Engine" -name '*.swift' | sort)
  fi
  compile "${name}Fuzz" "$entry"
fi
# shellcheck disable=SC2086
swiftc -sanitize=fuzzer,address -parse-as-library $objects -o "fuzz-$name"

seeds="$root/Tests/Fuzz/$name-seeds"
[ -d "$seeds" ] || seeds=
# The sanitizer's own report is wanted, not Swift's backtracer.
export SWIFT_BACKTRACE=enable=no
# shellcheck disable=SC2086
if ! "./fuzz-$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 \
  -artifact_prefix="$out/$name-" "$@" "$corpus" $seeds; then
  echo "replay: SWIFT_BACKTRACE=enable=no $out/fuzz-$name $out/$name-crash-…" >&2
  exit 1
fi

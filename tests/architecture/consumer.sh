#!/usr/bin/env bash
# consumer.sh CMAKE BUILD SOURCE GENERATOR CXX VERSION: installs the build into a fresh folder, then
# builds and runs the little project SOURCE, which knows espalier only by its installed package.
set -euo pipefail
cmake=$1 build=$2 source=$3 generator=$4 cxx=$5 version=$6
prefix=$PWD/prefix

"$cmake" --install "$build" --prefix "$prefix" > install.log
"$cmake" -S "$source" -B build -G "$generator" -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$prefix" > configure.log || { cat configure.log; exit 1; }
"$cmake" --build build

said=$(./build/consumer)
echo "$said"
wanted="espalier $version deals 10 rows to 3 ranks: 4 3 3"
if [ "$said" != "$wanted" ]; then
  echo "the consumer should have said: $wanted"
  exit 1
fi

# The installed program runs from wherever it was installed to.
said=$("$prefix/bin/espalier" --version)
echo "$said"
case $said in
  *"$version"*) ;;
  *) echo "the installed program should have named version $version"; exit 1 ;;
esac
test -x "$prefix/libexec/espalier/espalier-walk"

# What comes with it: scripts, man page, completion, and a module that finds all of it.
said=$("$prefix/bin/espalier" submit --dry-run -n 2 -- verify net.h5)
case $said in
  *$'\n'"command=($prefix/bin/espalier "*) ;;
  *) echo "$said"; echo "the job should run $prefix/bin/espalier"; exit 1 ;;
esac
grep -q '^.TH ESPALIER 1' "$prefix/share/man/man1/espalier.1"
bash -c 'source "$1" && complete -p espalier' bash "$prefix/share/bash-completion/completions/espalier"
modulecmd=$(command -v modulecmd || true)
if [ -n "$modulecmd" ]; then
  code=$(MODULEPATH=$prefix/share/modulefiles "$modulecmd" bash load "espalier/$version")
  # shellcheck disable=SC2016 # the inner shell expands it
  said=$(env -u MANPATH PATH=/usr/bin:/bin bash -c "$code"$'\n''command -v espalier; echo "$MANPATH"')
  echo "$said"
  case $said in
    "$prefix/bin/espalier"*"$prefix/share/man"*) ;;
    *) echo "the module should lead to $prefix"; exit 1 ;;
  esac
fi

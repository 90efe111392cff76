#!/usr/bin/env bash
# Checks on one GPU, at most eight minutes: see README.md. --wheels and --site are for machines without network; the other
# options are those of check.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
wheels='' site='' rest=()
while (($#)); do
    case $1 in
        --wheels) wheels=$2; shift 2 ;;
        --site) site=$2; shift 2 ;;
        *) rest+=("$1"); shift ;;
    esac
done
if [[ $wheels && $site && ! -e $site ]]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
fi
# The folders of the packages, from the settings of the tests.
folders=$("$python" -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["tool"]["pytest"]["ini_options"]["pythonpath"])')
path=''
for folder in $folders; do
    path+=:$PWD/$folder
done
export PYTHONPATH=$site$path${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1
exec "$python" -m benchmarks.gpu.check "${rest[@]}"

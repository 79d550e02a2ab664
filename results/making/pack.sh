#!/bin/sh
# Packs what make.sh left in results/ into ../report/runs.tar.xz, and writes the report of it there.
# Without images, weights and sets: the report needs rows, descriptions, findings and cards.
set -eu
cd "$(dirname "$0")"
(cd results && tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
    --exclude=adv --exclude=png --exclude='*.resume' --exclude='checkpoints/*.safetensors' \
    --exclude='.*' runs doctor checkpoints) | xz -9e > ../report/runs.tar.xz
cd ../report
tar --extract --file runs.tar.xz
fdbench report --results .

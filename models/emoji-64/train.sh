#!/bin/sh
# Trains the model in this folder anew, in the working directory: `vqgen` must be in the PATH, and Python with Pillow.
set -e
here=$(dirname "$0")
run=checkpoints/emoji-64-model
test -f emoji/metadata.jsonl || python3 "$here/images.py" emoji
vqgen run --config "$here/recipe.json" --run "$run"
vqgen pack --run "$run" -o "$here" --discard

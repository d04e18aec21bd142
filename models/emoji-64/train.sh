#!/bin/sh
# Trains the model in this folder anew, in the working directory: `vqgen` must be in the PATH, and Python with Pillow. The
# prior is trained twice, the second time from the first one's weights at a lower learning rate.
set -e
here=$(dirname "$0")
first=checkpoints/emoji-64-first
run=checkpoints/emoji-64-model
test -f emoji/metadata.jsonl || python3 "$here/images.py" emoji
test -f emoji-one-tone/metadata.jsonl || python3 "$here/images.py" emoji-one-tone --one-tone
vqgen train-vqvae --config "$here/recipe.json" --run "$first"
vqgen extract-codes --run "$first" --data emoji-one-tone
vqgen train-prior --run "$first" --data emoji-one-tone --steps 9000 --set prior.learning_rate=0.006 --set prior.dropout=0.1
mkdir -p "$run"
cp "$first/vqvae.safetensors" "$first/codes.safetensors" "$run"
vqgen train-prior --config "$here/recipe.json" --run "$run" --data emoji-one-tone --from "$first"
vqgen pack --run "$run" --data emoji -o "$here" --discard

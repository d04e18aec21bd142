#!/usr/bin/env python3
"""Makes the class folders and the captions beside this script from the npm package named below.

    python3 make.py                    fetch the package with `npm pack`, then (re)write folders and captions
    python3 make.py --package FOLDER   take an unpacked copy of the package instead
    python3 make.py --check            only say whether both are what this script writes

Needs Python 3.9 and, to fetch, npm; nothing else. The images are copied byte for byte: they are never
decoded, so the result does not depend on any imaging library.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "emoji-datasource-google@16.0.0"
IMAGES = "img/google/64"
N_IMAGES = 1911
# SHA-256 over all images in order of their path: "<class>/<file>", a zero byte, the bytes of the file.
FINGERPRINT = "97e3460f4e94bcc32b5b44d2757232b37e3541a0513a70758a64e2675ec4e6eb"
# One JSON object an image, sorted by path: what Hugging Face's imagefolder takes, and vqgen.
CAPTIONS = "metadata.jsonl"
# SHA-256 of that file.
CAPTIONS_FINGERPRINT = "4e79be5df8e68d3999cc0da61ed9cbc0a75628f887933ce8a4befe5587274e72"

# Unicode's category -> the name a user types after --class.
CLASSES = {
    "Smileys & Emotion": "smileys",
    "People & Body": "people",
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Activities": "activities",
    "Objects": "objects",
    "Symbols": "symbols",
    "Flags": "flags",
    # The five skin-tone swatches: too few for a class of their own.
    "Component": "symbols",
}


def fetch(folder):
    """Downloads and unpacks the package into `folder`; returns where its files lie."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = Path(folder).glob("*.tgz")
    with tarfile.open(archive) as tar:
        wanted = [m for m in tar if m.isfile() and (m.name == "package/emoji.json" or f"/{IMAGES}/" in m.name)]
        for member in wanted:
            tar.extract(member, folder)
    return Path(folder) / "package"


def base_emoji(package):
    """Every base emoji: the entries of the list itself, not of their `skin_variations`, with their class."""
    entries = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    for entry in entries:
        if entry["has_img_google"]:
            yield CLASSES[entry["category"]], entry


def captions(entry):
    """The emoji's name, then its short names where these are words: `red heart`, `heart`."""
    is_code = re.compile(r"(flag|man|woman)-|u[0-9a-f]{4}$|[a-z]{2}$|[^a-z]*$").match
    words = [re.sub("[-_]", " ", name) for name in entry["short_names"] if not is_code(name)]
    return list(dict.fromkeys(" ".join(name.split()) for name in [entry["name"].lower(), *words]))


def metadata(package):
    """The text of the captions' file."""
    rows = {f"{name}/{entry['image'].lower()}": captions(entry) for name, entry in base_emoji(package)}
    lines = (json.dumps({"file_name": path, "captions": rows[path]}, ensure_ascii=False) for path in sorted(rows))
    return "".join(f"{line}\n" for line in lines)


def fingerprint(target):
    """The number of images in the class folders, and their fingerprint."""
    paths = sorted(f"{name}/{p.name}" for name in set(CLASSES.values()) for p in (target / name).glob("*.png"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.encode() + b"\0" + (target / path).read_bytes())
    return len(paths), digest.hexdigest()


def write(package, target):
    for name in set(CLASSES.values()):
        shutil.rmtree(target / name, ignore_errors=True)
        (target / name).mkdir()
    for name, entry in base_emoji(package):
        shutil.copyfile(package / IMAGES / entry["image"], target / name / entry["image"].lower())
    (target / CAPTIONS).write_text(metadata(package), encoding="utf-8", newline="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="an unpacked copy of the package")
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    target = Path(__file__).resolve().parent

    if not args.check:
        with tempfile.TemporaryDirectory() as folder:
            write(args.package or fetch(folder), target)
    count, found = fingerprint(target)
    if (count, found) != (N_IMAGES, FINGERPRINT):
        sys.exit(f"the class folders hold {count} images with fingerprint {found}, "
                 f"expected are {N_IMAGES} with {FINGERPRINT} (run make.py again)")
    found = hashlib.sha256((target / CAPTIONS).read_bytes()).hexdigest()
    if found != CAPTIONS_FINGERPRINT:
        sys.exit(f"{CAPTIONS} has the fingerprint {found}, expected is {CAPTIONS_FINGERPRINT} (run make.py again)")
    print(f"{count} images and their captions: as published in {PACKAGE}")


if __name__ == "__main__":
    main()

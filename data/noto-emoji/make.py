#!/usr/bin/env python3
"""Makes the class folders beside this script from the npm package named below.

    python3 make.py                    fetch the package with `npm pack`, then (re)write the class folders
    python3 make.py --package FOLDER   take an unpacked copy of the package instead
    python3 make.py --check            only say whether the class folders are what this script writes

Needs Python 3.9 and, to fetch, npm; nothing else. The images are copied byte for byte: they are never
decoded, so the result does not depend on any imaging library.
"""

import argparse
import hashlib
import json
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


def base_images(package):
    """`(class, path)` of every base emoji: entries of the list itself, not of their `skin_variations`."""
    entries = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    for entry in entries:
        if entry["has_img_google"]:
            yield CLASSES[entry["category"]], package / IMAGES / entry["image"]


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
    for name, source in base_images(package):
        shutil.copyfile(source, target / name / source.name.lower())


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
    print(f"{count} images, fingerprint {found[:16]}: as published in {PACKAGE}")


if __name__ == "__main__":
    main()

"""vqgen and PyTorch in turn on one machine, and the ratios of their times.

    cargo build --release
    venv/bin/python benches/peers/compare.py [--vqgen target/release/vqgen] [--rounds 5] [--case NAME] [--threads N]

Each round runs both programs, so that a machine that slows down slows both. The time of a case is the median over
the rounds of each round's median. A ratio below 1 means that vqgen is faster.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def lines(command):
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vqgen", default="target/release/vqgen")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--case", default="")
    parser.add_argument("--precision", nargs="+", default=["f32", "bf16"], help="of vqgen; PyTorch's are cases")
    args = parser.parse_args()
    flags = ["--repeats", str(args.repeats), "--threads", str(args.threads)]
    flags += ["--case", args.case] if args.case else []
    ours, theirs = {}, {}
    for _ in range(args.rounds):
        for precision in args.precision:
            for line in lines([args.vqgen, "bench", "--device", "cpu", "--quiet", "--precision", precision, *flags]):
                key = (line["case"], line["variant"], precision)
                ours.setdefault(key, []).append(line["median_ms"])
        for line in lines([sys.executable, HERE / "pytorch_peer.py", *flags]):
            theirs.setdefault((line["case"], line["variant"]), []).append(line["median_ms"])
    print(f"{args.threads} threads, {args.rounds} rounds of {args.repeats} repeats")
    print(f"{'case':20} {'vqgen':26} {'PyTorch':20} {'vqgen ms':>10} {'PyTorch ms':>10} {'ratio':>6}")
    for (case, variant, precision), times in ours.items():
        mine = statistics.median(times)
        name = variant if variant == precision else f"{variant}, {precision}"
        for (peer_case, peer_variant), peer_times in theirs.items():
            # A shape is compared with itself, a precision with every way that PyTorch has to compute the case.
            if peer_case == case and (variant == peer_variant or variant == precision):
                peer = statistics.median(peer_times)
                print(f"{case:20} {name:26} {peer_variant:20} {mine:10.2f} {peer:10.2f} {mine / peer:6.2f}")


if __name__ == "__main__":
    main()

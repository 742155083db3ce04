"""Fast mode against exact mode on photographs (spec data.md 6.3): PSNR and mean absolute difference.

    fidelity.py DEEM PHOTOGRAPHS WORK [COUNT]

PHOTOGRAPHS are cut without loss (jpegtran) into COUNT windows of sizes drawn by seed, multiples of 8 and large
enough for a halving (other sizes are not halved, so both modes agree); each goes through `deem decode` in both modes. Prints a table; exit 1 past the budget.
"""
import pathlib
import random
import subprocess
import sys

import numpy
from PIL import Image

deem, photographs, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
count = int(sys.argv[4]) if len(sys.argv) > 4 else 300
CASES = [("crop", 512), ("crop", 256), ("squash", 448), ("squash", 256)]
draw = random.Random(0)
work.mkdir(parents=True, exist_ok=True)
files = sorted(photographs.rglob("*.jpg"))
sizes = {f: Image.open(f).size for f in files}
files = [f for f in files if min(sizes[f]) >= 1100]
found = {case: [] for case in CASES}


def decode(path, geometry, side, mode):
    out = work / f"{mode}.ppm"
    subprocess.run([deem, "decode", path, "--size", str(side), "--geometry", geometry, "--mode", mode,
                    "-o", out], check=True)
    return numpy.fromfile(out, numpy.uint8)[-3 * side * side:].astype(numpy.int32)


for number in range(count):
    photograph = files[number % len(files)]
    w, h = sizes[photograph]
    cut_w, cut_h = (8 * draw.randrange(128, min(side, 2600) // 8 + 1) for side in (w, h))
    x, y = draw.randrange(w - cut_w + 1), draw.randrange(h - cut_h + 1)
    window = work / "window.jpg"
    subprocess.run(["jpegtran", "-crop", f"{cut_w}x{cut_h}+{x}+{y}", "-outfile", window, photograph],
                   check=True)
    geometry, side = case = CASES[number % len(CASES)]
    a, b = (decode(window, geometry, side, mode) for mode in ("exact", "fast"))
    error = float(((a - b) ** 2).mean())
    psnr = 10 * numpy.log10(255**2 / error) if error else float("inf")
    found[case].append((psnr, float(abs(a - b).mean())))
worst = True
print("| geometry | side | windows | PSNR lowest | median | mean difference, most |")
print("| --- | --- | --- | --- | --- | --- |")
for (geometry, side), values in found.items():
    psnr = sorted(v[0] for v in values)
    most = max(v[1] for v in values)
    worst = worst and psnr[0] >= 38 and most <= 1.5
    print(f"| {geometry} | {side} | {len(values)} | {psnr[0]:.1f} dB | {psnr[len(psnr) // 2]:.1f} dB "
          f"| {most:.2f} / 255 |")
print(f"{len(files)} photographs; budget: 38 dB, 1.5 / 255: {'kept' if worst else 'broken'}")
sys.exit(not worst)

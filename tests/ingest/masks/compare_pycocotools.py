"""Bit equality of 10,000 random polygon lists with pycocotools, its reading of our COCO-shaped product,
and the speed of both in one run. Exits 77 where pycocotools is not there.
usage: compare_pycocotools.py DEEM [--speed]"""
import json, os, random, subprocess, sys, tempfile, time

try:
    import numpy as np
    from pycocotools import mask as m
    from pycocotools.coco import COCO
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

DEEM = sys.argv[1]


def export(folder, annotations, w, h):
    """Masks by annotation id, through `deem export masks`."""
    images = [{"id": 1, "file_name": "000000000001.jpg", "width": w, "height": h}]
    path = os.path.join(folder, "a.json")
    with open(path, "w") as f:
        json.dump({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}, f)
    subprocess.run([DEEM, "export", "masks", "--set", "coco", "--annotations", path, "--out", folder, "--min-area", "0", "--keep-crowds", "--quiet"], check=True)
    return os.path.join(folder, "instances_train2017.json")


def random_polygons(r, w, h):
    out = []
    for _ in range(r.randint(1, 3)):
        p = [(r.uniform(-0.25, 1.25)) * (h if k % 2 else w) for k in range(2 * r.randint(3, 40))]
        out.append([round(2 * v) / 2 for v in p] if r.random() < 0.3 else p)
    return out


def equality(folder):
    r = random.Random(20240607)
    compared = 0
    for block in range(20):
        w, h = r.randint(20, 640), r.randint(20, 640)
        polygons = [random_polygons(r, w, h) for _ in range(500)]
        annotations = [{"id": i + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": p} for i, p in enumerate(polygons)]
        ours = {a["id"]: a for a in json.load(open(export(folder, annotations, w, h)))["annotations"]}
        for i, p in enumerate(polygons):
            want = m.merge(m.frPyObjects(p, h, w))
            if i + 1 not in ours:  # left out: empty, vanishing, or equal to another
                continue
            a = ours[i + 1]
            assert a["segmentation"]["counts"] == want["counts"].decode(), (block, i)
            assert a["area"] == m.area(want) and a["bbox"] == [int(v) for v in m.toBbox(want)], (block, i)
            compared += 1
    assert compared > 9000, compared
    print(f"{compared} random polygon lists are equal")


def loads(folder):
    path = export(folder, [{"id": i, "image_id": 1, "category_id": 1, "iscrowd": i % 2, "segmentation": s} for i, s in enumerate((
        [[1, 1, 40, 1, 40, 30, 1, 30]], {"size": [40, 60], "counts": [100, 500, 1800]}, {"size": [40, 60], "counts": m.encode(np.asfortranarray(np.eye(40, 60, dtype=np.uint8)))["counts"].decode()}), 1)], 60, 40)
    coco = COCO(path)
    for a in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(a)
        assert mask.shape == (40, 60) and mask.sum() == a["area"] > 0
    print(f"pycocotools loads {len(coco.anns)} annotations")


def rate(n, work, seconds=1.0):
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = max(best, n / (time.perf_counter() - start))
    return best


def speed(folder):
    path = os.path.join(folder, "polygons.json")
    subprocess.run([DEEM, "bench", "masks", "--polygons", path], check=True)
    polygons = json.load(open(path))
    ours = json.loads(subprocess.run([DEEM, "bench", "masks", "--json"], check=True, capture_output=True, text=True).stdout)
    n = len(polygons)
    masks = [m.frPyObjects([p], 480, 640)[0] for p in polygons]
    for name, key, work in (("rasterise", "polygons_per_second", lambda: [m.frPyObjects([p], 480, 640) for p in polygons]),
                            ("rasterise, one call", "polygons_per_second", lambda: m.frPyObjects(polygons, 480, 640)),
                            ("area and box", "areas_per_second", lambda: [(m.area(r), m.toBbox(r)) for r in masks]),
                            ("union of two", "merges_per_second", lambda: [m.merge([a, b]) for a, b in zip(masks, masks[1:])])):
        theirs = rate(n, work)
        print(f"{name:20s} deem {ours[key]:10.0f}/s, pycocotools {theirs:10.0f}/s, ratio {ours[key] / theirs:.1f}")


with tempfile.TemporaryDirectory() as folder:
    if "--speed" in sys.argv:
        speed(folder)
    else:
        equality(folder)
        loads(folder)

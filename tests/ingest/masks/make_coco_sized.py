"""A COCO-shaped file of the size of instances_train2017.json: 118,287 pictures, 860,001 annotations with polygons
of COCO's lengths, 1 in 85 a crowd. usage: make_coco_sized.py OUT [annotations-first] [ANNOTATIONS]"""
import json, math, random, sys

out = sys.argv[1]
first = "annotations-first" in sys.argv
count = next((int(a) for a in sys.argv[2:] if a.isdigit()), 860001)
pictures = max(1, count * 118287 // 860001)
draw = random.Random(20240607)
W, H = 640, 480
BLOBS = []
for _ in range(4000):  # shapes are drawn once and moved: writing the file is not what is measured
    n = 4 + int(draw.random() * draw.random() * 76)
    size = 8 + 150 * draw.random() ** 2
    BLOBS.append([(size * (0.6 + 0.4 * draw.random()) * math.cos(2 * math.pi * k / n), size * (0.6 + 0.4 * draw.random()) * math.sin(2 * math.pi * k / n))
                  for k in range(n)])


def annotation(i):
    picture = i * pictures // count + 1
    row = f'{{"id":{i + 1},"image_id":{picture},"category_id":{1 + i % 80},"area":100.5,'
    if i % 85 == 84:
        w = 1 + int(60 * draw.random())
        return row.replace(f'"id":{i + 1}', f'"id":{900100000000 + i}', 1) + \
            f'"iscrowd":1,"bbox":[0,0,{w},{H}],"segmentation":{{"size":[{H},{W}],"counts":[0,{w * H},{(W - w) * H}]}}}}'
    x, y = draw.random() * W, draw.random() * H
    xy = ",".join(f"{min(max(x + dx, 0), W):.2f},{min(max(y + dy, 0), H):.2f}" for dx, dy in BLOBS[draw.randrange(len(BLOBS))])
    return row + f'"iscrowd":0,"bbox":[{x:.2f},{y:.2f},9,9],"segmentation":[[{xy}]]}}'


def images(f):
    f.write('"images":[')
    for i in range(1, pictures + 1):
        f.write(f'{"," if i > 1 else ""}{{"id":{i},"file_name":"{i:012d}.jpg","height":{H},"width":{W},"license":1,"coco_url":"http://example.org/{i}"}}')
    f.write("]")


def annotations(f):
    f.write('"annotations":[')
    for i in range(count):
        f.write(("," if i else "") + annotation(i))
    f.write("]")


with open(out, "w") as f:
    f.write('{"info":{},"licenses":[],')
    for k, part in enumerate((annotations, images) if first else (images, annotations)):
        f.write("," if k else "")
        part(f)
    f.write(',"categories":' + json.dumps([{"id": i, "name": f"category {i}", "supercategory": "thing"} for i in range(1, 81)]) + "}")

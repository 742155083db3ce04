#!/usr/bin/env python3
"""Makes one small instruction set of each kind, in the published formats, on the sample's photographs.

    make_instruct.py SAMPLE OUT

SAMPLE is the folder make_sample.py wrote (its pairs/00000.tar is read). OUT receives
    images/            the photographs under the names and folders of each set
    llava_v1_5_mix665k.json, v2_*.json (VQAv2), OpenEnded_*, mscoco_* (OK-VQA), TextVQA_0.5.1_train.json,
    aokvqa_v1p0_train.json, dataset.json (OCR-VQA), gqa_train.json, coco_karpathy_train.json,
    TextCaps_0.1_train.json                                                            stage II
    instances_train2017.json, refcoco/, refcoco+/, finetune_refcocog_train_with_mask.json,
    pascal/, partImagenet_train.json, vg/, vcr/                                         mask sets

The annotations are made by this script: regions are shapes drawn by seed, words name the colours the
photographs have there. Nothing of the published sets is in them but the form; class names that a set
prescribes (Pascal-Part, PartImageNet, VCR) say nothing about the pictures. Standard library and djpeg.
"""
import json
import math
import pathlib
import pickle
import shutil
import sys
import tarfile

from make_sample import jpeg_size, run, unit
from mat_writer import EMPTY, mat_char, mat_element, mat_file, mat_mask, mat_matrix, mat_struct

PICTURES = 24
COLOURS = ("black", "grey", "white", "red", "brown", "yellow", "green", "blue")
FIRST_ID = 9001  # of a picture; COCO, VG and GQA ids follow from it


def colour_name(r, g, b):
    light, spread = (r + g + b) / 3, max(r, g, b) - min(r, g, b)
    if light < 45:
        return "black"
    if spread < 28:
        return "white" if light > 185 else "grey"
    if b >= g and b >= r:
        return "blue"
    if g >= r:
        return "green"
    if g > 0.8 * r:
        return "yellow"
    return "red" if light > 120 else "brown"


class Photograph:
    """A picture with its pixels at an eighth of the size."""

    def __init__(self, number, data, caption):
        self.number, self.id, self.data, self.caption = number, FIRST_ID + number, data, caption
        self.w, self.h = jpeg_size(data)
        head, self.pixels = self.small(data)
        self.small_w, self.small_h = head

    @staticmethod
    def small(data):
        ppm = run("djpeg", "-scale", "1/8", "-rgb", "-pnm", data=data)
        size, depth, pixels = ppm[3:].split(b"\n", 2)
        assert ppm[:2] == b"P6" and depth == b"255"
        return tuple(int(n) for n in size.split()), pixels

    def colour(self, box=None):
        """What most of the box [x, y, w, h] looks like."""
        x0, y0, w, h = box or (0, 0, self.w, self.h)
        across = range(int(x0 * self.small_w / self.w), max(1, int((x0 + w) * self.small_w / self.w)))
        down = range(int(y0 * self.small_h / self.h), max(1, int((y0 + h) * self.small_h / self.h)))
        sums, n = [0, 0, 0], 0
        for y in down:
            for x in across:
                at = 3 * (y * self.small_w + x)
                for c in range(3):
                    sums[c] += self.pixels[at + c]
                n += 1
        return colour_name(*(s / max(n, 1) for s in sums))


class Region:
    """A blob by seed: its polygon, box and colour."""

    def __init__(self, photo, k):
        draw = lambda what: unit("region", photo.number, k, what)
        self.id = 100 * photo.id + k
        a, b = photo.w * (0.08 + 0.2 * draw("a")), photo.h * (0.08 + 0.2 * draw("b"))
        cx, cy = a + draw("x") * (photo.w - 2 * a), b + draw("y") * (photo.h - 2 * b)
        corners = 4 if draw("corners") < 0.3 else 12
        turn = [2 * math.pi * (i + 0.5) / corners for i in range(corners)]
        self.polygon = [round(v, 2) for t in turn for v in (cx + a * math.cos(t), cy + b * math.sin(t))]
        xs, ys = self.polygon[::2], self.polygon[1::2]
        self.box = [min(xs), min(ys), round(max(xs) - min(xs), 2), round(max(ys) - min(ys), 2)]
        self.colour = photo.colour(self.box)
        self.place = ("left" if cx < photo.w / 2 else "right", "upper" if cy < photo.h / 2 else "lower")

    def rows(self, w, h):
        """0/1 rows of the box, for formats that hold whole masks."""
        x0, y0 = int(self.box[0]), int(self.box[1])
        x1, y1 = int(self.box[0] + self.box[2]), int(self.box[1] + self.box[3])
        inside = bytes(x0) + b"\1" * (x1 - x0) + bytes(w - x1)
        return [inside if y0 <= y < y1 else bytes(w) for y in range(h)]


def read_photographs(sample):
    photos = []
    with tarfile.open(sample / "pairs" / "00000.tar") as archive:
        names = [n for n in archive.getnames() if n.endswith(".jpg")]
        captions = {c["url"]: c["caption"] for c in json.loads(
            (sample / "ccs_synthetic_filtered_large.json").read_text())}
        for name in reversed(names):  # the photographs stand behind the figures
            record = json.load(archive.extractfile(name[:-4] + ".json"))
            if record["width"] >= 320 and record["height"] >= 240:
                data = archive.extractfile(name).read()
                photos.append(Photograph(len(photos), data, captions[record["url"]]))
            if len(photos) == PICTURES:
                break
    return photos


def put(out, name, value):
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value))


def write_images(out, photos):
    for p in photos:
        for name in (f"coco/train2014/COCO_train2014_{p.id:012d}.jpg", f"coco/train2017/{p.id:012d}.jpg",
                     f"textvqa/train_images/{p.id:016x}.jpg", f"ocr_vqa/images/{p.id:010d}.jpg",
                     f"gqa/images/{p.id}.jpg", f"vg/VG_100K{'_2' * (p.number % 2)}/{p.id}.jpg",
                     f"voc/JPEGImages/2008_{p.number:06d}.jpg", f"partimagenet/train/n01440764_{p.number}.JPEG",
                     f"vcr1images/m_07/a@{p.number}.jpg"):
            put(out / "images", name, p.data)


def questions(p):
    """(question, answer) about a photograph."""
    half = p.h / 2
    yield "Which colour is most of the picture?", p.colour()
    yield "Which colour has the upper half?", p.colour((0, 0, p.w, half))
    yield "Which colour has the lower half?", p.colour((0, half, p.w, half))
    yield "Is the picture mostly blue?", "yes" if p.colour() == "blue" else "no"


def write_vqa(out, photos):
    for name, rows, extra in (("v2_OpenEnded_mscoco", "v2_mscoco", True), ("OpenEnded_mscoco", "mscoco", False)):
        asked, answered = [], []
        for p in photos:
            for k, (question, answer) in enumerate(questions(p)):
                key = 1000 * p.id + k
                given = [{"answer": answer, "raw_answer": answer, "answer_confidence": "yes", "answer_id": i + 1} for i in range(10)]
                asked.append({"image_id": p.id, "question": question, "question_id": key})
                answered.append({"question_id": key, "image_id": p.id, "answers": given, "question_type": "what", "answer_type": "other"})
                if extra:
                    answered[-1]["multiple_choice_answer"] = answer
        put(out, name + "_train2014_questions.json", {"info": {}, "questions": asked})
        put(out, rows + "_train2014_annotations.json", {"info": {}, "annotations": answered})


def write_stage2(out, photos):
    llava, textvqa, aokvqa, books, gqa, karpathy, captions = [], [], [], {}, [], [], []
    for p in photos:
        asked = list(questions(p))
        turns = []
        for k, (question, answer) in enumerate(asked):
            turns += [{"from": "human", "value": ("<image>\n" if k == 0 else "") + question},
                      {"from": "gpt", "value": answer.capitalize() + "."}]
        llava.append({"id": f"{p.id:012d}", "image": f"coco/train2017/{p.id:012d}.jpg", "conversations": turns})
        for k, (question, answer) in enumerate(asked):
            textvqa.append({"question": question, "question_id": 10 * p.id + k, "image_id": f"{p.id:016x}", "answers": [answer] * 10,
                            "image_width": p.w, "image_height": p.h, "image_classes": [], "set_name": "train"})
            aokvqa.append({"split": "train", "image_id": p.id, "question_id": f"q{p.id}{k}", "question": question,
                           "choices": [answer, "pink", "silver", "orange"], "correct_choice_idx": 0, "direct_answers": [answer] * 10,
                           "difficult_direct_answer": False, "rationales": ["It looks so."] * 3})
            gqa.append({"image": f"{p.id}.jpg", "question_id": f"{10 * p.id + k:08d}", "question": question, "answer": answer,
                        "fullAnswer": f"It is {answer}."})
        books[f"{p.id:010d}"] = {"imageURL": f"http://example.org/{p.id}.jpg", "questions": ["What is the title of this book?"],
                                 "answers": [p.caption], "title": p.caption, "authorName": "A. Writer", "genre": "Arts", "split": 1}
        karpathy.append({"caption": p.caption.capitalize() + ".", "image": f"train2014/COCO_train2014_{p.id:012d}.jpg", "image_id": f"coco_{p.id}"})
        captions.append({"image_id": f"{p.id:016x}", "caption_id": p.id, "caption_str": p.caption.capitalize() + ".", "reference_strs": [p.caption]})
    llava.append({"id": "text", "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hello."}]})
    write_vqa(out, photos)
    put(out, "llava_v1_5_mix665k.json", llava)
    put(out, "TextVQA_0.5.1_train.json", {"dataset_type": "train", "data": textvqa})
    put(out, "aokvqa_v1p0_train.json", aokvqa)
    put(out, "dataset.json", books)
    put(out, "gqa_train.json", gqa)
    put(out, "coco_karpathy_train.json", karpathy)
    put(out, "TextCaps_0.1_train.json", {"dataset_type": "train", "data": captions})


def coco_row(p, region, **more):
    return dict({"id": region.id, "image_id": p.id, "category_id": 1 + COLOURS.index(region.colour), "iscrowd": 0,
                 "area": round(region.box[2] * region.box[3], 2), "bbox": region.box, "segmentation": [region.polygon]}, **more)


def write_coco(out, photos, regions):
    categories = [{"id": i + 1, "name": c, "supercategory": "colour"} for i, c in enumerate(COLOURS)]
    size = lambda p, name: {"id": p.id, "file_name": name, "height": p.h, "width": p.w}
    rows = [coco_row(p, r) for p in photos for r in regions[p.id]]
    crowd = photos[0]
    rows.append({"id": 900100000000 + crowd.id, "image_id": crowd.id, "category_id": 1, "iscrowd": 1, "area": 4 * crowd.h,
                 "bbox": [0, 0, 4, crowd.h], "segmentation": {"size": [crowd.h, crowd.w], "counts": [0, 4 * crowd.h, crowd.h * (crowd.w - 4)]}})
    put(out, "instances_train2017.json", {"info": {"description": "made by samples/make_instruct.py"}, "licenses": [],
                                          "images": [size(p, f"{p.id:012d}.jpg") for p in photos], "annotations": rows, "categories": categories})
    names = [size(p, f"COCO_train2014_{p.id:012d}.jpg") for p in photos]
    for folder, protocol, placed in (("refcoco", 0, True), ("refcoco+", 2, False)):
        refs = []
        for p in photos:
            for n, r in enumerate(regions[p.id][:2]):
                words = [r.place[1], r.place[0], r.colour, "area"] if placed else [r.colour, "area"]
                sentence = {"sent_id": r.id, "sent": " ".join(words), "raw": " ".join(words).capitalize(), "tokens": words}
                refs.append({"ref_id": r.id, "ann_id": r.id, "image_id": p.id, "category_id": 1 + COLOURS.index(r.colour), "split": "train",
                             "file_name": f"COCO_train2014_{p.id:012d}_{n}.jpg", "sent_ids": [r.id], "sentences": [sentence]})
        put(out, f"{folder}/instances.json", {"images": names, "annotations": rows, "categories": categories})
        put(out, f"{folder}/refs(unc).p", pickle.dumps(refs, protocol))
    images, annotations = [], []
    for p in photos:
        r = regions[p.id][0]
        images.append(dict(size(p, f"COCO_train2014_{p.id:012d}.jpg"), id=len(images), original_id=p.id, caption=f"the {r.colour} area at the {r.place[0]}",
                           dataset_name="refcocog", tokens_negative=[]))
        annotations.append(coco_row(p, r, id=len(annotations), image_id=len(images) - 1, original_id=r.id, tokens_positive=[]))
    put(out, "finetune_refcocog_train_with_mask.json", {"images": images, "annotations": annotations, "categories": categories})


def write_parts(out, photos, regions):
    ids = []
    for p in photos:
        name = f"2008_{p.number:06d}"
        whole = mat_mask([b"\1" * p.w] * p.h)
        parts = [{"part_name": mat_char(n), "mask": mat_mask(r.rows(p.w, p.h))} for n, r in zip(("cap", "body"), regions[p.id])]
        index = mat_matrix(6, (1, 1), "", mat_element(2, b"\5"))
        objects = [{"class": mat_char("bottle"), "class_ind": index, "mask": whole, "parts": mat_struct(parts)},
                   {"class": mat_char("chair"), "class_ind": index, "mask": whole, "parts": EMPTY}]
        put(out, f"pascal/Annotations_Part/{name}.mat", mat_file(mat_struct([{"imname": mat_char(name), "objects": mat_struct(objects)}], "anno")))
        ids.append(name)
    put(out, "pascal/ImageSets/Main/train.txt", "\n".join(ids) + "\n")
    names = ("Car Body", "Car Tier", "Boat Body", "Boat Sail")
    put(out, "partImagenet_train.json", {
        "images": [{"id": p.number, "file_name": f"n01440764_{p.number}.JPEG", "height": p.h, "width": p.w} for p in photos],
        "annotations": [coco_row(p, r, image_id=p.number, category_id=k) for p in photos for k, r in enumerate(regions[p.id])],
        "categories": [{"id": i, "name": n, "supercategory": n.split()[0]} for i, n in enumerate(names)]})


def write_genome(out, photos, regions):
    put(out, "vg/image_data.json", [
        {"image_id": p.id, "url": f"https://example.org/rak/VG_100K{'_2' * (p.number % 2)}/{p.id}.jpg", "width": p.w, "height": p.h,
         "coco_id": p.id if p.number % 2 else None, "flickr_id": None} for p in photos])
    put(out, "vg/region_descriptions.json", [
        {"id": p.id, "regions": [{"region_id": r.id, "image_id": p.id, "x": int(r.box[0]), "y": int(r.box[1]), "width": int(r.box[2]),
                                  "height": int(r.box[3]), "phrase": f" a {r.colour} area in the {r.place[1]} part"} for r in regions[p.id]]}
        for p in photos])


def write_vcr(out, photos, regions):
    lines = []
    for p in photos:
        drawn = regions[p.id][:3]
        corners = [list(zip(r.polygon[::2], r.polygon[1::2])) for r in drawn]
        boxes = [[r.box[0], r.box[1], r.box[0] + r.box[2], r.box[1] + r.box[3], 0.9] for r in drawn]
        put(out, f"images/vcr1images/m_07/a@{p.number}.json", {"boxes": boxes, "segms": [[c] for c in corners[:2]] + [[]], "names": ["person", "person", "car"],
                                                              "width": p.w, "height": p.h})
        a, b = drawn[0].colour, drawn[1].colour
        lines.append({"img_fn": f"m_07/a@{p.number}.jpg", "metadata_fn": f"m_07/a@{p.number}.json", "objects": ["person", "person", "car"],
                      "question": ["Which", "colours", "have", [0], "and", [1], "?"], "question_orig": "Which colours have 1 and 2 ?",
                      "answer_choices": [[[0], "is", a, "and", [1], "is", b, "."]], "answer_orig": f"1 is {a} and 2 is {b} .", "answer_label": 0,
                      "rationale_choices": [["Look", "at", [1], "."]], "rationale_orig": "Look at 2 .", "rationale_label": 0,
                      "annot_id": f"train-{p.number}", "img_id": f"train-{p.number}", "movie": "m_07", "question_number": 0})
    put(out, "vcr/train.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sample, out = (pathlib.Path(a) for a in sys.argv[1:])
    made = out.with_name(out.name + ".part")
    shutil.rmtree(made, ignore_errors=True)
    photos = read_photographs(sample)
    regions = {p.id: [Region(p, k) for k in range(4)] for p in photos}
    write_images(made, photos)
    write_stage2(made, photos)
    write_coco(made, photos, regions)
    write_parts(made, photos, regions)
    write_genome(made, photos, regions)
    write_vcr(made, photos, regions)
    made.rename(out)
    print(f"instruction sets in {out}: {len(photos)} photographs; annotations made by this script, not by people")


main()

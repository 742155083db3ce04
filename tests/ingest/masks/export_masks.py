"""`deem export masks` on every example and named defect of data.md 1.3 to 1.8, with its expected outcome.
usage: export_masks.py DEEM [unittest arguments]"""
import json, math, os, pickle, random, shutil, struct, subprocess, sys, tempfile, unittest, zipfile, zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "samples"))
from mat_writer import EMPTY, mat_char, mat_element, mat_file, mat_mask, mat_matrix, mat_struct

DEEM = None


def png(path, w, h):
    """A grey PNG of that size."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    rows = (b"\0" + b"\x80" * w) * h
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def decode(seg):
    """Column-major 0/1 of a compressed RLE: an own reading of the string."""
    h, w = seg["size"]
    counts, s, i = [], seg["counts"], 0
    while i < len(s):
        x = k = 0
        while True:
            c = ord(s[i]) - 48
            x |= (c & 31) << (5 * k)
            i, k = i + 1, k + 1
            if not c & 32:
                if c & 16:
                    x -= 1 << (5 * k)
                break
        counts.append(x + (counts[-2] if len(counts) > 2 else 0))
    bits = []
    for n, c in enumerate(counts):
        bits += [n & 1] * c
    assert len(bits) == h * w
    return bits


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="deem-masks-")
        self.images = self.path("pictures")
        os.makedirs(self.images)

    def tearDown(self):
        shutil.rmtree(self.dir)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, value):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb" if isinstance(value, bytes) else "w") as f:
            f.write(value if isinstance(value, (bytes, str)) else json.dumps(value))
        return path

    def read(self, *names):
        with open(self.path(*names), "rb") as f:
            return f.read()

    def picture(self, name, w, h):
        png(os.path.join(self.images, name), w, h)

    def export(self, kind, *annotations, options=(), code=0, out="out", images=True):
        args = [DEEM, "export", "masks", "--set", kind, "--out", self.path(out), *options]
        for a in annotations:
            args += ["--annotations", a]
        if images:
            args += ["--images", self.images]
        r = subprocess.run(args, capture_output=True, text=True)
        self.assertEqual(r.returncode, code, r.stderr)
        self.log = r.stderr
        if code == 0:
            split = options[options.index("--split") + 1] if "--split" in options else "train"
            def load(name):
                with open(self.path(out, name)) as f:
                    return json.load(f)
            self.manifest = load(f"{kind}_{split}_manifest.json")
            self.talk = load(f"{kind}_{split}_conversation.json")
            with open(self.path(out, f"{kind}_{split}_quarantine.jsonl")) as f:
                self.rows = [json.loads(line) for line in f]
            files = [p["file"] for p in self.manifest["products"] if p["role"] == "coco"]
            self.coco = load(files[0]) if files else None
            self.coco_name = files[0] if files else None
            r = self.manifest["regions"]
            self.assertEqual(r["seen"], r["stored"] + sum(r["filtered"].values()) + sum(r["quarantined"].values()))
            if self.coco:
                self.check_readers()
            for t in self.talk:
                self.assertLessEqual(len(t["annotation"]), 15)
        elif os.path.isdir(self.path(out)):
            self.assertEqual([n for n in os.listdir(self.path(out)) if not n.startswith(".")], [])

    def check_readers(self):
        """What the authors' readers ask of the COCO-shaped product (7.5)."""
        images = {i["id"]: i for i in self.coco["images"]}
        categories = {c["id"] for c in self.coco["categories"]}
        self.assertEqual(len(images), len(self.coco["images"]))
        ids = [a["id"] for a in self.coco["annotations"]]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual({a["image_id"] for a in self.coco["annotations"]}, set(images))
        for a in self.coco["annotations"]:
            self.assertIn(a["category_id"], categories)
            image = images[a["image_id"]]
            self.assertEqual(a["segmentation"]["size"], [image["height"], image["width"]])
            self.assertEqual(sum(decode(a["segmentation"])), a["area"])
            self.assertGreater(a["area"], 0)

    def reasons(self):
        r = self.manifest["regions"]
        return r["filtered"], r["quarantined"]


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def coco_file(annotations, images=None, categories=None, order=("images", "annotations", "categories")):
    parts = {"images": images or [{"id": 77, "file_name": "000000000077.jpg", "width": 60, "height": 40}],
             "annotations": annotations,
             "categories": categories or [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person"}]}
    return {k: parts[k] for k in order}


def ann(id=1, seg=None, **more):
    a = {"id": id, "image_id": 77, "category_id": 18, "iscrowd": 0, "area": 1.0, "bbox": [0, 0, 5, 5],
         "segmentation": seg if seg is not None else [square(2 * id, 3, 10)]}
    a.update(more)
    return a


class Coco(Case):
    EXAMPLE = {"images": [{"id": 77, "file_name": "000000000077.jpg", "width": 8, "height": 6}],
               "annotations": [{"id": 1, "image_id": 77, "category_id": 18, "iscrowd": 0, "area": 6.0, "bbox": [1, 1, 3, 2],
                                "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]},
                               {"id": 900100000077, "image_id": 77, "category_id": 1, "iscrowd": 1, "area": 5,
                                "bbox": [0, 0, 1, 5], "segmentation": {"size": [6, 8], "counts": [0, 5, 43]}}],
               "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person", "supercategory": "person"}]}

    def test_the_example_gives_both_masks_when_asked(self):
        self.picture("000000000077.jpg", 8, 6)
        self.export("coco", self.write("a.json", self.EXAMPLE), options=["--min-area", "1", "--keep-crowds"])
        self.assertEqual(self.coco_name, "instances_train2017.json")
        self.assertEqual([(a["id"], a["bbox"], a["area"], a["iscrowd"]) for a in self.coco["annotations"]],
                         [(1, [1, 1, 3, 2], 6, 0), (900100000077, [0, 0, 1, 5], 5, 1)])
        t, = self.talk
        self.assertEqual((t["id"], t["file_name"], t["height"], t["width"]), ("coco-77", "000000000077.jpg", 6, 8))
        self.assertEqual([c["from"] for c in t["conversations"]], ["human", "gpt"] * 2)
        self.assertEqual(sorted(c["value"] for c in t["conversations"][1::2]), ["dog", "person"])

    def test_crowds_and_small_masks_are_left_out_by_default(self):
        self.picture("000000000077.jpg", 8, 6)
        self.export("coco", self.write("a.json", self.EXAMPLE))
        self.assertEqual(self.reasons(), ({"crowd": 1, "small": 1}, {}))
        self.assertEqual((self.talk, self.coco["images"]), ([], []))

    def test_annotations_may_stand_before_images(self):
        self.picture("000000000077.jpg", 60, 40)
        for n, order in enumerate((("images", "annotations", "categories"), ("annotations", "images", "categories"),
                                   ("categories", "annotations", "images"), ("images", "categories", "annotations"))):
            self.export("coco", self.write("a.json", coco_file([ann(1), ann(2)], order=order)), out=f"o{n}")
            self.assertEqual(len(self.coco["annotations"]), 2)

    def test_every_bad_annotation_is_quarantined_and_the_rest_stays(self):
        bad = [ann(101, image_id=78), ann(102, image_id="x"), ann(103, iscrowd=2), ann(104, bbox=[0, 0, float("nan"), 1]),
               ann(105, bbox=[0, 0, -1, 1]), ann(106, bbox=[1, 2, 3]), ann(107, seg=[[float("nan"), 0, 1, 1, 2, 2]]),
               ann(108, seg="x"), ann(109, seg=[square(1, 1, 9)], category_id=99), ann(1), {"id": 110}, ann(111, seg={"size": [1, 1], "counts": [1]}),
               ann("x9", seg=[square(1, 1, 9)]), [1], 5, ann(112, seg={"size": [40, 60], "counts": [2401]}), ann(113, segmentation=None)]
        self.picture("000000000077.jpg", 60, 40)
        self.export("coco", self.write("a.json", coco_file([ann(1), *bad, ann(2, image_id="77", category_id="18")])))
        filtered, quarantined = self.reasons()
        self.assertEqual(filtered, {})
        self.assertEqual(quarantined, {"annotation-image": 1, "annotation-image-id": 2, "annotation-iscrowd": 1, "annotation-bbox": 3,
                                       "mask-not-finite": 1, "mask-not-a-list": 2, "annotation-category": 1, "annotation-id-again": 1,
                                       "mask-size-differs": 1, "annotation-id": 1, "record-type": 2, "mask-sum": 1})
        self.assertEqual([a["id"] for a in self.coco["annotations"]], [1, 2])
        self.assertEqual(len(self.rows), 17)
        row = next(r for r in self.rows if r["code"] == "annotation-image")
        self.assertEqual((row["file"], row["record"]), ("a.json", 1))
        for code, id in (("annotation-image", 101), ("annotation-category", 109), ("annotation-id-again", 1)):
            row = next(r for r in self.rows if r["code"] == code)
            raw = self.read("a.json")[row["offset"]:][:row["length"]]
            self.assertEqual((row["file"], json.loads(raw)["id"]), ("a.json", id))
            self.assertEqual(len(row["hash"]), 16)

    def test_short_polygons_self_crossings_and_outside_points_are_handled(self):
        self.picture("000000000077.jpg", 60, 40)
        self.export("coco", self.write("a.json", coco_file([
            ann(1, seg=[[1, 1, 2, 2], square(5, 5, 10)]), ann(2, seg=[[1, 1, 2, 2]]), ann(3, seg=[]), ann(4, seg=[[3]]),
            ann(5, seg=[[-9, -9, 30, -9, 30, 30, -9, 30]]), ann(6, seg=[[0, 0, 20, 20, 20, 0, 0, 20, 0, 20]]),
            ann(7, seg=[square(100, 100, 9)])])))
        self.assertEqual(self.reasons(), ({"no-polygon": 3, "empty": 1}, {}))
        self.assertEqual([(a["id"], a["area"]) for a in self.coco["annotations"]][:2], [(1, 100), (5, 900)])

    def test_a_mask_that_nearest_sampling_misses_is_left_out(self):
        image = [{"id": 77, "file_name": "000000000077.jpg", "width": 4000, "height": 40}]
        self.picture("000000000077.jpg", 4000, 40)
        # columns 1..7 of 4000 lie between the samples 0 and 8 of a resize to 448
        self.export("coco", self.write("a.json", coco_file([ann(1, seg=[[1, 2, 8, 2, 8, 30, 1, 30]]), ann(2, seg=[square(100, 3, 30)])], image)))
        self.assertEqual(self.reasons(), ({"vanishes": 1}, {}))

    def test_equal_masks_of_one_label_are_one(self):
        self.picture("000000000077.jpg", 60, 40)
        same = [square(3, 3, 10)]
        self.export("coco", self.write("a.json", coco_file([ann(1, same), ann(2, same), ann(3, same, category_id=1)])))
        self.assertEqual(self.reasons()[0], {"duplicate": 1})
        self.assertEqual([a["id"] for a in self.coco["annotations"]], [1, 3])

    def test_pictures_are_checked(self):
        images = [{"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "width": 60, "height": 40} for i in (1, 2, 3, 4)]
        self.picture("000000000001.jpg", 60, 40)  # the 2017 tree's name of a 2014 picture
        self.picture("COCO_train2014_000000000002.jpg", 61, 40)
        self.write("pictures/COCO_train2014_000000000003.jpg", "<html>gone</html>")
        self.export("coco", self.write("a.json", coco_file([ann(i, image_id=i) for i in (1, 2, 3, 4)], images)))
        self.assertEqual(self.reasons()[0], {"picture-size": 1, "picture-unreadable": 1, "picture-missing": 1})
        self.assertEqual([t["file_name"] for t in self.talk], ["000000000001.jpg"])
        self.assertEqual([i["file_name"] for i in self.coco["images"]], ["COCO_train2014_000000000001.jpg"])

    def test_names_of_other_pictures_keep_their_folders(self):
        names = ["train2017/000000000001.jpg", "train2014/COCO_train2014_000000000002.jpg", "a b/\u00fc_7.JPG", "COCO_7.jpg"]
        for name in names:
            self.picture(name, 60, 40)
        images = [{"id": i, "file_name": name, "width": 60, "height": 40} for i, name in enumerate(names)]
        self.export("coco", self.write("a.json", coco_file([ann(i + 1, image_id=i) for i in range(4)], images)))
        self.assertEqual([t["file_name"] for t in self.talk], ["000000000001.jpg", "000000000002.jpg", "a b/\u00fc_7.JPG", "COCO_7.jpg"])
        self.assertEqual([i["file_name"] for i in self.coco["images"]], names)

    def many(self):
        images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 60, "height": 40} for i in range(1, 40)]
        for i in images:
            self.picture(i["file_name"], 60, 40)
        annotations = [ann(100 * i["id"] + k, [square(k, k % 5, 8)], image_id=i["id"]) for i in images for k in range(1, 30)]
        annotations[7]["segmentation"] = "broken"
        return self.write("a.json", coco_file(annotations, images))

    def test_products_do_not_depend_on_jobs(self):
        a = self.many()
        seen = []
        for jobs in ("1", "2", "7"):
            self.export("coco", a, options=["--jobs", jobs, "--seed", "5"], out=f"out{jobs}")
            seen.append({n: self.read(f"out{jobs}", n) for n in sorted(os.listdir(self.path(f"out{jobs}"))) if n[0] != "."})
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])
        self.assertEqual(len(seen[0]), 4)

    def test_caps_choose_by_the_draws(self):
        a = self.many()
        self.export("coco", a, options=["--max-instances", "10", "--max-regions", "4"])
        self.assertEqual(len(self.talk), 10)
        self.assertEqual({len(t["annotation"]) for t in self.talk}, {4})
        few = {t["id"] for t in self.talk}
        self.assertEqual(len(self.coco["images"]), 10)
        self.export("coco", a, options=["--max-instances", "20"], out="more")
        self.assertLess(few, {t["id"] for t in self.talk})
        self.assertEqual({len(t["annotation"]) for t in self.talk}, {15})
        self.export("coco", a, options=["--max-instances", "10", "--seed", "1"], out="other")
        self.assertNotEqual(few, {t["id"] for t in self.talk})
        self.export("coco", a, options=["--preset", "paper200k"], out="share")  # 31,100 of COCO
        self.assertEqual((len(self.talk), self.manifest["options"]["preset"]), (39, "paper200k"))

    def test_pictures_can_be_excluded_and_compared(self):
        a = self.many()
        ids = self.write("ids.txt", "3\nCOCO_val2014_000000000005.jpg\n")
        pope = self.write("pope.json", '{"question_id":1,"image":"COCO_val2014_000000000007.jpg","text":"Is 3 here?"}\n' * 2)
        self.export("coco", a, options=["--exclude-image-ids", ids, "--compare", pope])
        self.assertEqual(self.reasons()[0], {"excluded": 57 + 1})
        self.assertEqual(self.manifest["contamination"]["overlaps"], [{"file": "pope.json", "pictures": 1, "instances": 1}])
        self.assertIn("pope.json: 1 pictures", self.log)

    def test_a_broken_file_ends_the_run_with_its_name_and_byte(self):
        for n, text in enumerate(('{"images":[{"id":1', '{"images":[]}', '[1,2]', '{"images":[],"annotations":[}', '', '{"images":3,"annotations":[]}',
                                  '{"images":[],"annotations":[]} x')):
            self.export("coco", self.write("broken.json", text), code=65, out=f"o{n}")
            self.assertIn("broken.json", self.log)

    def test_too_many_damaged_records_end_the_run(self):
        a = self.write("a.json", coco_file([ann(i, seg="x") for i in range(1, 102)]))
        self.export("coco", a, code=65)
        self.export("coco", a, options=["--tolerance", "10000"], out="o2", images=False)
        self.export("coco", self.write("b.json", coco_file([ann(1, seg="x")])), options=["--strict"], code=65, out="o3")

    def test_wrong_use_is_told(self):
        self.export("coco", code=64)
        self.export("nosuch", self.write("a.json", "{}"), code=64)
        self.export("coco", self.path("absent.json"), code=64)


class PartImageNet(Case):
    def test_names_with_folders_degenerate_polygons_and_id_0(self):
        images = [{"id": 5, "file_name": "n01440764/n01440764_10029.JPEG", "width": 50, "height": 40}]
        categories = [{"id": 0, "name": "Quadruped Head"}, {"id": 29, "name": "Car Side Mirror"}, {"id": 28, "name": "Car Tier"}]
        self.picture("n01440764/n01440764_10029.JPEG", 50, 40)
        self.export("partimagenet", self.write("train.json", coco_file([
            ann(1, [[1, 1], square(3, 3, 12)], image_id=5, category_id=0), ann(2, [[1, 1, 2, 2]], image_id=5, category_id=0),
            ann(3, image_id=5, category_id=28)], images, categories)))
        self.assertEqual(self.coco_name, "partImagenet_train_format.json")
        self.assertEqual(self.reasons(), ({"no-polygon": 1}, {}))
        self.assertEqual(self.talk[0]["file_name"], "n01440764/n01440764_10029.JPEG")
        self.assertEqual(sorted(c["value"] for c in self.talk[0]["conversations"][1::2]), ["Car Tier", "Quadruped Head"])
        first = self.talk[0]["conversations"][0]["value"]
        self.assertIn("Categories: Quadruped, Car. Subcategories: Head, Side Mirror, Tier.", first)


class Refer(Case):
    REF = {"ref_id": 5, "ann_id": 42, "image_id": 581, "category_id": 18, "split": "train",
           "file_name": "COCO_train2014_000000000581_3.jpg", "sent_ids": [11],
           "sentences": [{"sent_id": 11, "sent": "left dog", "raw": "LEFT dog", "tokens": ["left", "dog"]}]}

    def folder(self, refs, protocol=0, name="refs(unc).p", raw=None):
        images = [{"id": 581, "file_name": "COCO_train2014_000000000581.jpg", "width": 60, "height": 40}]
        annotations = [ann(42, [square(3, 3, 12)], image_id=581), ann(43, {"size": [40, 60], "counts": [0, 500, 1900]}, image_id=581, iscrowd=1)]
        self.write("refcoco/instances.json", coco_file(annotations, images))
        self.write("refcoco/" + name, raw if raw is not None else pickle.dumps(refs, protocol))
        self.picture("COCO_train2014_000000000581.jpg", 60, 40)
        return self.path("refcoco")

    def refs(self):
        two = dict(self.REF, ref_id=6, sentences=[{"sent_id": 12, "sent": "the dog"}, {"sent_id": 13, "sent": "  "}, {"sent_id": 14, "sent": "dog on left"}])
        crowd = dict(self.REF, ref_id=7, ann_id=43)
        absent = dict(self.REF, ref_id=8, ann_id=4400)
        nowhere = dict(self.REF, ref_id=9, image_id=1)
        other = dict(self.REF, ref_id=10, split="testA")
        return [self.REF, two, crowd, absent, nowhere, other]

    def test_every_protocol_gives_the_same_expressions(self):
        for protocol in range(6):
            self.export("refcoco", self.folder(self.refs(), protocol), out=f"o{protocol}")
            self.assertEqual(self.coco_name, "finetune_refcoco_train_with_mask.json")
            self.assertEqual(self.reasons(), ({"empty-caption": 1, "crowd": 1}, {"ref-annotation": 1, "ref-image": 1}))
            self.assertEqual([(i["id"], i["original_id"], i["caption"], i["file_name"]) for i in self.coco["images"]],
                             [(1, 581, "left dog", "COCO_train2014_000000000581.jpg"), (2, 581, "the dog", "COCO_train2014_000000000581.jpg"),
                              (3, 581, "dog on left", "COCO_train2014_000000000581.jpg")])
            self.assertEqual([(a["id"], a["image_id"], a["original_id"], a["category_id"], a["area"]) for a in self.coco["annotations"]],
                             [(1, 1, 42, 18, 144), (2, 2, 42, 18, 144), (3, 3, 42, 18, 144)])
            self.assertEqual([t["conversations"][1]["value"] for t in self.talk], ["left dog", "the dog", "dog on left"])
            self.assertEqual({t["file_name"] for t in self.talk}, {"000000000581.jpg"})

    def test_python_2_wrote_protocol_0_with_byte_strings(self):
        raw = (b"(lp0\n(dp1\nS'ref_id'\np2\nI5\nsS'ann_id'\np3\nI42\nsS'image_id'\nI581\nsS'split'\nS'train'\nsS'category_id'\nL18L\ns"
               b"S'sentences'\n(lp9\n(dp10\nS'sent'\nS'left\\x20dog'\nsS'sent_id'\nI11\nsS'u'\nVl\\u00e9ft\nsS'f'\nF1.5\nsS'b'\nI01\nsS'n'\nNsasa.")
        self.export("refcoco", self.folder(None, raw=raw))
        self.assertEqual([i["caption"] for i in self.coco["images"]], ["left dog"])

    def test_bytes_that_are_not_utf8_are_refused_or_latin1(self):
        ref = dict(self.REF, sentences=[{"sent": b"caf\xe9"}])
        folder = self.folder([ref, self.REF], 2)
        raw = pickle.dumps([self.REF], 0).replace(b"Vleft dog", b"S'caf\\xe9'")
        self.folder(None, raw=raw)
        self.export("refcoco", folder)
        self.assertEqual(self.reasons()[1], {"ref-sentence": 1})
        self.export("refcoco", folder, options=["--pickle-latin1"], out="o2")
        self.assertEqual([i["caption"] for i in self.coco["images"]], ["caf\u00e9"])

    def test_a_refused_opcode_ends_the_run_with_its_byte(self):
        class Evil:
            def __reduce__(self):
                return (os.system, ("touch " + self.path,))
        evil = Evil()
        evil.path = self.path("executed")
        for protocol in range(6):
            self.export("refcoco", self.folder([self.REF, evil], protocol), code=65, out=f"o{protocol}")
            self.assertIn("refs(unc).p: byte ", self.log)
            self.assertIn("system", self.log)
        self.assertFalse(os.path.exists(self.path("executed")))

    def test_other_splits_and_pickle_names_are_found(self):
        self.export("refcocog", self.folder(self.refs(), 2, name="refs(umd).p"), options=["--split", "testA"])
        self.assertEqual(self.coco_name, "finetune_refcocog_testA_with_mask.json")
        self.assertEqual(len(self.talk), 1)

    def test_with_mask_files_are_read_as_they_are(self):
        images = [{"id": 900 + k, "original_id": 581, "file_name": "COCO_train2014_000000000581.jpg", "width": 60, "height": 40,
                   "caption": c, "dataset_name": "refcoco", "tokens_negative": []} for k, c in enumerate(["left dog", "", "big dog"])]
        annotations = [dict(ann(70 + k, [square(3, 3, 12)], image_id=900 + k), original_id=42) for k in range(3)]
        self.picture("COCO_train2014_000000000581.jpg", 60, 40)
        self.export("refcoco+", self.write("finetune.json", coco_file(annotations, images)))
        self.assertEqual(self.coco_name, "finetune_refcoco+_train_with_mask.json")
        self.assertEqual([(i["id"], i["caption"]) for i in self.coco["images"]], [(900, "left dog"), (902, "big dog")])
        self.assertEqual([a["original_id"] for a in self.coco["annotations"]], [42, 42])
        self.assertEqual(self.reasons(), ({"empty-caption": 1}, {}))

    def test_broken_pickles_are_errors(self):
        good = pickle.dumps([self.REF], 2)
        for n, raw in enumerate((b"", good[:-1], good[:40], good + b"x", good + good, b"\x80\x02}.", b"\x80\x09].", b"(]t.", b"a.", b"]]a0.", b"h\x05.",
                                 b"]q\x00h\x00a.", b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f].", b"I99999999999999999999\n.", b"(K\x01d.", b"}]K\x01s.", b"S'x\n.",
                                 b"X\xff\xff\xff\x7fx.", b"(" * 10 + b".", b"]" + b"]" * 70 + b"a" * 70 + b".")):
            self.export("refcoco", self.folder(None, raw=raw), code=65, out=f"o{n}")
            self.assertIn("refs(unc).p", self.log)


def rows(w, h, x0, y0, x1, y1):
    return [[int(x0 <= x < x1 and y0 <= y < y1) for x in range(w)] for y in range(h)]


class PascalPart(Case):
    def anno(self, objects, compress=True):
        return mat_file(mat_struct([{"imname": mat_char("2008_000002"), "objects": mat_struct(objects)}], "anno"), compress=compress)

    def obj(self, cls, parts, size=(50, 40)):
        return {"class": mat_char(cls), "class_ind": mat_matrix(6, (1, 1), "", mat_element(2, b"\x03")),
                "mask": mat_mask(rows(*size, 0, 0, 30, 30)),
                "parts": mat_struct([{"part_name": mat_char(n), "mask": mat_mask(m)} for n, m in parts]) if parts else EMPTY}

    def run_one(self, data, **more):
        self.write("Annotations_Part/2008_000002.mat", data)
        self.picture("2008_000002.jpg", 50, 40)
        self.export("pascal-part", self.path("Annotations_Part"), self.write("train.txt", "2008_000002\n"), **more)

    def test_parts_become_the_93_categories_with_rows_and_columns_in_place(self):
        part = rows(50, 40, 5, 10, 25, 18)  # 20 wide, 8 high
        for compress in (True, False):
            self.run_one(self.anno([self.obj("person", [("lear", part), ("rear", rows(50, 40, 30, 10, 40, 18)), ("lebrow", part), ("llarm", part)]),
                                    self.obj("bicycle", [("chainwheel", part), ("fwheel", rows(50, 40, 0, 0, 9, 9))]), self.obj("pottedplant", [("pot", part)]),
                                    self.obj("bus", [("fliplate", part), ("headlight_1", part)]), self.obj("dog", [("lfpa", part)]),
                                    self.obj("chair", [("leg", part)]), self.obj("cat", [])], compress), out=f"o{compress}")
            self.assertEqual(self.coco_name, "pascalpart_train.json")
            names = {c["id"]: c["name"] for c in self.coco["categories"]}
            self.assertEqual(len(names), 93)
            self.assertEqual((names[1], names[93]), ("aeroplane:body", "sheep:torso"))
            found = [names[a["category_id"]] for a in self.coco["annotations"]]
            self.assertEqual(found, ["person:ear", "person:ear", "person:arm", "bicycle:wheel", "bicycle:wheel", "potted plant:pot",
                                     "bus:license plate", "bus:headlight", "dog:paw"])
            self.assertEqual(self.reasons(), ({"part-unmapped": 1, "object-unmapped": 1}, {}))
            self.assertEqual(self.coco["annotations"][0]["bbox"], [5, 10, 20, 8])
            self.assertEqual(self.coco["annotations"][0]["area"], 160)
            self.assertEqual(self.coco["images"], [{"id": 2008000002, "file_name": "2008_000002.jpg", "height": 40, "width": 50}])

    def test_masks_of_another_size_and_empty_ones_are_counted(self):
        self.run_one(self.anno([self.obj("person", [("head", rows(60, 40, 1, 1, 20, 20)), ("hair", rows(50, 40, 0, 0, 0, 0)), ("nose", []),
                                                    ("neck", rows(50, 40, 1, 1, 9, 9)), ("torso", rows(50, 40, 1, 1, 20, 20))])]))
        self.assertEqual(self.reasons(), ({"empty": 2}, {"mask-size-differs": 1}))

    def test_broken_mat_files_are_refused_by_name(self):
        good = self.anno([self.obj("person", [("head", rows(50, 40, 1, 1, 20, 20))])], compress=False)
        packed = self.anno([self.obj("person", [("head", rows(50, 40, 1, 1, 20, 20))])])
        sparse = mat_file(mat_matrix(5, (1, 1), "anno"), compress=False)
        deep = mat_char("x")
        for _ in range(40):
            deep = mat_matrix(1, (1, 1), "", deep)
        bomb = mat_file(mat_matrix(9, (1 << 14, 1 << 14), "anno", mat_element(2, bytes(300 << 20))))
        cases = [good[:127], good[:126] + b"MI" + good[128:], good[:124] + b"\0\2" + good[126:], b"\0\0\0\0" + good[4:], good[:-9], packed[:-9],
                 packed[:200] + b"\xff" * 8 + packed[208:], sparse, mat_file(deep, compress=False), mat_file(mat_char("x", "other")), b"", bomb,
                 good[:126] + b"xx" + good[128:], mat_file(mat_matrix(9, (2, -2), "anno", mat_element(2, b"")), compress=False),
                 mat_file(mat_matrix(9, (65536, 65536), "anno", mat_element(2, b"")), compress=False), mat_file(mat_matrix(9, (2, 2), "anno", mat_element(2, b"123")), compress=False),
                 mat_file(mat_matrix(6, (1, 1), "anno", mat_element(9, b"12345678"), flags=8), compress=False), mat_file(mat_matrix(16, (1, 1), "anno"), compress=False),
                 mat_file(mat_element(15, zlib.compress(mat_char("x", "anno")))), mat_file(struct.pack("<II", 99, 0), compress=False)]
        for n, data in enumerate(cases):
            self.run_one(data, code=65, out=f"o{n}")
            self.assertIn("2008_000002.mat", self.log)

    def test_a_listed_picture_without_file_is_counted(self):
        self.write("Annotations_Part/2008_000002.mat", self.anno([self.obj("person", [("head", rows(50, 40, 1, 1, 20, 20))])]))
        self.picture("2008_000002.jpg", 50, 40)
        self.write("ImageSets/Main/train.txt", "2008_000001 -1\n2008_000002  1\n\n")
        self.export("pascal-part", self.dir)
        self.assertEqual((self.manifest["images"], len(self.talk)), ({"stored": 1, "quarantined": 1}, 1))


class Genome(Case):
    DATA = [{"image_id": 61, "url": "https://x.org/rak/VG_100K_2/61.jpg", "width": 200, "height": 150, "coco_id": None, "flickr_id": None},
            {"image_id": 62, "url": "https://x.org/rak/VG_100K/62.jpg", "width": 200, "height": 150, "coco_id": 9001, "flickr_id": 5}]

    def region(self, id, phrase="a red kite in the sky", box=(40, 25, 120, 80), **more):
        return dict({"region_id": id, "image_id": 61, "x": box[0], "y": box[1], "width": box[2], "height": box[3], "phrase": phrase}, **more)

    def run_all(self, regions, *more, **options):
        self.picture("VG_100K_2/61.jpg", 200, 150)
        self.picture("VG_100K/62.jpg", 200, 150)
        self.export("vg", self.write("image_data.json", self.DATA), self.write("region_descriptions.json", regions), *more, **options)

    def test_the_example_is_a_box_mask_for_either_outer_key(self):
        for n, key in enumerate(("id", "image_id")):
            self.run_all([{key: 61, "regions": [self.region(8)]}, {"regions": [{k: v for k, v in self.region(9).items() if k != "image_id"}], key: 62}], out=f"o{n}")
            self.assertEqual(self.coco_name, "vg_train_with_mask.json")
            self.assertEqual([(a["id"], a["image_id"], a["bbox"], a["caption"]) for a in self.coco["annotations"]],
                             [(8, 61, [40, 25, 120, 80], "a red kite in the sky"), (9, 62, [40, 25, 120, 80], "a red kite in the sky")])
            self.assertEqual([t["file_name"] for t in self.talk], ["61.jpg", "62.jpg"])
            self.assertEqual(self.talk[0]["conversations"][1]["value"], "a red kite in the sky")
            self.assertIn("<region1>", self.talk[0]["conversations"][0]["value"])
            self.assertEqual(self.manifest["contamination"]["instances_on_coco_pictures"], 1)

    def test_defects_are_counted(self):
        self.run_all([{"id": 61, "regions": [
            self.region(1, box=(-1, -5, 60, 40)), self.region(2, box=(190, 140, 60, 40)), self.region(3, box=(5, 5, 0, 40)), self.region(4, phrase=" \n"),
            self.region(5, "  two\n  kites "), self.region(6), self.region(7), self.region(8, box=(900, 900, 9, 9)), self.region(9, image_id=99),
            self.region(10, box=(1, 1, "x", 2)), self.region(11, phrase=None)]}])
        self.assertEqual(self.reasons(), ({"empty": 2, "empty-caption": 2, "duplicate": 1}, {"region-image": 1, "region-box": 1}))
        boxes = {a["id"]: (a["bbox"], a["caption"]) for a in self.coco["annotations"]}
        self.assertEqual(boxes[1][0], [0, 0, 59, 35])
        self.assertEqual(boxes[2][0], [190, 140, 10, 10])
        self.assertEqual(boxes[5][1], "two kites")

    def test_masks_of_the_mask_file_replace_boxes(self):
        images = [{"id": 61, "file_name": "61.jpg", "width": 200, "height": 150}]
        triangle = [[40, 25, 160, 25, 160, 105]]
        masks = [dict(ann(500, triangle, image_id=61, bbox=[40.2, 24.9, 120, 80]), caption=" a red kite in the sky"),
                 dict(ann(501, triangle, image_id=61, bbox=[1, 1, 5, 5]), caption="other", ignore=True)]
        self.run_all([{"id": 61, "regions": [self.region(8), self.region(9, "unmatched")]}], self.write("vg_train_with_mask.json", coco_file(masks, images)))
        areas = {a["id"]: a["area"] for a in self.coco["annotations"]}
        self.assertLess(areas[8], 0.6 * 120 * 80)
        self.assertEqual(areas[9], 120 * 80)

    def test_zipped_files_are_read_as_they_are_published(self):
        regions = [{"id": 61, "regions": [self.region(8), self.region(9, box=(1, 1, "x", 2))]}]
        self.run_all(regions)
        plain = self.coco
        os.makedirs(self.path("packed"))
        for name in ("image_data.json", "region_descriptions.json"):
            with zipfile.ZipFile(self.path("packed", name + ".zip"), "w", zipfile.ZIP_DEFLATED) as z:
                z.write(self.path(name), name)
        self.export("vg", self.path("packed"), out="o1")
        self.assertEqual(self.coco, plain)
        self.assertEqual([(r["file"], r["hash"]) for r in self.rows], [("region_descriptions.json.zip", None)])
        with open(self.path("packed", "region_descriptions.json.zip"), "r+b") as f:
            f.truncate(60)
        self.export("vg", self.path("packed"), out="o2", code=65)
        self.assertIn("region_descriptions.json.zip", self.log)

    def test_the_mask_file_alone_is_a_source(self):
        images = [{"id": 61, "file_name": "61.jpg", "width": 200, "height": 150}]
        masks = [dict(ann(500, [square(5, 5, 50)], image_id=61), caption="a kite"), dict(ann(501, image_id=61), caption="x", ignore=True),
                 dict(ann(502, image_id=61), caption="")]
        self.picture("61.jpg", 200, 150)
        self.export("vg", self.write("vg_train_with_mask.json", coco_file(masks, images)))
        self.assertEqual(self.reasons(), ({"ignore": 1, "empty-caption": 1}, {}))
        self.assertEqual(self.talk[0]["conversations"][1]["value"], "a kite")


def inside(x, y, polygon):
    """Even-odd rule."""
    hit = False
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1]):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            hit = not hit
    return hit


class Vcr(Case):
    LINE = {"img_fn": "m_07/a@3.jpg", "metadata_fn": "m_07/a@3.json", "objects": ["person", "person", "car"], "question_orig": "Why is 2 near 3 ?",
            "answer_orig": "2 waits for 1 .", "rationale_orig": "1 holds the keys .", "question": ["Why", "is", [1], "near", [2], "?"], "answer_label": 0,
            "annot_id": "train-9"}
    META = {"boxes": [[10.2, 5.0, 60.9, 90.1, 0.99], [70, 8, 99.5, 88, 0.97], [5, 60, 50, 99, 0.88]],
            "segms": [[[[11, 6], [60, 6], [60, 90]]], [[[70, 8], [99, 8], [99, 88]]], []], "names": ["person", "person", "car"], "width": 120, "height": 100}

    def run_lines(self, *lines, meta=None, **options):
        self.write("pictures/m_07/a@3.json", meta or self.META)
        self.picture("m_07/a@3.jpg", 120, 100)
        text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
        self.export("vcr", self.write("train.jsonl", text), **options)

    def texts(self, n=0):
        c = [c["value"] for c in self.talk[n]["conversations"]]
        return c[0], c[1], c[3]

    def test_the_example_numbers_regions_by_first_mention(self):
        self.run_lines(self.LINE)
        t, = self.talk
        self.assertIsNone(self.coco)
        self.assertEqual((t["id"], t["file_name"], t["height"], t["width"]), ("vcr-train-9", "m_07/a@3.jpg", 100, 120))
        self.assertEqual(self.texts(), ("Why is <region1> near <region2> ?", "<region1> waits for <region3> .", "<region3> holds the keys ."))
        # object 2 is the second person, object 3 the car (no polygon: its box), object 1 the first person
        self.assertEqual([a["bbox"] for a in t["annotation"]], [[70, 8, 29, 79], [5, 60, 45, 39], [11, 6, 49, 83]])
        self.assertEqual([c["from"] for c in t["conversations"]], ["human", "gpt", "human", "gpt"])

    def test_numbers_that_are_no_mentions_stay(self):
        line = dict(self.LINE, question_orig="Is it 2 o'clock for 1 ?", question=["Is", "it", "2", "o'clock", "for", [0], "?"],
                    answer_orig="At 5 o'clock 3 left .", answer_choices=[["x"], ["At", "5", "o'clock", [2], "left", "."]], answer_label=1)
        self.run_lines(line)
        self.assertEqual(self.texts()[:2], ("Is it 2 o'clock for <region1> ?", "At 5 o'clock <region2> left ."))

    def test_without_token_lists_a_number_up_to_the_count_is_a_mention(self):
        line = {k: v for k, v in self.LINE.items() if k != "question"}
        self.run_lines(dict(line, question_orig="Why is 3 here at 5 o'clock ?"))
        self.assertEqual(self.texts()[0], "Why is <region1> here at 5 o'clock ?")

    def test_first_middle_and_last_object_are_named_right(self):
        # objects of zero size: their mentions read as their class
        meta = dict(self.META, segms=[[], [], []], boxes=[[1, 1, 1, 1, 0.9], [2, 2, 2, 2, 0.9], [5, 60, 50, 99, 0.9]])
        self.run_lines(dict(self.LINE, objects=["cat", "dog", "car"], question_orig="Do 1 and 2 see 3 ?", question=["Do", [0], "and", [1], "see", [2], "?"]), meta=meta)
        self.assertEqual(self.texts()[0], "Do cat and dog see <region1> ?")
        self.assertEqual(self.reasons()[0], {"empty": 2})

    def test_lists_are_filled_up_to_four_and_capped(self):
        n = 30
        meta = {"boxes": [[3 * i, 5, 3 * i + 20, 60, 0.9] for i in range(n)], "segms": [[]] * n, "names": ["person"] * n, "width": 120, "height": 100}
        base = dict(self.LINE, objects=["person"] * n)
        self.run_lines(dict(base, question_orig="Who is 7 ?", question=["Who", "is", [6], "?"], answer_orig="7 .", rationale_orig="7 ."), meta=meta)
        self.assertEqual([a["bbox"][0] for a in self.talk[0]["annotation"]], [18, 0, 3, 6])
        mentions = [[i] for i in range(n)]
        self.run_lines(dict(base, question_orig=" ".join(str(i + 1) for i in range(n)), question=mentions), meta=meta, out="o2")
        self.assertEqual(len(self.talk[0]["annotation"]), 15)
        self.assertEqual(self.texts()[0].split()[13:17], ["<region14>", "<region15>", "person", "person"])

    def test_masks_are_those_of_the_authors_grid_but_for_its_rim(self):
        r = random.Random(5)
        meta = {"boxes": [], "segms": [], "names": ["person"] * 12, "width": 160, "height": 120}
        for _ in range(12):
            cx, cy, a, b = r.uniform(40, 120), r.uniform(40, 80), r.uniform(12, 38), r.uniform(12, 38)
            turn = sorted(r.uniform(0, 2 * math.pi) for _ in range(r.randint(8, 20)))
            polygon = [[cx + a * math.cos(t), cy + b * math.sin(t)] for t in turn]
            xs, ys = zip(*polygon)
            meta["boxes"].append([min(xs), min(ys), max(xs), max(ys), 0.9])
            meta["segms"].append([polygon])
        self.write("pictures/m_07/a@3.json", meta)
        self.picture("m_07/a@3.jpg", 160, 120)
        line = dict(self.LINE, objects=meta["names"], question_orig=" ".join(str(i + 1) for i in range(12)), question=[[i] for i in range(12)], answer_orig=".", rationale_orig=".")
        self.export("vcr", self.write("train.jsonl", json.dumps(line)))
        self.assertEqual(len(self.talk[0]["annotation"]), 12)
        large = 0
        for box, (polygon,), found in zip(meta["boxes"], meta["segms"], self.talk[0]["annotation"]):
            ours = {(k // 120, k % 120) for k, bit in enumerate(decode(found["segmentation"])) if bit}
            x0, y0, x1, y1 = (round(v) for v in box[:4])
            grid = {(x, y) for x in range(x0, x1) for y in range(y0, y1) if inside(x + 0.5, y + 0.5, polygon)}
            if (x1 - x0) * (y1 - y0) > 400:
                large += 1
                self.assertGreaterEqual(len(ours & grid) / len(ours | grid), 0.95)
        self.assertGreater(large, 8)

    def test_bad_lines_are_quarantined(self):
        self.run_lines(self.LINE, "{", "[]", dict(self.LINE, metadata_fn="m_07/none.json"), dict(self.LINE, metadata_fn="../../etc/passwd"), dict(self.LINE, objects=3), "",
                       {k: v for k, v in self.LINE.items() if k != "answer_orig"})
        self.assertEqual(len(self.talk), 1)
        self.assertEqual(self.reasons()[1], {"json-syntax": 1, "vcr-schema": 1, "vcr-metadata": 2, "vcr-objects": 1, "vcr-text": 1})
        self.assertEqual([r["record"] for r in self.rows], [1, 2, 3, 4, 5, 7])


if __name__ == "__main__":
    DEEM = sys.argv[1]
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])

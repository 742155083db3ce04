"""`deem ingest instruct`: every row of data.md 7.1 and the stage III files of 7.2, by the examples of 1.10.
usage: ingest_instruct.py DEEM TOKENIZER [unittest arguments]"""
import gzip, json, os, re, shutil, subprocess, sys, tarfile, tempfile, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from export_masks import png, square, coco_file, ann

COMMAND = None
TOKENIZER = None
PIECES = None
HEAD = "You are a helpful assistant.\n\n ## USER: Based on the image, please answer the question."


def read_pieces():
    """The pieces of the SentencePiece model: field 1 of each field 1 of its protobuf."""
    def fields(data):
        at = 0
        def varint():
            nonlocal at
            v = shift = 0
            while True:
                b = data[at]
                at, v, shift = at + 1, v | (b & 127) << shift, shift + 7
                if b < 128:
                    return v
        while at < len(data):
            key = varint()
            size = {0: 0, 1: 8, 5: 4}.get(key & 7)
            if key & 7 == 0:
                varint()
            elif key & 7 == 2:
                size = varint()
            yield key >> 3, data[at:at + size]
            at += size
    with open(TOKENIZER, "rb") as f:
        return [next(v for k, v in fields(p) if k == 1).decode() for n, p in fields(f.read()) if n == 1]


def decode_ids(ids):
    global PIECES
    PIECES = PIECES or read_pieces()
    out = b""
    for i in ids:
        piece = PIECES[i] if i < len(PIECES) else f"<{i - len(PIECES)}>"
        out += bytes([int(piece[3:5], 16)]) if 3 <= i < 259 else piece.replace("\u2581", " ").encode()
    return out.decode()


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="deem-instruct-")
        self.images = self.path("pictures")
        os.makedirs(self.images)

    def tearDown(self):
        shutil.rmtree(self.dir)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, value):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(value if isinstance(value, str) else json.dumps(value))
        return self.path(name)

    def picture(self, name, w=40, h=30):
        png(os.path.join(self.images, name), w, h)

    def run_deem(self, *args, code=0):
        r = subprocess.run([DEEM, *args], capture_output=True, text=True)
        self.assertEqual(r.returncode, code, r.stderr)
        return r.stdout, r.stderr

    def ingest(self, kind, *annotations, options=(), code=0, out="data", images=None):
        args = [*COMMAND, "--set", kind, "--out", self.path(out), "--tokenizer", TOKENIZER, *options]
        for i in images or [self.images]:
            args += ["--images", i]
        for a in annotations:
            args += ["--annotations", a]
        _, self.log = self.run_deem(*args, code=code)
        if code:
            return
        self.rows = [json.loads(line) for line in self.run_deem("inspect", self.path(out), "--json")[0].splitlines()]
        self.stats = json.loads(self.run_deem("stats", self.path(out), "--json")[0])
        self.run_deem("verify", self.path(out))
        for i in self.stats["inputs"]:
            self.assertEqual(i["seen"], i["stored"] + sum(i["filtered"].values()) + sum(i["quarantined"].values()))
        with open(os.path.join(os.path.dirname(TOKENIZER), "tokenizer.model"), "rb") as f:
            f.read(1)

    def content(self, out):
        files = {}
        for root, _, names in os.walk(self.path(out)):
            for n in names:
                with open(os.path.join(root, n), "rb") as f:
                    files[os.path.relpath(os.path.join(root, n), self.path(out))] = f.read()
        return files

    def records(self, n=0):
        i = self.stats["inputs"][n]
        return i["stored"], i["filtered"], i["quarantined"]

    def trained(self, row):
        """The text of each run of trained tokens."""
        runs, before = [], 0
        for i, l in zip(row["ids"], row["loss_mask"]):
            if l:
                runs[-1:] = [runs[-1] + [i]] if before else [runs[-1], [i]] if runs else [[i]]
            before = l
        return [decode_ids(r) for r in runs]

    def assert_answers(self, *want):
        """The text ends in each row's answer, and exactly the tokens of it and eos are trained."""
        self.assertEqual(len(self.rows), len(want))
        for row, answer in zip(self.rows, want):
            self.assertEqual(len(row["loss_mask"]), len(row["ids"]))
            text = row["text"].replace("</s>", "")
            self.assertTrue(text.endswith(answer), (text, answer))
            mask = row["loss_mask"]
            first = mask.index(1)
            self.assertEqual(mask, [0] * first + [1] * (len(mask) - first))
            self.assertEqual(row["ids"][-1], 2)
            self.assertEqual(self.trained(row), [" " + answer + "</s>"])
            self.assertEqual([i["loss"] for i in row["images"]], [False])


class Stage2(Case):
    def test_llava_rounds_are_sequences_of_their_own(self):
        self.picture("coco/train2017/000000000077.jpg")
        self.picture("vg/VG_100K/77.jpg")
        a = self.write("llava_v1_5_mix665k.json", [
            {"id": "000000000077", "image": "coco/train2017/000000000077.jpg", "conversations": [
                {"from": "human", "value": "<image>\nHow many dogs?"}, {"from": "gpt", "value": "One."},
                {"from": "human", "value": "Indoors?"}, {"from": "gpt", "value": "No."}]},
            {"id": "text", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
            {"id": "gone", "image": "ocr_vqa/images/1437717772.jpg", "conversations": [{"from": "human", "value": "a\n<image>"}, {"from": "gpt", "value": "b"}]},
            {"id": "odd", "image": "vg/VG_100K/77.jpg", "conversations": [{"from": "gpt", "value": "b"}]}])
        self.ingest("llava", a)
        self.assert_answers("One.", "No.")
        self.assertEqual(self.records(), (1, {"text-only": 1, "F2-missing": 1}, {"llava-turns": 1}))
        self.assertEqual(self.rows[0]["text"].count("<image>"), 1)  # inspect writes slots so
        self.assertEqual([r["documents"][0]["key"] for r in self.rows], ["llava_v1_5_mix665k:000000000077#0", "llava_v1_5_mix665k:000000000077#1"])
        self.assertEqual(self.rows[0]["images"][0]["hash"], self.rows[1]["images"][0]["hash"])
        self.ingest("llava", a, options=["--multi-round"], out="multi")
        self.assertEqual(len(self.rows), 1)
        self.assertIn("One.", self.rows[0]["text"])

    def test_the_prompt_is_the_template_and_the_authors_have_two_spaces(self):
        self.picture("train_images/0123456789abcdef.jpg")
        a = self.write("TextVQA_0.5.1_train.json", {"dataset_type": "train", "data": [
            {"question": "what is it?", "question_id": 5, "image_id": "0123456789abcdef", "answers": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]}]})
        texts = []
        for profile in ("default", "deem"):
            self.ingest("textvqa", a, options=["--profile", profile], out=profile)
            texts.append(self.rows[0]["text"].replace("</s>", ""))
        for text, gap in zip(texts, (" ", "  ")):
            self.assertIn(f"## ASSISTANT:{gap}The answer is", text)
            self.assertIn("what is it?\n ## ASSISTANT:", text)
        self.assertEqual(len(self.rows[0]["images"]), 1)

    def test_vqav2_joins_questions_and_annotations(self):
        self.picture("train2014/COCO_train2014_000000000077.jpg")
        q = self.write("v2_questions.json", {"info": {}, "questions": [
            {"image_id": 77, "question": "Is it raining?", "question_id": 77000}, {"image_id": 77, "question": "Why?", "question_id": 77001},
            {"image_id": "x", "question": "Why?", "question_id": 77002}]})
        n = self.write("v2_annotations.json", {"annotations": [
            {"question_id": 77000, "image_id": 77, "multiple_choice_answer": "no", "answers": [{"answer": "yes", "answer_confidence": "yes", "answer_id": 1}]}]})
        for out, order in (("a", (q, n)), ("b", (n, q))):
            self.ingest("vqav2", *order, out=out)
            self.assert_answers("no")
            i = next(i for i in self.stats["inputs"] if i["file"] == "v2_questions.json")
            self.assertEqual((i["seen"], i["filtered"], i["quarantined"]), (3, {"no-answer": 1}, {"vqa-schema": 1}))
        self.ingest("vqav2", q, code=64, out="c")

    def test_okvqa_takes_the_majority(self):
        self.picture("train2014/COCO_train2014_000000000077.jpg")
        q = self.write("q.json", {"questions": [{"image_id": 77, "question": "What sport?", "question_id": 1}]})
        answers = [{"answer": a, "raw_answer": r} for a, r in (("surf", "surfing"), ("ski", "skiing"), ("ski", "skis"), ("surf", "surfing"), ("run", "running"))]
        n = self.write("n.json", {"annotations": [{"question_id": 1, "answers": answers[1:] + answers[:1]}]})
        self.ingest("okvqa", q, n)
        self.assert_answers("ski")
        self.ingest("okvqa", q, n, options=["--raw-answer"], out="raw")
        self.assert_answers("surfing")
        n = self.write("m.json", {"annotations": [{"question_id": 1, "answers": answers}]})
        self.ingest("okvqa", q, n, options=["--profile", "deem"], out="deem")
        self.assert_answers("surf")

    def test_aokvqa_finds_either_picture_and_draws_by_frequency(self):
        self.picture("train2017/000000000099.jpg")
        row = {"image_id": 99, "question_id": "q0", "question": "What?", "choices": ["a"] * 4, "direct_answers": ["dog"] * 9 + ["cat"]}
        rows = [dict(row, question_id=f"q{i}") for i in range(100)]
        self.ingest("aokvqa", self.write("aokvqa_v1p0_train.json", rows))
        answers = [r["text"].replace("</s>", "").split()[-1] for r in self.rows]
        self.assertTrue(80 <= answers.count("dog") <= 98, answers.count("dog"))
        self.assertEqual(answers.count("dog") + answers.count("cat"), 100)

    def test_ocrvqa_books_of_split_1_under_either_name(self):
        self.picture("0000123456.gif")
        self.picture("0000123457.jpg")
        book = {"imageURL": "http://example.org/c.gif", "questions": ["Who wrote it?", "Is it history?"], "answers": ["A. Writer", "Yes"], "title": "T", "split": 1}
        self.ingest("ocrvqa", self.write("dataset.json", {"0000123456": book, "0000123457": book, "0000123458": dict(book, split=2), "x": dict(book, answers=["one"])}))
        self.assert_answers("A. Writer", "Yes", "A. Writer", "Yes")
        self.assertEqual(self.records(), (2, {"split": 1}, {"ocrvqa-schema": 1}))

    def test_gqa_in_both_forms(self):
        self.picture("2370799.jpg")
        self.ingest("gqa", self.write("list.json", [{"image": "2370799.jpg", "question_id": "n12", "question": "Red?", "answer": "no", "fullAnswer": "No, it is not."}]))
        self.assert_answers("no")
        self.ingest("gqa", self.write("object.json", {"07333408": {"imageId": "2370799", "question": "Red?", "answer": "yes"}}), out="b")
        self.assert_answers("yes")
        self.assertEqual(self.rows[0]["documents"][0]["key"], "object:07333408")

    def test_captions_are_lower_case_behind_one_of_17_requests(self):
        self.picture("val2014/COCO_val2014_000000000099.jpg")
        rows = [{"caption": "A Dog on a LAWN \u00c4.", "image": "val2014/COCO_val2014_000000000099.jpg", "image_id": f"coco_{i}"} for i in range(60)]
        rows.append({"caption": ["One.", "Two."], "image": "val2014/COCO_val2014_000000000099.jpg", "image_id": "coco_list"})
        rows.append({"caption": 5, "image": "x.jpg", "image_id": "y"})
        self.ingest("coco-caption", self.write("coco_karpathy_train.json", rows))
        self.assertEqual({r["text"].replace("</s>", "")[-len("a dog on a lawn \u00e4."):] for r in self.rows[:60]}, {"a dog on a lawn \u00e4."})
        self.assertGreater(len({r["text"] for r in self.rows[:60]}), 10)
        self.assertIn(self.rows[60]["text"].replace("</s>", "")[-4:], ("one.", "two."))
        self.assertEqual(self.records()[2], {"caption-schema": 1})
        self.picture("train_images/0123456789abcdef.jpg")
        self.ingest("textcaps", self.write("TextCaps_0.1_train.json", {"data": [{"image_id": "0123456789abcdef", "caption_id": 1, "caption_str": "A Sign."}]}), out="t")
        self.assert_answers("a sign.")

    def test_broken_pictures_and_long_answers_are_counted(self):
        self.write("pictures/broken.jpg", "<html>")
        self.picture("small.jpg", 9, 9)
        self.picture("fine.jpg")
        turn = lambda answer: [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": answer}]
        self.ingest("llava", self.write("l.json", [{"id": n, "image": f"{n}.jpg", "conversations": turn(a)} for n, a in
                                                  (("broken", "x"), ("small", "x"), ("fine", "word " * 3000), ("fine", "short"))]))
        stored, filtered, quarantined = self.records()
        self.assertEqual((stored, filtered, sum(quarantined.values())), (1, {"F11-size": 1, "F13-too-long": 1}, 1))

    def many(self):
        for i in range(30):
            self.picture(f"p{i}.jpg", 30 + i, 30)
        return self.write("many.json", [{"id": f"r{i}", "image": f"p{i % 30}.jpg", "conversations": [
            {"from": "human", "value": f"<image>\nWhat is {i}?"}, {"from": "gpt", "value": f"It is {i}."}]} for i in range(300)])

    def test_same_bytes_for_any_jobs_and_parts_and_resume(self):
        a = self.many()
        self.ingest("llava", a, options=["--records-per-unit", "64", "--jobs", "1"], out="one")
        one = self.content("one")
        self.assertEqual(len([n for n in one if n.endswith(".mdb")]), 5)
        self.ingest("llava", a, options=["--records-per-unit", "64", "--jobs", "4"], out="four")
        self.assertEqual(one, self.content("four"))
        for part in ("1/2", "0/2"):
            self.run_deem(*COMMAND, "--set", "llava", "--out", self.path("parts"), "--tokenizer", TOKENIZER, "--images", self.images, "--annotations", a,
                          "--records-per-unit", "64", "--part", part)
        self.ingest("llava", a, options=["--records-per-unit", "64"], out="parts")
        self.assertEqual(one, self.content("parts"))
        self.ingest("llava", a, options=["--records-per-unit", "64"], out="one")
        self.assertEqual(one, self.content("one"))
        self.ingest("llava", a, options=["--records-per-unit", "64", "--seed", "1"], out="one", code=64)
        self.assertIn("seed", self.log)

    def test_caps_keep_records_in_their_order(self):
        a = self.many()
        self.ingest("llava", a, options=["--max-instances", "40"])
        few = [r["documents"][0]["key"] for r in self.rows]
        self.assertEqual(len(few), 40)
        self.assertEqual(few, sorted(few, key=lambda k: int(k.split("r")[-1])))
        self.ingest("llava", a, options=["--max-instances", "80"], out="b")
        self.assertLess(set(few), {r["documents"][0]["key"] for r in self.rows})
        self.assertEqual(self.records()[1], {"max-instances": 220})

    def test_pictures_can_be_excluded_and_compared(self):
        for name in ("coco/train2017/000000000005.jpg", "coco/train2017/000000000007.jpg", "vg/61.jpg", "vg/62.jpg"):
            self.picture(name)
        a = self.write("l.json", [{"id": str(n), "image": i, "conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "a"}]} for n, i in
                                  enumerate(("coco/train2017/000000000005.jpg", "coco/train2017/000000000007.jpg", "coco/train2017/000000000007.jpg", "vg/61.jpg", "vg/62.jpg"))])
        ids = self.write("ids.txt", "61\nCOCO_val2014_000000000005.jpg\n")
        pope = self.write("pope.json", '{"question_id":1,"image":"COCO_val2014_000000000007.jpg","text":"Is 3 here?"}\n' * 2)
        self.ingest("llava", a, options=["--exclude-image-ids", ids, "--compare", pope])
        self.assertEqual(self.records()[:2], (3, {"excluded": 2}))
        self.assertIn("pope.json: 1 pictures, 2 records overlap", self.log)
        self.assertIn("2 records on 1 pictures of COCO", self.log)
        self.write("ids.txt", "62\n")
        self.ingest("llava", a, options=["--exclude-image-ids", ids], code=64)
        self.assertIn("exclude-image-ids", self.log)

    def test_annotation_files_are_ordered_by_name(self):
        self.picture("x.jpg")
        files = [self.write(f"{d}/{n}.json", [{"image": "x.jpg", "question_id": n, "question": "Q?", "answer": n}]) for d, n in (("z", "a"), ("y", "b"), ("x", "b.1"))]
        self.ingest("gqa", *files, out="o1")
        self.ingest("gqa", *files[::-1], out="o2")
        self.assertEqual(self.content("o1"), self.content("o2"))
        self.assertEqual([r["documents"][0]["key"] for r in self.rows], ["a:a", "b:b", "b.1:b.1"])
        self.ingest("gqa", *files, self.write("w/a.json", []), code=65, out="o3")
        self.assertIn("a.json: two inputs of this name; make two datasets", self.log)

    def test_packed_annotations(self):
        self.picture("x.jpg")
        text = json.dumps([{"image": "x.jpg", "question_id": 1, "question": "Q?", "answer": "no"}, 5])
        with gzip.open(self.path("gqa.json.gz"), "wt") as f:
            f.write(text)
        self.ingest("gqa", self.path("gqa.json.gz"))
        self.assert_answers("no")
        self.assertEqual(self.rows[0]["documents"][0]["key"], "gqa:1")
        self.assertEqual(self.records(), (1, {}, {"record-type": 1}))

    def test_the_preset_takes_a_sets_share_of_800000(self):
        self.picture("train2014/COCO_train2014_000000000077.jpg")
        q = self.write("q.json", {"questions": [{"image_id": 77, "question": "Q?", "question_id": i} for i in range(600)]})
        n = self.write("n.json", {"annotations": [{"question_id": i, "answers": [{"answer": "a"}]} for i in range(600)]})
        self.ingest("okvqa", q, n, options=["--preset", "paper800k"])
        self.assertEqual(self.stats["records"]["filtered"], {"max-instances": 60})
        self.assertEqual(len(self.rows), 540)

    def test_a_broken_file_ends_with_65(self):
        self.ingest("llava", self.write("x.json", '[{"id":'), code=65)
        self.assertIn("x.json", self.log)
        self.ingest("textvqa", self.write("y.json", '{"other":[]}'), code=65, out="b")
        self.ingest("llava", self.path("absent.json"), code=64, out="c")


class Pictures(Case):
    """Where --images finds a picture: folders and tars, by the path annotations give."""
    def one(self, image, images, **more):
        a = self.write("gqa.json", [{"image": image, "question_id": "1", "question": "Q?", "answer": "no"}])
        self.ingest("gqa", a, images=images, **more)
        return [(r["images"][0]["width"], r["images"][0]["height"]) for r in self.rows]

    def tar(self, name, members, cut=0):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with tarfile.open(self.path(name), "w", format=tarfile.USTAR_FORMAT) as t:
            for member, (w, h) in members.items():
                png(self.path("one.png"), w, h)
                t.add(self.path("one.png"), member)
        if cut:
            with open(self.path(name), "r+b") as f:
                f.truncate(cut)
        return self.path(name)

    def test_a_tar_a_folder_of_tars_and_a_folder_give_the_same_bytes(self):
        self.picture("train2017/000000000077.jpg")
        t = self.tar("tars/deep/train2017.tar", {"train2017/000000000076.jpg": (50, 50), "train2017/000000000077.jpg": (40, 30)})
        seen = []
        for n, path in enumerate((self.images, t, self.path("tars"))):
            self.one("coco/train2017/000000000077.jpg", [path], out=f"o{n}")
            seen.append(self.content(f"o{n}"))
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])
        self.assertEqual(len(self.rows), 1)

    def test_a_damaged_tar_gives_what_can_be_read(self):
        t = self.tar("a.tar", {"a.png": (40, 30), "b.png": (41, 30)}, cut=1560)
        self.assertEqual(self.one("a.png", [t]), [(40, 30)])
        self.assertEqual(self.one("b.png", [t], out="b"), [])
        self.assertEqual(self.records(), (0, {"F2-missing": 1}, {}))

    def test_the_path_asked_for_decides_and_then_the_order_of_paths(self):
        png(self.path("one", "x", "gqa", "7.png"), 11, 30)
        png(self.path("two", "gqa", "7.png"), 12, 30)
        png(self.path("two", "vg", "7.png"), 13, 30)
        png(self.path("flat", "7.png"), 14, 30)
        one, two, flat = self.path("one"), self.path("two"), self.path("flat")
        for n, (image, paths, want) in enumerate((
                ("gqa/7.png", [one, two], 11), ("gqa/7.png", [two, one], 12), ("data/vg/7.png", [one, two], 13), ("7.png", [two], 12),
                ("data/vg/7.png", [flat], 14), ("./gqa/7.png", [two], 12), ("other/7.png", [one, two], None), ("vg/7.PNG", [two], None))):
            self.assertEqual(self.one(image, paths, out=f"o{n}"), [(want, 30)] if want else [], (image, paths))

    def test_members_of_a_tar_come_in_byte_order(self):
        t = self.tar("t.tar", {"b/7.png": (11, 30), "a/7.png": (12, 30)})
        self.assertEqual(self.one("7.png", [t]), [(12, 30)])

    def test_no_such_path_is_told(self):
        a = self.write("gqa.json", [{"image": "x", "question_id": "1", "question": "Q?", "answer": "no"}])
        self.ingest("gqa", a, images=[self.path("none")], code=74)
        self.assertIn("none: no such folder or tar of pictures", self.log)
        self.ingest("gqa", a, images=[a], code=65)
        self.assertIn("gqa.json: neither a folder nor a .tar of pictures", self.log)


class Stage3(Case):
    def export(self, annotations, options=(), **more):
        self.run_deem("export", "masks", "--set", "coco", "--annotations", self.write("a.json", coco_file(annotations, **more)), "--images", self.images,
                      "--out", self.path("masks"), *options)
        return self.path("masks", "coco_train_conversation.json")

    def test_regions_become_slots_with_their_masks(self):
        self.picture("000000000077.jpg", 60, 40)
        talk = self.export([ann(1), ann(2, category_id=1)])
        self.ingest("mask-text", talk)
        row, = self.rows
        with open(talk) as f:
            record, = json.load(f)
        self.assertEqual(len(row["images"]), 3)
        self.assertEqual(len({i["hash"] for i in row["images"]}), 1)
        self.assertEqual([m["rle"] for m in row["masks"]], [a["segmentation"]["counts"] for a in record["annotation"]])
        self.assertEqual([m["region"] for m in row["masks"]], [1, 2])
        text = row["text"]
        self.assertIn("## user:", text)
        self.assertIn("## assistant:", text)
        self.assertNotIn("<region", text)
        words = [c["value"] for c in record["conversations"][1::2]]
        self.assertEqual(self.trained(row), [f" {words[0]}\n", f" {words[1]}</s>"])
        self.run_deem("inspect", self.path("data"), "--html", self.path("page.html"))
        with open(self.path("page.html")) as f:
            page = f.read()
        for k, word in enumerate(words, 1):
            colour, said = re.search(rf"border-left:.8em solid (hsl\([^)]*\));padding-left:.4em\">region {k}</b>:([^&]*) &middot;", page).groups()
            self.assertEqual(said.strip(), word)
            self.assertEqual(page.count(f'<path style="fill:{colour}"'), 1)
        # whole picture first, then each region in its own turn
        self.assertLess(row["images"][0]["soi"], row["images"][1]["soi"])
        trained = sum(row["loss_mask"])
        self.assertTrue(0 < trained < 40, trained)
        self.assertEqual(row["loss_mask"][-1], 1)

    def test_the_authors_profile_trains_roles_too(self):
        self.picture("000000000077.jpg", 60, 40)
        talk = self.export([ann(1)])
        self.ingest("mask-text", talk)
        ours = sum(self.rows[0]["loss_mask"])
        self.ingest("mask-text", talk, options=["--profile", "deem"], out="deem")
        self.assertIn("## asistant:", self.rows[0]["text"])
        self.assertEqual(self.trained(self.rows[0]), ["## ", " ## asistant: dog</s>"])  # three tokens of this vocabulary
        self.assertGreater(sum(self.rows[0]["loss_mask"]), ours + 3)

    def test_lists_put_all_regions_first(self):
        self.picture("m_07/a@3.jpg", 120, 100)
        rle = {"size": [100, 120], "counts": [100, 2000, 9900]}
        record = {"id": "vcr-train-9", "file_name": "m_07/a@3.jpg", "height": 100, "width": 120, "annotation": [{"bbox": [1, 1, 5, 5], "segmentation": rle}] * 2,
                  "conversations": [{"from": "human", "value": "Why is <region1> near <region2> ?"}, {"from": "gpt", "value": "<region1> waits."},
                                    {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}], "source": "vcr", "list_prefix": "Given: {regions}."}
        bad = dict(record, id="bad", annotation=[{"segmentation": {"size": [99, 120], "counts": [11880]}}])
        self.ingest("mask-text", self.write("vcr_train_conversation.json", [record, bad, dict(record, id="d", conversations=None)]))
        row, = self.rows
        self.assertEqual(len(row["images"]), 3)
        text = row["text"]
        self.assertLess(text.index("Given:"), text.index("Why is region1 near region2"))
        self.assertIn("region1 waits.", text)
        v = max(row["ids"])
        self.assertEqual(row["ids"].count(v), 2)      # </ref>
        self.assertEqual(row["ids"].count(v - 1), 2)  # <ref>
        self.assertEqual(self.records(), (1, {"no-conversations": 1}, {"mask-size-differs": 1}))

    def test_osprey_files_without_sources_and_with_descriptions(self):
        self.picture("000000000077.jpg", 120, 100)
        rle = {"size": [100, 120], "counts": [100, 2000, 9900]}
        base = {"file_name": "000000000077.jpg", "height": 100, "width": 120, "annotation": [{"bbox": [1, 1, 5, 5], "segmentation": rle}] * 2}
        lines = ["<region1>: A dog.\nIt sleeps by <region2>.", "<region2>: A cat."]
        bad = [["A dog."], ["<region3>: x"], ["<region1>:  "], [5], [], ["<region0>: x"]]
        talk = [{"from": "human", "value": "What is in <region2>?"}, {"from": "gpt", "value": "A cat near <region1>."}]
        self.ingest("mask-text", self.write("osprey_detail_description.json", [dict(base, id=1, description=lines)] + [dict(base, id=f"b{n}", description=d) for n, d in enumerate(bad)]),
                    self.write("osprey_conversation.json", [dict(base, id=2, conversations=talk)]))
        self.assertEqual(self.records(0), (1, {}, {}))
        self.assertEqual(self.records(1), (1, {}, {"mask-text-turns": 6}))
        talk, described = (r["text"] for r in self.rows)
        self.assertIn("What is in region2?", talk)
        self.assertIn("A cat near region1.", talk)
        self.assertEqual([len(r["masks"]) for r in self.rows], [2, 2])
        self.assertIn("A dog.\nIt sleeps by region2.", described)
        self.assertLess(described.index("region1"), described.index("A dog."))
        self.assertTrue(described.endswith("A cat.</s>"))
        self.assertEqual(self.rows[1]["documents"][0]["key"], "osprey_detail_description:1")

    def test_turns_that_do_not_fit_are_left_out(self):
        self.picture("000000000077.jpg", 60, 40)
        talk = self.export([ann(i, seg=[square(i, i % 9, 12)]) for i in range(1, 16)])
        self.ingest("mask-text", talk, options=["--seq-len", "800"])
        self.assertLess(len(self.rows[0]["ids"]), 801)
        self.assertLess(len(self.rows[0]["images"]), 11)
        self.ingest("mask-text", talk, out="whole")
        self.assertEqual(len(self.rows[0]["images"]), 16)


if __name__ == "__main__":
    DEEM, TOKENIZER = sys.argv[1:3]
    COMMAND = os.environ.get("DEEM_INSTRUCT", "ingest instruct").split()
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])

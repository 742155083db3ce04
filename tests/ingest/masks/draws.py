"""Draws D7a, D7b, D8a, D8b, D8c and D11 of `deem export masks` and `deem ingest instruct` against the rule of
data.md 2.3.1, written again here over python-xxhash. usage: draws.py DEEM TOKENIZER [unittest arguments]"""
import json, os, struct, sys, unittest

try:
    import xxhash
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ingest_instruct
from export_masks import ann, coco_file, square

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
MASK = 2**32 - 1


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


class Draw:
    def __init__(self, seed, purpose, *fields):
        key = b"deem" + struct.pack("<Q", seed)
        for f in (purpose, *fields):
            key += b"i" + struct.pack("<Q", f) if isinstance(f, int) else b"s" + struct.pack("<I", len(f.encode())) + f.encode()
        h = xxhash.xxh3_128_intdigest(key)
        self.h, self.n = [h >> 32 * i & MASK for i in range(4)], 0

    def word(self):
        b = self.n // 2
        x = philox((b & MASK, b >> 32, self.h[2], self.h[3]), self.h[:2])
        self.n += 1
        i = 2 * ((self.n - 1) % 2)
        return x[i] | x[i + 1] << 32

    def below(self, n):
        while True:
            m = self.word() * n
            if m % 2**64 >= (2**64 - n) % n:
                return m >> 64

    def pick(self, n, k):
        a = list(range(n))
        for i in range(k):
            j = i + self.below(n - i)
            a[i], a[j] = a[j], a[i]
        return a[:k]

    def weighted(self, weights):
        r = self.below(sum(weights))
        for i, w in enumerate(weights):
            r -= w
            if r < 0:
                return i


def template(name):
    with open(os.path.join(ROOT, "recipes", "templates", name)) as f:
        return json.load(f)


class Draws(ingest_instruct.Case):
    SEED = 7

    def test_the_worked_example_of_the_rule(self):
        self.assertEqual(Draw(42, "D1", "docs_no_face_shard_12_v3", 7).pick(9, 6), [2, 4, 6, 0, 8, 5])
        self.assertEqual(Draw(42, "D3", "docs_no_face_shard_12_v3", 7).word(), 0xEAF763EEE92E813B)

    def rows_of(self, kind, value):
        self.ingest(kind, self.write(f"{kind}.json", value), options=["--seed", str(self.SEED)], out=kind)
        return self.rows

    def answers(self, mark="The answer is "):
        return [r["text"].replace("</s>", "").split(mark)[-1] for r in self.rows]

    def test_sampled_answers(self):
        self.picture("train_images/0123456789abcdef.jpg")
        options = [f"a{i}" for i in range(10)]
        self.rows_of("textvqa", {"data": [{"question": "Q?", "question_id": i, "image_id": "0123456789abcdef", "answers": options} for i in range(30)]})
        self.assertEqual(self.answers(), [options[Draw(7, "D7a", "textvqa", str(i), 0).below(10)] for i in range(30)])
        self.picture("train2017/000000000099.jpg")
        given = ["cat", "dog", "cat", "cow", "dog", "cat", "pig", "pig", "ant", "cat"]
        once = list(dict.fromkeys(given))
        self.rows_of("aokvqa", [{"image_id": 99, "question_id": f"q{i}", "question": "Q?", "direct_answers": given} for i in range(30)])
        self.assertEqual(self.answers(), [once[Draw(7, "D7a", "aokvqa", f"q{i}", 0).weighted([given.count(x) for x in once])] for i in range(30)])

    def test_caption_requests_and_captions_of_a_list(self):
        self.picture("x.jpg")
        requests = template("instruct.json")["caption_requests"]
        self.assertEqual(len(requests), 17)
        self.rows_of("coco-caption", [{"caption": ["one", "two", "three"], "image": "x.jpg", "image_id": f"coco_{i}"} for i in range(30)])
        for i, row in enumerate(self.rows):
            d = Draw(7, "D7b", "coco-caption", f"coco_{i}", 0)
            request = requests[d.below(17)]
            self.assertIn(request, row["text"])
            self.assertTrue(row["text"].endswith(("one", "two", "three")[d.below(3)] + "</s>"))

    def test_instances_under_a_cap(self):
        self.picture("x.jpg")
        rows = [{"image": "x.jpg", "question_id": str(i), "question": "Q?", "answer": "a"} for i in range(50)]
        self.ingest("gqa", self.write("gqa.json", rows), options=["--seed", "7", "--max-instances", "12"])
        want = sorted(sorted(range(50), key=lambda i: Draw(7, "D11", "gqa", str(i)).word())[:12])
        self.assertEqual([r["documents"][0]["key"] for r in self.rows], [f"gqa:{i}" for i in want])

    def export(self, kind, *annotations, options=()):
        args = ["export", "masks", "--set", kind, "--images", self.images, "--out", self.path("masks"), "--seed", "7", *options]
        for a in annotations:
            args += ["--annotations", a]
        self.run_deem(*args)
        with open(self.path("masks", f"{kind}_train_conversation.json")) as f:
            return json.load(f)

    def test_regions_and_their_order(self):
        images, rows = [], []
        for i in range(1, 9):
            self.picture(f"{i:012d}.jpg", 60, 40)
            images.append({"id": i, "file_name": f"{i:012d}.jpg", "width": 60, "height": 40})
            rows += [ann(100 * i + k, [square(k, k % 5, 8)], image_id=i) for k in range(3 * i)]
        talk = self.export("coco", self.write("a.json", coco_file(rows, images)), options=["--max-instances", "5"])
        kept = sorted(sorted(range(1, 9), key=lambda i: Draw(7, "D11", "coco", str(i)).word())[:5])
        self.assertEqual([t["id"] for t in talk], [f"coco-{i}" for i in kept])
        for i, t in zip(kept, talk):
            want = Draw(7, "D8a", "coco", str(i), 0).pick(3 * i, min(15, 3 * i))
            self.assertEqual([a["bbox"][:2] for a in t["annotation"]], [[k, k % 5] for k in want])

    def test_wording_of_questions(self):
        self.picture("VG_100K/61.jpg", 200, 150)
        images = [{"image_id": 61, "url": "https://x.org/VG_100K/61.jpg", "width": 200, "height": 150}]
        regions = [{"region_id": k, "image_id": 61, "x": 9 * k, "y": 5, "width": 50, "height": 50, "phrase": f"p{k}"} for k in range(12)]
        talk, = self.export("vg", self.write("image_data.json", images), self.write("regions.json", [{"id": 61, "regions": regions}]))
        words = template("mask_text.json")["sets"]["vg"]
        self.assertEqual(len(words["question"]), 24)
        for k, turn in enumerate(talk["conversations"][::2]):
            asked = words["question"][Draw(7, "D8b", "vg", "61", 0, k).below(24)].replace("<region>", f"<region{k + 1}>")
            self.assertTrue(turn["value"].endswith(f"{asked} {words['limit']}"), (turn, asked))

    def test_prefixes_and_questions_of_vcr(self):
        meta = {"boxes": [[9, 5, 60, 90, 0.9], [70, 8, 99, 88, 0.9]], "segms": [[], []], "names": ["person"] * 2, "width": 120, "height": 100}
        self.write("pictures/m/a.json", meta)
        self.picture("m/a.jpg", 120, 100)
        lines = "".join(json.dumps({"img_fn": "m/a.jpg", "metadata_fn": "m/a.json", "objects": ["person", "person"], "question_orig": "Why is 1 here ?",
                                    "answer_orig": "2 .", "rationale_orig": "x .", "annot_id": f"train-{i}"}) + "\n" for i in range(20))
        talk = self.export("vcr", self.write("train.jsonl", lines))
        words = template("mask_text.json")["sets"]["vcr"]
        self.assertEqual((len(words["list_prefix"]), len(words["why"])), (7, 39))
        for i, t in enumerate(talk):
            self.assertEqual(t["list_prefix"], words["list_prefix"][Draw(7, "D8c", "vcr", f"train-{i}", 0).below(7)])
            self.assertEqual(t["conversations"][2]["value"], words["why"][Draw(7, "D8b", "vcr", f"train-{i}", 0, 0).below(39)])


if __name__ == "__main__":
    ingest_instruct.DEEM, ingest_instruct.TOKENIZER = sys.argv[1:3]
    ingest_instruct.COMMAND = ["ingest", "instruct"]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])

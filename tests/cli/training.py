"""tests/cli/training.py: what surrounds training, from outside: metrics, pictures, plots, generation. One
small dataset and one run of three steps serve all. DEEM names the program."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dump  # noqa: E402

DEEM = os.environ.get("DEEM", os.path.join(dump.ROOT, "build", "dev", "deem"))
RECIPE = """stage: 1
seed: 5
steps: 20
warmup: 2
seq_len: 128
image_tokens: 4
data:
  web:
    datasets: [%(folder)s/web]
batch: {global: 4, micro: 2, pictures: 4}
image: {side: 32, decode_side: 64}
train: {llm: "yes", head: "yes", unet: "yes"}
optimizer: {lr: 3e-3, lr_llm: 3e-3, lr_cross: 3e-3, eps: 1e-8}
run: {checkpoint_every: 100}
model:
  vocab: %(vocab)d
  vocab_base: %(pieces)d
  feature_width: 16
  pos_grid: 4
  dropout: 0
  drop_path: 0
  convnext: {depths: [1, 1, 1, 1], dims: [4, 8, 8, 16]}
  llm: {hidden: 32, heads: 2, ffn: 48, layers: 2, cross_every: 2}
  mmfs: {heads: 2, points: 2, inner: 16, base: 4, max_images: 8}
  perceiver1: {hidden: 16, heads: 2, layers: 2, cross_every: 2, ffn: 24}
  perceiver2: {hidden: 16, heads: 2, ffn: 24}
  unet: {widths: [4, 8, 8, 8], heads: [1, 2, 2, 2], groups: 2}
  vae: {widths: [4, 4, 8, 8], groups: 2}
  mmfs_net: {heads: 2, points: 2, inner: 16, grid: 8, max_images: 4, shapes: [8, 4, 2, 1], bases: [8, 4, 2, 1]}
  mask_side: 14
"""


def run(*args, **kw):
    return subprocess.run([DEEM, *map(str, args)], capture_output=True, timeout=300, **kw)


class Place:
    """The dataset, the recipe and the run; made when first asked for."""
    folder = None

    @classmethod
    def make(cls):
        cls.folder = tempfile.mkdtemp(prefix="deem-training-")
        dump.random_dump(os.path.join(cls.folder, "raw"), 40, 1, sound_only=True, picture_limit=20)
        must("ingest", "mmc4", "--out", cls.path("web"), "--tokenizer", dump.TOKENIZER, "--quiet",
             "--seq-len", 128, "--image-tokens", 4, "--images-per-seq", 4,
             "--images", cls.path("raw", "pictures"), cls.path("raw", "docs"))
        with open(cls.path("web", "dataset.json")) as f:
            pieces = json.load(f)["tokenizer"]["pieces"]
        with open(cls.path("recipe.yaml"), "w") as f:
            f.write(RECIPE % {"folder": cls.folder, "pieces": pieces, "vocab": pieces + 6})

    @classmethod
    def path(cls, *parts):
        return os.path.join(cls.folder, *parts)

    @classmethod
    def train(cls, out, *more, code=0):
        r = run("train", cls.path("recipe.yaml"), "--set", "out=" + cls.path(out), *more)
        assert r.returncode == code, r.stderr.decode()
        return r


def must(*args):
    r = run(*args)
    assert r.returncode == 0, r.stderr.decode()
    return r


def metrics(out):
    with open(Place.path(out, "metrics.jsonl")) as f:
        return [json.loads(line) for line in f]


def setUpModule():
    Place.make()
    Place.train("run", "--steps", "3")


def tearDownModule():
    shutil.rmtree(Place.folder, True)


class Mfu(unittest.TestCase):
    def test_it_is_a_share_of_the_peak_that_is_given(self):
        counted = []
        for peak in (1e9, 4e9):
            out = "peak-%g" % peak
            Place.train(out, "--steps", "1", "--set", "run.peak_flops=%g" % peak)
            row = metrics(out)[0]
            counted.append(row["mfu"] * row["seconds"] * peak)
        self.assertAlmostEqual(counted[0] / counted[1], 1.0, 9)
        self.assertGreater(counted[0], 1e7)

    def test_it_grows_with_what_a_step_multiplies(self):
        """Twice the rows of a step, from one micro-batch to two."""
        flops = []
        for rows in (2, 4):
            out = "rows-%d" % rows
            Place.train(out, "--steps", "1", "--set", "run.peak_flops=1e9", "--set",
                        "batch.global=%d" % rows)
            row = metrics(out)[0]
            flops.append(row["mfu"] * row["seconds"])
        self.assertGreater(flops[1], 1.5 * flops[0])
        self.assertLess(flops[1], 3.0 * flops[0])

    def test_without_one_it_is_a_share_of_a_measured_product(self):
        r = Place.train("measured", "--steps", "2")
        self.assertIn(b"the product measured now", r.stderr)
        for row in metrics("measured"):
            self.assertGreater(row["mfu"], 0.0)
            self.assertLess(row["mfu"], 1.0)

    def test_the_line_says_how_far_and_how_well(self):
        r = Place.train("line", "--steps", "2")
        for word in (b"2 of 2 (100.0 %)", b"loss", b"tok/s", b"wait", b"mfu"):
            self.assertIn(word, r.stderr)


class Plot(unittest.TestCase):
    SVG = "{http://www.w3.org/2000/svg}"

    def svg(self, rows, *more):
        folder = tempfile.mkdtemp(dir=Place.folder)
        with open(os.path.join(folder, "metrics.jsonl"), "w") as f:
            for step, values in enumerate(rows):
                losses = dict(zip(("loss", "loss_ntp", "loss_nip", "loss_csr"), values))
                f.write(json.dumps(dict(losses, step=step)) + "\n")
        path = os.path.join(folder, "out.svg")
        r = run("plot", folder, "--svg", path, *more)
        self.assertEqual(r.returncode, 0, r.stderr)
        root = xml.etree.ElementTree.parse(path).getroot()
        lines = [[tuple(map(float, p.split(","))) for p in line.get("points").split()]
                 for line in root.iter(self.SVG + "polyline")]
        return lines, [t.text for t in root.iter(self.SVG + "text")]

    def test_a_straight_line_is_straight_and_within_the_axes(self):
        lines, texts = self.svg([(10 - i, 0, 0, 0) for i in range(8)])
        (line,) = lines
        self.assertEqual(len(line), 8)
        falls = [b[1] - a[1] for a, b in zip(line, line[1:])]
        self.assertGreater(min(falls), 10)
        self.assertLess(max(falls) - min(falls), 0.3)
        self.assertTrue(all(68 <= x <= 882 and 64 <= y <= 428 for x, y in line))
        self.assertIn("optimizer step", texts)
        self.assertIn("loss", texts)
        self.assertNotIn("loss_nip", texts)
        self.assertNotIn("-0", texts)

    def test_values_far_apart_are_drawn_on_a_logarithmic_axis(self):
        rows = [(10.0 ** (2 - i), 1, 0, 0) for i in range(4)]
        lines, texts = self.svg(rows)
        self.assertIn("loss, logarithmic", texts)
        falls = [b[1] - a[1] for a, b in zip(lines[0], lines[0][1:])]
        self.assertLess(max(falls) - min(falls), 0.3)
        self.assertIn("loss", self.svg(rows, "--scale", "linear")[1])
        self.assertNotIn("loss, logarithmic", self.svg(rows, "--scale", "linear")[1])

    def test_the_mean_stands_beside_each_value(self):
        rows = [(5 + i % 2, 0, 0, 0) for i in range(40)]
        (each, mean), texts = self.svg(rows, "--smooth", 5)
        self.assertEqual(len(each), len(mean))
        spread = [max(y for _, y in line[5:-5]) - min(y for _, y in line[5:-5]) for line in (each, mean)]
        self.assertLess(5 * spread[1] * 0.99, spread[0] * 1.01)
        self.assertIn("mean of 5, pale: each", texts)

    def test_what_is_not_a_number_is_left_out(self):
        (line,), _ = self.svg([(3, 0, 0, 0), (None, 0, 0, 0), (2, 0, 0, 0)])
        self.assertLessEqual(len(line), 3)

    def test_the_terminal_gets_every_loss_with_its_end(self):
        out = run("plot", Place.path("run")).stdout.decode()
        last = metrics("run")[-1]
        for name in ("loss", "loss_ntp", "loss_nip", "loss_csr"):
            self.assertIn("%s: %.4g at the end" % (name, last[name]), out)
        self.assertEqual(out.count("optimizer step"), 4)

    def test_no_run_no_plot(self):
        r = run("plot", Place.path("web"))
        self.assertEqual(r.returncode, 74)
        os.makedirs(Place.path("empty"))
        open(Place.path("empty", "metrics.jsonl"), "w").close()
        self.assertEqual(run("plot", Place.path("empty")).returncode, 65)


class BenchTrain(unittest.TestCase):
    def test_parts_add_up_and_the_roof_is_below_the_step(self):
        r = run("bench", "train", Place.path("recipe.yaml"), "--steps", 2, "--ledger", 2, "--json",
                "--folder", Place.path("bench"))
        self.assertEqual(r.returncode, 0, r.stderr)
        made = json.loads(r.stdout)
        for kind in ("spans", "parts"):
            for clock in ("seconds", "thread_seconds", "bare_thread_seconds"):
                self.assertAlmostEqual(sum(row[clock] for row in made[kind].values()),
                                       made["operations"][clock], 9)
        self.assertLessEqual({"tokenise", "latents", "language", "picture", "backward"},
                             set(made["spans"]))
        self.assertGreater(made["thread_ratio"], 1.0)
        self.assertGreater(made["step"]["seconds"], made["operations"]["seconds"])
        self.assertGreater(made["resident_bytes"], 0)
        self.assertGreater(made["checkpoint_seconds"], made["checkpoint_blocked_seconds"])
        self.assertGreater(made["resume_to_first_step_seconds"], 0)
        self.assertFalse(os.path.exists(Place.path("bench")))

    def test_a_recipe_that_ends_too_early_is_refused(self):
        r = run("bench", "train", Place.path("recipe.yaml"), "--set", "steps=3", "--steps", 2,
                "--folder", Place.path("short"))
        self.assertEqual(r.returncode, 64)
        self.assertIn(b"steps=N", r.stderr)

    def test_a_folder_that_is_there_stays(self):
        r = run("bench", "train", Place.path("recipe.yaml"), "--folder", Place.path("run"))
        self.assertEqual(r.returncode, 64)
        self.assertTrue(os.path.exists(Place.path("run", "metrics.jsonl")))


def records(path):
    """Payloads of a TFRecord file; lengths and ends must meet."""
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        yield data[at + 12:at + 12 + size]
        at += size + 16
    assert at == len(data)


def fields(data):
    """(number, value) of a protocol buffer: whole numbers, or bytes."""
    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    at = 0
    while at < len(data):
        key = varint()
        kind, size = key & 7, {1: 8, 5: 4}.get(key & 7)
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = varint() if size is None else size
        yield key >> 3, data[at:at + size]
        at += size


def summaries(out):
    """(step, tag, scalar or None, image fields or None) of every event file of a run."""
    folder = Place.path(out, "tensorboard")
    for name in sorted(os.listdir(folder)):
        for record in records(os.path.join(folder, name)):
            event = dict(fields(record))
            for number, value in fields(event.get(5, b"")):
                assert number == 1
                value = dict(fields(value))
                scalar = struct.unpack("<f", value[2])[0] if 2 in value else None
                yield event.get(2, 0), value[1].decode(), scalar, dict(fields(value.get(4, b"")))


class TensorBoard(unittest.TestCase):
    def test_scalars_are_those_of_the_metrics(self):
        rows = metrics("run")
        found = {(step, tag): v for step, tag, v, _ in summaries("run") if v is not None}
        for row in rows:
            for tag in ("loss", "loss_nip", "grad_norm", "mfu"):
                self.assertAlmostEqual(found[row["step"], tag], row[tag], delta=1e-6 * abs(row[tag]))

    def test_pictures_come_when_asked_for_and_change_nothing(self):
        Place.train("plain", "--steps", "4", "--hash-steps")
        Place.train("shown", "--steps", "4", "--hash-steps", "--set", "run.pictures_every=2")
        self.assertEqual([r["state"] for r in metrics("plain")], [r["state"] for r in metrics("shown")])
        self.assertFalse([s for s in summaries("plain") if s[3]])
        pictures = [s for s in summaries("shown") if s[3]]
        self.assertEqual(sorted({s[:2] for s in pictures}),
                         [(step, "pictures/" + loss) for step in (1, 3) for loss in ("csr", "nip")])
        for _, _, _, image in pictures:
            self.assertEqual(image[4][:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(struct.unpack(">II", image[4][16:24]), (image[2], image[1]))
            self.assertEqual([image[1], image[2] % 64], [128, 0])

    def test_tensorboard_itself_reads_them(self):
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError:
            self.skipTest("no tensorboard here")
        Place.train("read", "--steps", "2", "--set", "run.pictures_every=1")
        a = EventAccumulator(Place.path("read", "tensorboard")).Reload()
        self.assertEqual(sorted(a.Tags()["images"]), ["pictures/csr", "pictures/nip"])
        self.assertEqual([e.step for e in a.Scalars("loss")], [0, 1])


class Generate(unittest.TestCase):
    PICTURE = os.path.join(dump.PICTURES, "jpeg-420.jpg")

    def generate(self, *more, code=0, run_at="run"):
        r = run("generate", Place.path(run_at), "--tokenizer", dump.TOKENIZER, *more)
        self.assertEqual(r.returncode, code, r.stderr.decode())
        return r

    def json(self, *more):
        return json.loads(self.generate("--json", *more).stdout)

    def texts(self, *more):
        return [p["ids"] for p in self.json(*more)["output"] if "ids" in p]

    def test_the_json_says_what_was_asked_and_made(self):
        made = self.json("--prompt", "A pond", "--max-new-tokens", 12, "--pictures", 0)
        self.assertEqual(made["step"], 3)
        self.assertTrue(made["checkpoint"].endswith("step-000003"))
        self.assertEqual(made["prompt"]["ids"][0], 1)
        self.assertEqual(made["prompt"]["text"].replace("<s>", ""), "A pond")
        (part,) = made["output"]
        self.assertEqual(made["text"], part["text"])
        self.assertLessEqual(len(part["ids"]), 12)
        self.assertIn(part["stop"], ("end", "picture", "length"))
        self.assertLess(part["score"], 0.0)

    def test_draws_depend_on_the_seed_alone(self):
        args = ("--prompt", "A pond", "--temperature", 1.2, "--max-new-tokens", 20, "--pictures", 0)
        first, again, other = (self.texts(*args, "--seed", s) for s in (7, 7, 8))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_a_nucleus_of_almost_nothing_is_greedy(self):
        args = ("--prompt", "A pond", "--max-new-tokens", 10, "--pictures", 0)
        self.assertEqual(self.texts(*args, "--temperature", 1, "--top-p", 1e-6),
                         self.texts(*args, "--beams", 1))

    def test_no_end_before_the_least_length(self):
        made = self.json("--prompt", "A pond", "--max-new-tokens", 24, "--min-length", 25)
        self.assertEqual(len(made["output"][0]["ids"]), 24)

    def test_pictures_of_the_prompt_are_slots_where_the_text_says(self):
        made = self.json("--image", self.PICTURE, "--image", self.PICTURE, "--prompt",
                         "pond <image> frogs", "--max-new-tokens", 1)
        ids = made["prompt"]["ids"]
        soi = max(ids) - 1
        self.assertEqual([ids[1:6], ids.count(soi)], [[soi] + 4 * [soi + 1], 2])
        self.assertNotEqual(ids[6], soi)
        self.assertEqual(self.texts("--image", self.PICTURE, "--max-new-tokens", 3, "--pictures", 0),
                         self.texts("--image", self.PICTURE, "--prompt", "<image>",
                                    "--max-new-tokens", 3, "--pictures", 0))

    def test_a_painted_picture_is_a_png_of_the_decoder_and_repeats(self):
        seen = set()
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            out = Place.path(name)
            made = self.json("--prompt", "A pond", "--paint", "--steps", 3, "--seed", seed, "--out", out,
                             "--max-new-tokens", 4, "--pictures", 1)
            self.assertEqual(made["output"][0], {"picture": out + "-0.png", "width": 64, "height": 64})
            self.assertEqual(len(made["output"]), 2)
            with open(out + "-0.png", "rb") as f:
                data = f.read()
            self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(struct.unpack(">II", data[16:24]), (64, 64))
            seen.add(data)
        self.assertEqual(len(seen), 2)

    def test_a_region_is_seen_through_its_mask(self):
        """A region of the whole picture is the picture; a part of it is something else."""
        args = ("--image", self.PICTURE, "--max-new-tokens", 8, "--pictures", 0, "--beams", 2)

        def score(*more):
            return self.json(*args, *more)["output"][0]["score"]
        size = struct.unpack(">HH", self.jpeg_size(self.PICTURE))
        whole = "0,0,%d,%d" % (size[1], size[0])
        part = "0,0,%d,%d" % (size[1] // 2, size[0] // 2)
        runs = json.dumps({"size": size, "counts": [0, size[0] * size[1]]})
        self.assertEqual(score("--region", whole), score("--region", runs))
        self.assertNotEqual(score("--region", whole), score("--region", part))
        ids = self.json(*args, "--region", whole, "--region", part, "--prompt",
                        "<image> all <region1>")["prompt"]["ids"]
        self.assertEqual(ids.count(max(ids) - 1), 3)

    @staticmethod
    def jpeg_size(path):
        """Height and width as they stand in the frame header."""
        with open(path, "rb") as f:
            data = f.read()
        at = 2
        while data[at + 1] not in (0xC0, 0xC1, 0xC2):
            at += 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        return data[at + 5:at + 9]

    def test_people_get_text_and_no_control_characters(self):
        out = self.generate("--prompt", "A pond", "--max-new-tokens", 20, "--temperature", 3).stdout
        self.assertFalse(set(out) & (set(range(32)) - {9, 10}))
        self.assertGreater(len(out.strip()), 0)

    def test_what_cannot_be_is_named(self):
        for code, word, args in (
                (64, b"--tokenizer", (Place.path("run"), "--prompt", "words")),
                (64, b"--image", (Place.path("run"), "--prompt", "<image>")),
                (64, b"--image", (Place.path("run"), "--region", "1,1,5,5")),
                (64, b"--beams", (Place.path("run"), "--temperature", "1", "--beams", "3")),
                (64, b"no pixel", (Place.path("run"), "--image", self.PICTURE, "--region", "1,1,0,0")),
                (65, b"not-a-picture", (Place.path("run"), "--image", Place.path("not-a-picture"))),
                (74, b"absent.jpg", (Place.path("run"), "--image", Place.path("absent.jpg"))),
                (74, b"no such checkpoint", (Place.path("nowhere"),)),
                (65, b"neither a checkpoint", (Place.path("web"),)),
                (64, b"want one CHECKPOINT", ())):
            with open(Place.path("not-a-picture"), "w") as f:
                f.write("words")
            r = run("generate", *args)
            self.assertEqual(r.returncode, code, (args, r.stderr))
            self.assertIn(word, r.stderr)

    def test_a_flipped_byte_in_the_weights_is_noticed(self):
        shutil.copytree(Place.path("run"), Place.path("flipped"))
        path = Place.path("flipped", "checkpoints", "step-000003", "weights.safetensors")
        with open(path, "r+b") as f:
            f.seek(-5, os.SEEK_END)
            byte = f.read(1)
            f.seek(-5, os.SEEK_END)
            f.write(bytes([byte[0] ^ 1]))
        r = run("generate", os.path.dirname(path))
        self.assertEqual(r.returncode, 65)
        self.assertIn(b"weights.safetensors", r.stderr)


if __name__ == "__main__":
    unittest.main()

"""tests/cli/training.py: what surrounds training, from outside: metrics, pictures, plots, generation. One
small dataset and one run of three steps serve all. DEEM names the program."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

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


if __name__ == "__main__":
    unittest.main()

"""tests/cli/train_chain.py: stage I, II and III one after the other, each from the checkpoint before, and what is done
with checkpoints afterwards. DEEM names the program."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bed  # noqa: E402



def setUpModule():
    global b
    b = bed.Bed(4)
    b.train("one")


def tearDownModule():
    b.close()


def instruct():
    """Questions about six pictures."""
    names = [n for n in bed.dump.verdicts()[0] if n.startswith("jpeg-4")][:6]
    records = [{"id": str(i), "image": n, "conversations": [
        {"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A boat near the pier."}]}
        for i, n in enumerate(names)]
    with open(b.path("llava.json"), "w") as f:
        json.dump(records, f)
    bed.deem("ingest", "instruct", "--set", "llava", "--annotations", b.path("llava.json"), "--images",
             bed.dump.PICTURES, "--out", b.path("instruct"), "--tokenizer", bed.dump.TOKENIZER, "--quiet",
             "--seq-len", "512", "--image-tokens", "4", "--images-per-seq", "4")


def mask_text():
    """One conversation about two regions of a picture, as `deem export masks` writes them."""
    os.makedirs(b.path("masked"))
    bed.shutil.copyfile(os.path.join(bed.dump.PICTURES, "jpeg-420.jpg"), b.path("masked", "a.jpg"))
    size = bed.dump.expected()["jpeg-420.jpg"]["policy"]["size"]
    w, h = size[0], size[1]
    half = {"size": [h, w], "counts": [0, h * (w // 2), h * w - h * (w // 2)]}
    third = {"size": [h, w], "counts": [h * (w // 3), h * (w - w // 3)]}
    records = [{"id": "vcr-train-%d" % i, "file_name": "a.jpg", "height": h, "width": w,
                "annotation": [{"bbox": [0, 0, w, h], "segmentation": s} for s in (half, third)],
                "conversations": [{"from": "human", "value": "What is <region1> beside <region2> ?"},
                                  {"from": "gpt", "value": "<region1> waits."}],
                "source": "vcr", "list_prefix": "Given: {regions}."} for i in range(6)]
    with open(b.path("vcr_train_conversation.json"), "w") as f:
        json.dump(records, f)
    bed.deem("ingest", "instruct", "--set", "mask-text", "--annotations", b.path("vcr_train_conversation.json"),
             "--images", b.path("masked"), "--out", b.path("mask-text"), "--tokenizer", bed.dump.TOKENIZER,
             "--quiet", "--seq-len", "512", "--image-tokens", "4", "--images-per-seq", "4")


def stage(number, source):
    """The bed's recipe for that stage on one dataset."""
    with open(b.path("recipe.yaml")) as f:
        lines = f.read().split("\n")
    first, last = lines.index("data:"), next(i for i, l in enumerate(lines) if l.startswith("batch:"))
    lines[first:last] = ["data:", "  %s:" % source, "    datasets: [%s]" % b.path(source),
                         "init: {checkpoint: %s}" % b.path(("one", "two")[number - 2]),
                         "loss: {img: 0, sniffer: %d}" % (5 if number == 2 else 0)]
    text = "\n".join(lines).replace("stage: 1", "stage: %d" % number)
    text = text.replace("seq_len: 128", "seq_len: 512")  # the prompts are long in a small vocabulary
    text = text.replace("side: 32", "side: 64")
    with open(b.path("stage%d.yaml" % number), "w") as f:
        f.write(text)
    return b.path("stage%d.yaml" % number)


def weights(out):
    """Every tensor of a run's newest checkpoint."""
    folder = b.path(out, "checkpoints", b.checkpoints(out)[-1])
    return dict(bed.tensors(os.path.join(folder, "frozen.safetensors")),
                **bed.tensors(os.path.join(folder, "weights.safetensors")))


class Chain(unittest.TestCase):
    def test_each_stage_starts_from_the_checkpoint_before(self):
        instruct()
        mask_text()
        r = bed.deem("train", stage(2, "instruct"), "--set", "out=" + b.path("two"), "--steps", "2")
        self.assertIn(os.path.join("one", "checkpoints", "step-000004"), r.stderr)
        rows = b.rows("two")
        self.assertTrue(all(x["loss_ntp"] > 0 and x["loss_csr"] > 0 and x["loss_nip"] == 0 for x in rows))
        one, two = weights("one"), weights("two")
        self.assertEqual(set(one), set(two))
        still = [n for n in one if ".trunk." in n]
        self.assertTrue(still)
        for name in still:  # the picture encoder is frozen in stage II: stage I's, to the bit
            self.assertEqual(one[name], two[name], name)
        self.assertTrue(any(one[n] != two[n] for n in one if ".layers." in n))

        r = bed.deem("train", stage(3, "mask-text"), "--set", "out=" + b.path("three"), "--steps", "2")
        self.assertIn(os.path.join("two", "checkpoints", "step-000002"), r.stderr)
        self.assertIn("new: ", r.stderr)
        rows = b.rows("three")
        self.assertTrue(all(x["loss_ntp"] > 0 and x["loss_csr"] == 0 and x["loss_nip"] == 0 for x in rows))
        three = weights("three")
        for name in still:
            self.assertEqual(one[name], three[name], name)
        self.assertFalse(any(".vae." in n for n in three))

    def test_a_checkpoint_is_one_file_of_weights(self):
        newest = b.path("one", "checkpoints", "step-000004")
        bed.deem("weights", "export", newest, "-o", b.path("one.safetensors"))
        self.assertEqual(bed.tensors(b.path("one.safetensors")), weights("one"))
        b.train("again", "--set", "init.checkpoint=" + b.path("one.safetensors"), "--steps", "1")
        b.train("again-folder", "--set", "init.checkpoint=" + b.path("one"), "--steps", "1")
        self.assertEqual(b.states("again"), b.states("again-folder"))

    def test_the_newest_are_kept(self):
        b.train("kept", "--set", "run.checkpoint_every=1", "--set", "run.checkpoint_keep=3")
        self.assertEqual(b.checkpoints("kept"), ["step-%06d" % s for s in (2, 3, 4)])

    def test_an_out_without_checkpoint_is_no_start(self):
        os.makedirs(b.path("empty", "checkpoints"))
        r = b.train("from-empty", "--set", "init.checkpoint=" + b.path("empty"), code=65)
        self.assertIn("holds no complete checkpoint", r.stderr)
        r = b.train("from-nothing", "--set", "init.checkpoint=" + b.path("absent"), code=65)
        self.assertIn("absent", r.stderr)


if __name__ == "__main__":
    unittest.main()

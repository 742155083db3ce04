"""tests/cli/train_bad.py: what `deem train` refuses, generated: recipes, environments, datasets, weights, checkpoints,
output folders (robustness.md 2.9, FLT15 to FLT18), each with its exit code and what the message names. DEEM
names the program."""
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bed  # noqa: E402


def setUpModule():
    global b
    b = bed.Bed(3)
    b.train("run", "--set", "run.checkpoint_every=1")


def tearDownModule():
    b.close()


def refused(case, words, code, *names, env=None):
    """Ends with that code, never by a signal; the message has every name and no raw control byte."""
    r = subprocess.run([bed.DEEM, *map(str, words)], capture_output=True, timeout=120, env=env)
    text = r.stderr.decode("utf-8", "replace")
    case.assertEqual(r.returncode, code, "%s\n%s" % (words, text))
    for name in names:
        case.assertIn(name, text)
    case.assertNotRegex(text, r"[\x00-\x08\x0b-\x1f]")
    return text


class Recipes(unittest.TestCase):
    """YML1, YML2: file, line and key, the nearest key, the range."""

    def written(self, text):
        path = b.path("bad.yaml")
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return path

    def refuse(self, text, *names):
        refused(self, ["train", self.written(text), "--quiet"], 64, "bad.yaml", *names)

    def test_yaml_that_is_more_than_settings(self):
        for text, name in (
                ("a: &x [1]\nb: *x\n", "anchor"), ("out: !!python/object:os.system x\n", "tag"),
                ("out: a\n---\nout: b\n", "document"), ("out: a\nout: b\n", "line 2"), ("out:\n\ta: 1\n", "line 2"),
                ("<<: {out: a}\n", "line 1"), ("a: " + "[" * 100000, "line 1"), ("a: " + "{b: " * 1000, "line 1"),
                (b"out: a\x00b\n", "bad.yaml"), ("out: " + "x" * (2 << 20), "at most 1048576"), ("- a\n- b\n", "line 1"),
                ("just a text", "line 1"), (b"\xff\xfe\x00", "bad.yaml"), ("data: [1, 2]\n", "data")):
            with self.subTest(text[:40]):
                self.refuse(text, name)

    def test_an_empty_recipe_says_what_is_missing(self):
        for text in ("", "# nothing\n", "{}\n"):
            self.refuse(text, "out is missing")

    def test_values_out_of_their_range_name_key_line_and_range(self):
        with open(b.path("recipe.yaml")) as f:
            good = f.read()
        for value in ("-1", "0x10", "1e999", "", "yes", "[1, 2]", "1.5", "99999999999999999999", "~", "nan"):
            with self.subTest(value):
                self.refuse(good.replace("warmup: 2", "warmup: " + value), "line 4", "warmup", "0 to 1000000000")
        for key, value in (("optimizer.lr", "1e999"), ("optimizer.beta1", "1.5"), ("image.flip", "maybe"),
                           ("loader.memory", "-5"), ("loader.memory", "9999999999999T"), ("stage", "4"),
                           ("model.llm.heads", "0"), ("batch.micro", "3"), ("image.side", "33"),
                           ("run.checkpoint_keep", "1"), ("run.nonfinite", "ignore"), ("warmup", "100")):
            with self.subTest(key + "=" + value):
                refused(self, b.words("x", "--set", key + "=" + value), 64, key.split(".")[-1])

    def test_unknown_keys_name_the_nearest(self):
        for key, near in (("stepz", "steps"), ("optimizer.lr_trunc", "optimizer.lr_trunk"), ("batch.globl", "batch.global"),
                          ("loss.nip_normm", "loss.")):
            refused(self, b.words("x", "--set", key + "=1"), 64, key, "did you mean " + near)

    def test_every_fault_is_told_at_once(self):
        refused(self, b.words("x", "--set", "batch.micro=3", "--set", "warmup=100", "--set", "image.side=33"), 64,
                "batch.micro", "warmup", "image.side")

    def test_a_recipe_that_is_not_there(self):
        refused(self, ["train", b.path("absent.yaml")], 74, "absent.yaml")
        refused(self, ["train", b.folder], 65, b.folder)
        refused(self, ["train"], 64, "RECIPE")


class Environment(unittest.TestCase):
    """ENV1: the message names the variable."""

    def test_launcher_variables_that_cannot_be(self):
        for env, name in (({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_RANK"),
                          ({"OMPI_COMM_WORLD_SIZE": "two", "OMPI_COMM_WORLD_RANK": "0"}, "OMPI_COMM_WORLD_SIZE"),
                          ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "2"}, "OMPI_COMM_WORLD_RANK"),
                          ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "-1"}, "OMPI_COMM_WORLD_RANK"),
                          ({"OMPI_COMM_WORLD_SIZE": "2 ", "OMPI_COMM_WORLD_RANK": ""}, "OMPI_COMM_WORLD_SIZE"),
                          ({"SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}, "PMIx"),
                          ({"SLURM_NTASKS": "x", "SLURM_STEP_ID": "0"}, "SLURM_NTASKS")):
            with self.subTest(env):
                refused(self, b.words("env"), 64, name, env=dict(os.environ, **env))


class Data(unittest.TestCase):
    def test_a_dataset_that_is_not_there_or_not_one(self):
        os.makedirs(b.path("hollow"), exist_ok=True)
        for name in ("absent", "hollow"):
            refused(self, b.words("x", "--set", "data.web.datasets=" + b.path(name)), 74, b.path(name))

    def test_sizes_that_are_not_the_recipes(self):
        for key, value in (("seq_len", 256), ("image_tokens", 5), ("model.vocab_base", b.pieces - 1)):
            more = ["--set", "model.vocab=%d" % (b.pieces + 5)] if "vocab" in key else []
            refused(self, b.words("x", "--set", "%s=%d" % (key, value), *more), 64, key, str(value))

    def test_a_damaged_shard_is_named(self):
        shutil.copytree(b.path("web"), b.path("hurt"))
        shard = b.path("hurt", "shards", sorted(os.listdir(b.path("hurt", "shards")))[0])
        size = os.path.getsize(shard)
        with open(shard, "r+b") as f:
            for at in range(size // 8, size, 512):
                f.seek(at)
                f.write(b"\xa5" * 8)
        refused(self, b.words("x2", "--set", "data.web.datasets=" + b.path("hurt")), 65, b.path("hurt"))
        with open(shard, "r+b") as f:
            f.truncate(size // 2)
        refused(self, b.words("x3", "--set", "data.web.datasets=" + b.path("hurt")), 65, b.path("hurt"))


class Weights(unittest.TestCase):
    """SAF1 to SAF5 as a start from `init.checkpoint`."""

    def refuse(self, data, *names):
        path = b.path("bad.safetensors")
        with open(path, "wb") as f:
            f.write(data)
        refused(self, b.words("w", "--set", "init.checkpoint=" + path), 65, *(names or ["bad.safetensors"]))

    def header(self, text, body=b"", size=None):
        text = text if isinstance(text, bytes) else json.dumps(text).encode()
        return struct.pack("<Q", len(text) if size is None else size) + text + body

    def test_headers_that_lie(self):
        for size in (0, 1, 7, 100000001, 1 << 63, (1 << 64) - 1):
            self.refuse(self.header({}, size=size))
        self.refuse(b"")
        self.refuse(b"\x01\x02")
        for text in (b" {}", b"[]", b"{", b"{}x", b'{"a":1}', b'{"a":{}}', b"\xff\xff"):
            self.refuse(self.header(text))

    def test_tensors_that_cannot_be(self):
        def one(**more):
            return {"t": dict({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, **more)}
        body = struct.pack("<2f", 1, 2)
        for tensor in (one(data_offsets=[8, 0]), one(data_offsets=[0, 16]), one(data_offsets=[4, 12]),
                       one(shape=[3]), one(shape=[-2]), one(shape=[1 << 63, 2]), one(dtype="F33"), one(shape=[1] * 100),
                       one(data_offsets=[0, 1 << 63]), dict(one(), u={"dtype": "F32", "shape": [2], "data_offsets": [4, 12]})):
            with self.subTest(tensor):
                self.refuse(self.header(tensor, body))
        self.refuse(self.header(one(), body + b"x"))
        self.refuse(self.header(b'{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
                                b'"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', body), "t")

    def test_numbers_and_shapes_that_do_not_fit_are_named(self):
        bed.deem("weights", "export", b.path("run", "checkpoints", "step-000003"), "-o", b.path("whole.safetensors"))
        with open(b.path("whole.safetensors"), "rb") as f:
            size, = struct.unpack("<Q", f.read(8))
            header, body = json.loads(f.read(size)), bytearray(f.read())
        name = sorted(n for n in header if n != "__metadata__")[3]
        at = header[name]["data_offsets"][0]
        bad = bytearray(body)
        bad[at:at + 4] = struct.pack("<f", float("nan"))
        self.refuse(self.header(header, bytes(bad)), name)
        header[name]["shape"] = [1] + header[name]["shape"] + [1]
        self.refuse(self.header(header, bytes(body)), name)


class Checkpoints(unittest.TestCase):
    """FLT15, FLT16, FLT18."""

    def copy(self, name):
        shutil.rmtree(b.path(name), True)
        shutil.copytree(b.path("run"), b.path(name))
        return b.path(name, "checkpoints", "step-000003")

    def test_the_newest_whole_one_is_taken_and_the_broken_named(self):
        for file in ("weights.safetensors", "frozen.safetensors", "optimizer.safetensors", "state.json", "recipe.yaml",
                     "manifest.json"):
            for how in ("missing", "cut", "longer", "flipped", "older"):
                with self.subTest(file + " " + how):
                    newest = self.copy("broken")
                    path = os.path.join(newest, file)
                    with open(path, "rb") as f:
                        data = f.read()
                    os.remove(path)  # the frozen part is a link to the older one's
                    other = os.path.join(b.path("broken", "checkpoints", "step-000002"), file)
                    with open(other, "rb") as f:
                        older = f.read()
                    new = {"missing": None, "cut": data[:-1], "longer": data + b"\0", "older": older,
                           "flipped": data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:]}[how]
                    if new is not None:
                        with open(path, "wb") as f:
                            f.write(new)
                    if new == data:
                        continue  # the same in both
                    r = b.train("broken", "--resume", code=0)
                    self.assertIn("step-000003", r.stderr)
                    self.assertEqual(b.states("broken"), b.states("run"))

    def test_out_that_cannot_be_written(self):
        with open(b.path("file"), "w") as f:
            f.write("x")
        r = subprocess.run([bed.DEEM, *b.words("file")], capture_output=True, text=True)
        self.assertIn(r.returncode, (73, 74))
        self.assertIn(b.path("file"), r.stderr)

    def test_a_log_that_nobody_reads_stops_nothing(self):
        for sink in ("/dev/full", None):
            out = "silent-%s" % bool(sink)
            words = [w for w in b.words(out) if w != "--quiet"]
            if sink:
                with open(sink, "w") as f:
                    p = subprocess.Popen([bed.DEEM, *words], stdout=f, stderr=f)
            else:
                p = subprocess.Popen([bed.DEEM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                p.stdout.close()
                p.stderr.close()
            self.assertEqual(p.wait(timeout=60), 0)
            self.assertEqual(b.states(out), b.states("run"))


if __name__ == "__main__":
    unittest.main()

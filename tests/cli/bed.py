"""tests/cli/bed.py: a bed for training runs from outside: two small datasets, a recipe of a very small model,
and helpers to start, cut and compare runs. DEEM names the program."""
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dump  # noqa: E402
from training import RECIPE  # noqa: E402

DEEM = os.environ.get("DEEM", os.path.join(dump.ROOT, "build", "dev", "deem"))
SIZES = ["--seq-len", "128", "--image-tokens", "4", "--images-per-seq", "4"]
MPI = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
           OMPI_MCA_rmaps_base_oversubscribe="1", OMP_NUM_THREADS="1")


def deem(*args, code=0, **kw):
    r = subprocess.run([DEEM, *map(str, args)], capture_output=True, text=True, timeout=300, **kw)
    assert r.returncode == code, "%s: exit %d, want %d\n%s" % (args, r.returncode, code, r.stderr)
    return r


def until(what, seconds=60):
    """Waits for what() to be true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing came in %d s" % seconds
        time.sleep(0.01)


class Bed:
    def __init__(self, steps=12, every=3, extra=""):
        self.folder = tempfile.mkdtemp(prefix="deem-runs-")
        dump.random_dump(self.path("raw"), 30, 1, sound_only=True, picture_limit=20)
        deem("ingest", "mmc4", "--out", self.path("web"), "--tokenizer", dump.TOKENIZER, "--quiet", *SIZES,
             "--images", self.path("raw", "pictures"), self.path("raw", "docs"))
        good = [n for n in dump.verdicts()[0] if n.startswith("jpeg-4")]
        members = [m for i in range(24) for m in dump.pair("%09d" % i, good[i % len(good)],
                                                          "a wooden boat near the garden pier %d" % i)]
        os.makedirs(self.path("tars"))
        with open(self.path("tars", "00000.tar"), "wb") as f:
            f.write(dump.tar_bytes(members))
        deem("ingest", "pairs", "--out", self.path("pairs"), "--tokenizer", dump.TOKENIZER, "--quiet", *SIZES,
             self.path("tars"))
        with open(self.path("web", "dataset.json")) as f:
            self.pieces = json.load(f)["tokenizer"]["pieces"]
        text = RECIPE % {"folder": self.folder, "pieces": self.pieces, "vocab": self.pieces + 6}
        text = text.replace("steps: 20", "steps: %d" % steps)
        text = text.replace("    datasets: [%s/web]\n" % self.folder,
                            "    datasets: [%s/web]\n    weight: 2\n  pairs:\n    datasets: [%s/pairs]\n"
                            "    weight: 1\n" % (self.folder, self.folder))
        text = text.replace("global: 4, micro: 2", "global: 4, micro: 1")
        text = text.replace("checkpoint_every: 100", "checkpoint_every: %d" % every)
        text = text.replace("dropout: 0\n", "dropout: 0.1\n").replace("drop_path: 0\n", "drop_path: 0.1\n")
        with open(self.path("recipe.yaml"), "w") as f:
            f.write(text + extra)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def close(self):
        shutil.rmtree(self.folder, True)

    def words(self, out, *more):
        return ["train", self.path("recipe.yaml"), "--hash-steps", "--quiet", "--set", "out=" + self.path(out),
                *map(str, more)]

    def train(self, out, *more, code=0, **kw):
        return deem(*self.words(out, *more), code=code, **kw)

    def start(self, out, *more, **kw):
        return subprocess.Popen([DEEM, *self.words(out, *more)], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, **kw)

    def mpi(self, ranks, out, *more, code=0):
        r = subprocess.run(["mpirun", "-n", str(ranks), DEEM, *self.words(out, *more)], capture_output=True,
                           text=True, timeout=300, env=MPI)
        assert r.returncode == code, "%d ranks: exit %d, want %d\n%s" % (ranks, r.returncode, code, r.stderr)
        return r

    def start_mpi(self, ranks, out, *more):
        return subprocess.Popen(["mpirun", "-n", str(ranks), DEEM, *self.words(out, *more)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=MPI)

    def rows(self, out):
        try:
            with open(self.path(out, "metrics.jsonl")) as f:
                return [json.loads(line) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def states(self, out):
        """The hash of the state after each step; every step stands once."""
        rows = self.rows(out)
        assert [r["step"] for r in rows] == list(range(len(rows))), [r["step"] for r in rows]
        return [r["state"] for r in rows]

    def checkpoints(self, out):
        try:
            return sorted(n for n in os.listdir(self.path(out, "checkpoints")) if n[5:].isdigit())
        except FileNotFoundError:
            return []


def tensors(path):
    """name -> list of numbers of a float32 safetensors file."""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(size)), f.read()
    header.pop("__metadata__", None)
    return {name: struct.unpack("<%df" % ((t["data_offsets"][1] - t["data_offsets"][0]) // 4),
                                data[t["data_offsets"][0]:t["data_offsets"][1]]) for name, t in header.items()}


def children(pid):
    """Process ids below `pid`, nearest first."""
    found, ask = [], [pid]
    while ask:
        at = ask.pop(0)
        try:
            with open("/proc/%d/task/%d/children" % (at, at)) as f:
                below = [int(x) for x in f.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += below
        ask += below
    return found


def stop(process, number=signal.SIGKILL):
    """Sends a signal; what the process ended with and wrote."""
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    return process.returncode, text

"""`deem inspect RECIPE --step` against a plan computed here from spec data.md 2.3.1 and 5.2 alone.

    check_step.py MAKE_DATASET DEEM

One global batch for every rank count, ranks as runs of micro-batches, 2:1 in each block, sequences without
replacement over several datasets of a source, damage as a stop or a counted substitute, the page's pixels.
"""
import collections
import ctypes
import ctypes.util
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

make, deem = sys.argv[1:3]
folder = pathlib.Path(tempfile.mkdtemp())
MASK = 2**32 - 1


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
xxhash.XXH3_128bits.restype = Hash128
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


class Draw:
    def __init__(self, seed, purpose, *fields):
        key = b"deem" + struct.pack("<Q", seed)
        for f in (purpose,) + fields:
            key += (b"i" + struct.pack("<Q", f) if isinstance(f, int)
                    else b"s" + struct.pack("<I", len(f)) + f.encode())
        h = xxhash.XXH3_128bits(key, len(key))
        self.h = [h.low & MASK, h.low >> 32, h.high & MASK, h.high >> 32]
        self.words, self.at = [], 0

    def philox(self, a, b):
        x, k = [a, b, self.h[2], self.h[3]], [self.h[0], self.h[1]]
        for _ in range(10):
            p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
            x = [q >> 32 ^ x[1] ^ k[0], q & MASK, p >> 32 ^ x[3] ^ k[1], p & MASK]
            k = [k[0] + 0x9E3779B9 & MASK, k[1] + 0xBB67AE85 & MASK]
        return x

    def word(self):
        if self.at == len(self.words):
            x = self.philox(self.at // 2, 0)
            self.words += [x[0] | x[1] << 32, x[2] | x[3] << 32]
        self.at += 1
        return self.words[self.at - 1]

    def below(self, n):
        while True:
            m = self.word() * n
            if m % 2**64 >= (2**64 - n) % n:
                return m >> 64

    def pick(self, n):
        a = list(range(n))
        for i in range(n):
            j = i + self.below(n - i)
            a[i], a[j] = a[j], a[i]
        return a

    def perm_at(self, n, i):
        half = 4
        while 2**(2 * half) < n:
            half += 1
        while True:
            left, right = i >> half, i % 2**half
            for r in range(8):
                left, right = right, left ^ self.philox(right, r)[0] % 2**half
            i = left << half | right
            if i < n:
                return i


SEED, GLOBAL, MICRO, WEIGHTS = 3, 12, 2, {"web": 2, "pairs": 1}
sizes = {}
for number, (name, shards, per_shard) in enumerate([("one", 2, 9), ("two", 3, 6), ("cap", 2, 7)]):
    out = subprocess.run([make, folder / name, str(40 + number), str(shards), str(per_shard)],
                         check=True, capture_output=True, text=True).stdout
    sizes[name] = int(out)
    assert sizes[name] == sum(per_shard - i % 3 for i in range(shards))
sources = {"web": ["one", "two"], "pairs": ["cap"]}
(folder / "recipe.yaml").write_text(
    f"stage: 1\nout: run\nseed: {SEED}\nseq_len: 96\nimage_tokens: 2\ndata:\n"
    "  web:\n    datasets: [one, two]\n    weight: 2\n  pairs:\n    datasets: [cap]\n    weight: 1\n"
    f"batch:\n  global: {GLOBAL}\n  micro: {MICRO}\nimage:\n  side: 32\n  decode_side: 64\n")


def inspect(*arguments, code=0):
    done = subprocess.run([deem, "inspect", "recipe.yaml", *map(str, arguments)], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return done.stderr if code else [json.loads(line) for line in done.stdout.splitlines()]


def planned(step):
    """(micro_batch, source, dataset, sequence in it, epoch) of each row."""
    block = sum(WEIGHTS.values())
    listed = [name for name in WEIGHTS for _ in range(WEIGHTS[name])]
    for row in range(GLOBAL):
        micro = (step * GLOBAL + row) // MICRO
        order = [listed[i] for i in Draw(SEED, "D6", micro // block).pick(block)]
        source = order[micro % block]
        number = micro // block * WEIGHTS[source] + order[:micro % block].count(source)
        total = sum(sizes[d] for d in sources[source])
        epoch, place = divmod(number * MICRO + row % MICRO, total)
        at = Draw(SEED, "D5c", source, epoch).perm_at(total, place)
        for dataset in sources[source]:
            if at < sizes[dataset]:
                break
            at -= sizes[dataset]
        yield micro, source, dataset, at, epoch


# the plan, and every field that only a step has
for step in (0, 1, 2, 7, 1000000, 3000000017):
    rows = inspect("--step", step, "--json")
    got = [(r["micro_batch"], r["recipe_source"], pathlib.Path(r["dataset"]).name, r["sequence"],
            r["epoch"]) for r in rows]
    assert got == list(planned(step)), (step, got, list(planned(step)))
    assert all(r["rank"] == 0 and not r["substituted"] for r in rows)
    assert collections.Counter(r["recipe_source"] for r in rows) == {"web": 8, "pairs": 4}
    for world in (2, 3, 6):
        joined = []
        for rank in range(world):
            part = inspect("--step", step, "--world", world, "--rank", rank, "--json")
            assert len(part) == GLOBAL // world and all(r.pop("rank") == rank for r in part)
            joined += part
        assert joined == [{k: v for k, v in r.items() if k != "rank"} for r in rows]
# the line is that of the dataset itself, with the fields of the step added
for r in inspect("--step", 7, "--json"):
    alone = subprocess.run([deem, "inspect", r["dataset"], "--json", "--range",
                            f"{r['sequence']}:{r['sequence'] + 1}"], cwd=folder, check=True,
                           capture_output=True, text=True).stdout
    alone = json.loads(alone)
    assert {k: r[k] for k in alone} == alone
    assert set(r) - set(alone) == {"micro_batch", "rank", "epoch", "dataset", "recipe_source",
                                   "substituted"}
# each sequence once an epoch
seen = collections.Counter()
for step in range(16):
    for r in inspect("--step", step, "--json"):
        seen[r["recipe_source"], r["epoch"], r["dataset"], r["sequence"]] += 1
for name, datasets in sources.items():
    for dataset in datasets:
        for i in range(sizes[dataset]):
            assert seen[name, 0, dataset, i] == 1, (name, dataset, i)
# other weights; what does not divide
rows = inspect("--step", 5, "--json", "--set", "data.web.weight=5")
assert collections.Counter(r["recipe_source"] for r in rows) == {"web": 10, "pairs": 2}
for wrong in (["--world", 5], ["--world", 2, "--rank", 2], ["--set", "batch.micro=5"]):
    inspect("--step", 5, "--json", *wrong, code=64)

# the page holds both sizes of each picture, all ranks or one
subprocess.run([deem, "inspect", "recipe.yaml", "--step", "2", "--world", "2", "--html", "all.html"],
               cwd=folder, check=True)
page = (folder / "all.html").read_text()
pictures = sum(len(r["images"]) for r in inspect("--step", 2, "--json"))
assert page.count('title="encoder, 32 x 32"') == page.count('title="decoder, 64 x 64"') == pictures
assert page.count("data:image/png;base64,") == 2 * pictures and page.endswith("</html>\n")
assert page.count('class="sequence"') == GLOBAL
subprocess.run([deem, "inspect", "recipe.yaml", "--step", "2", "--world", "2", "--rank", "1", "--html",
                "one.html"], cwd=folder, check=True)
assert (folder / "one.html").read_text().count('class="sequence"') == GLOBAL // 2

# damage: a stop that names shard and record, or a substitute, and nothing else moves
victim = next(r for r in inspect("--step", 0, "--json") if r["images"])
shard = f"{victim['shard']:06}.mdb"
path = folder / victim["dataset"] / "shards" / shard
whole, hit = path.read_bytes(), 0
before = inspect("--step", 0, "--json")
for at in range(2 * 4096, len(whole) - 1, 97):
    damaged = bytearray(whole)
    damaged[at] ^= 16
    path.write_bytes(damaged)
    done = subprocess.run([deem, "inspect", "recipe.yaml", "--step", "0", "--json"], cwd=folder,
                          capture_output=True, text=True)
    if done.returncode == 0:
        continue
    assert done.returncode == 65, done
    assert victim["dataset"] in done.stderr and shard in done.stderr, done.stderr
    hit += 1
    if "sequence" not in done.stderr and "picture" not in done.stderr:
        continue  # the tree itself: all of the shard is lost
    after = inspect("--step", 0, "--json", "--skip-damaged")
    moved = [i for i in range(GLOBAL) if after[i] != before[i]]
    assert 1 <= len(moved) < GLOBAL and all(after[i]["substituted"] for i in moved)
    assert all(after[i]["micro_batch"] == before[i]["micro_batch"] for i in range(GLOBAL))
    assert inspect("--step", 0, "--json", "--set", "loader.damaged=skip") == after
    if hit >= 4:
        break
assert hit > 0
path.write_bytes(whole[:len(whole) // 2])
assert shard in inspect("--step", 0, "--json", code=65)
path.unlink()
assert shard in inspect("--step", 0, "--json", code=65)
shutil.rmtree(folder)
print("ok")

"""tests/cli/oracle.py: the whole of `deem ingest mmc4` against a second reading of the specification (data.md
2.2, 2.3, 3.2, 4.4): which documents stay, their pictures, sides and text, and which sequence holds what
in which order, for several seeds and numbers of threads. Needs xxhash from PyPI (tests/support/with_packages.sh).

oracle.py DEEM"""
import json
import math
import os
import subprocess
import sys
import tempfile

import xxhash

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dump  # noqa: E402

FILE, DOCUMENTS = "docs_no_face_shard_7_v3", 300
N, M, T, WINDOW = 2048, 15, 77, 4096
M32, M64 = (1 << 32) - 1, (1 << 64) - 1


class Draw:
    """data.md 2.3.1"""

    def __init__(self, seed, purpose, *fields):
        k = b"deem" + seed.to_bytes(8, "little")
        for f in (purpose,) + fields:
            if isinstance(f, int):
                k += b"i" + f.to_bytes(8, "little")
            else:
                f = f.encode()
                k += b"s" + len(f).to_bytes(4, "little") + f
        h = xxhash.xxh3_128_intdigest(k)
        self.h = [(h >> s) & M32 for s in (0, 32, 64, 96)]
        self.at = 0

    def word(self):
        b, odd = divmod(self.at, 2)
        self.at += 1
        c, k = [b & M32, b >> 32, self.h[2], self.h[3]], [self.h[0], self.h[1]]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & M32, (p0 >> 32) ^ c[3] ^ k[1], p0 & M32]
            k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
        return c[2 * odd] + (c[2 * odd + 1] << 32)

    def coin(self):
        return self.word() >> 63 == 0

    def below(self, n):
        while True:
            m = self.word() * n
            if (m & M64) >= ((1 << 64) - n) % n:
                return m >> 64

    def pick(self, n):
        a = list(range(n))
        for i in range(n):
            j = i + self.below(n - i)
            a[i], a[j] = a[j], a[i]
        return a


def fate(seed, line, doc, sound):
    """(kept, [(index, sentence, before)]) by 2.2; `sound`: name -> hash, None where it is bad."""
    if not isinstance(doc.get("text_list"), list) or not doc["text_list"]:
        return None
    left = []
    for i, m in enumerate(doc["image_info"]):
        sim, at = m["matched_sim"], m["matched_text_index"]
        if not math.isfinite(sim) or sim < 0.24 or not 0 <= at < len(doc["text_list"]):
            continue
        if m["image_name"] in sound:
            left.append(i)

    def dropped():
        return Draw(seed, "D3", FILE, line).coin()
    drawn = len(left) == 1
    if not left or (drawn and dropped()):
        return None
    order = Draw(seed, "D1", FILE, line).pick(len(left)) if len(left) > 6 else range(len(left))
    kept = [left[o] for o in order if sound[doc["image_info"][left[o]]["image_name"]]][:6]
    if not kept or (len(kept) == 1 and not drawn and dropped()):
        return None
    places = [(doc["image_info"][i]["matched_text_index"], not Draw(seed, "D2", FILE, line, i).coin(), i)
              for i in kept]
    return [(i, s, not after) for s, after, i in sorted(places)]


def text_of(doc, places):
    """The document for people: <image> at its slots (3.2)."""
    parts = []
    for n, sentence in enumerate(doc["text_list"]):
        parts.append("<image>" * sum(1 for _, s, b in places if s == n and b) + sentence +
                     "<image>" * sum(1 for _, s, b in places if s == n and not b))
    text = " ".join(parts).replace(" <image>", "<image>").replace("<image> ", "<image>")
    return "<s>" + text.strip() + "</s>"


def pack(seed, items):
    """4.4 steps 2 to 6 for one window: (line, tokens, images) in input order -> lists of lines."""
    assert len(items) <= WINDOW

    def order(purpose, item):
        return Draw(seed, purpose, FILE, items[item][0], 0).word()
    first = {i: order("D5a", i) for i in range(len(items))}

    def size_class(i):
        size = max(items[i][1], -(-items[i][2] * N // M))
        return -(-size // (N // 16))
    bins = []
    for i in sorted(first, key=lambda i: (-size_class(i), first[i], i)):
        room = [b for b in bins if b["tokens"] + items[i][1] <= N and b["images"] + items[i][2] <= M]
        if room:
            b = max(room, key=lambda b: (b["tokens"], -b["number"]))
        else:
            b = {"tokens": 0, "images": 0, "number": len(bins), "items": []}
            bins.append(b)
        b["tokens"] += items[i][1]
        b["images"] += items[i][2]
        b["items"].append(i)
    for b in bins:
        b["items"].sort(key=lambda i: (first[i], i))
    bins.sort(key=lambda b: (order("D5b", b["items"][0]), b["items"][0]))
    return [[items[i][0] for i in b["items"]] for b in bins]


def make_dump(folder):
    """Documents of every branch of 2.2; returns lines and the pictures that are sound."""
    import random
    rng = random.Random(11)
    pictures = dump.Pictures(os.path.join(folder, "pictures"))
    good, bad, small = dump.verdicts()
    sound = {}
    for golden in [g for g in good if g.startswith("jpeg")][:30] + bad[:8] + small[:3]:
        name = pictures.add(golden)
        ok = golden in good
        sound[name] = xxhash.xxh3_128_hexdigest(dump.picture(golden)) if ok else None
    names = list(sound) + ["00000000beef.jpg"]
    lines = []
    for n in range(DOCUMENTS):
        texts = [dump.sentence(rng) for _ in range(rng.randint(1, 12))]
        images = [dump.image(rng.choice(names), rng.randrange(-1, len(texts) + 1),
                             rng.choice([0.1, 0.2399, 0.24, 0.3, 0.4, 0.5, float("nan")]))
                  for _ in range(rng.choice([0, 1, 1, 2, 3, 5, 9, 14]))]
        doc = dump.document("http://u/%d" % n, texts, images)
        if n % 50 == 7:
            doc["text_list"] = []
        lines.append(doc)
    dump.write_lines(os.path.join(folder, "docs", FILE + ".jsonl.zip"), lines)
    return lines, sound


def check(deem, folder, seed, jobs, lines, sound):
    out = os.path.join(folder, "out-%d-%d" % (seed, jobs))
    subprocess.run([deem, "ingest", "mmc4", "--out", out, "--tokenizer", dump.TOKENIZER, "--images",
                    os.path.join(folder, "pictures"), "--seed", str(seed), "--jobs", str(jobs),
                    "--tolerance", "10000", "--quiet", os.path.join(folder, "docs")], check=True)
    r = subprocess.run([deem, "inspect", out, "--json"], check=True, capture_output=True, text=True)
    sequences = [json.loads(line) for line in r.stdout.splitlines()]
    want = {n: fate(seed, n, doc, sound) for n, doc in enumerate(lines)}
    found, items = {}, {}
    for s in sequences:
        assert len(s["ids"]) <= N and len(s["images"]) <= M, s["sequence"]
        texts = s["text"].split("</s>")
        assert texts.pop() == ""
        for k, d in enumerate(s["documents"]):
            line = int(d["key"].rsplit(":", 1)[1])
            images = [i for i in s["images"] if i["document"] == k]
            found[line] = (texts[k] + "</s>", [(i["original_hash"], i["side"]) for i in images])
            items[line] = (line, d["length"], len(images))
            assert s["ids"][d["start"]] == 1 and not d["cont"]
            for n, i in enumerate(images):
                assert i["nearest_bos"] == d["start"] and i["prev"] == (n > 0)
                assert i["loss"] == (i["soi"] - d["start"] + 1 > 2)
                assert s["ids"][i["soi"] + 1:i["soi"] + 1 + T] == [s["ids"][i["soi"]] + 1] * T
    assert sorted(found) == [n for n in sorted(want) if want[n]], (sorted(found), want)
    for n, (text, images) in found.items():
        doc, places = lines[n], want[n]
        assert text == text_of(doc, places), (n, text, text_of(doc, places))
        expect = [(sound[doc["image_info"][i]["image_name"]], "before" if b else "after")
                  for i, _, b in places]
        assert images == expect, (n, images, expect)
    got = [[int(d["key"].rsplit(":", 1)[1]) for d in s["documents"]] for s in sequences]
    assert got == pack(seed, [items[n] for n in sorted(items)]), "packing differs"
    return len(found)


def main():
    assert Draw(42, "D3", "docs_no_face_shard_12_v3", 7).word() == 0xeaf763eee92e813b
    assert Draw(42, "D1", "docs_no_face_shard_12_v3", 7).pick(9)[:6] == [2, 4, 6, 0, 8, 5]
    with tempfile.TemporaryDirectory(prefix="deem-oracle-") as folder:
        lines, sound = make_dump(folder)
        for seed, jobs in ((0, 1), (42, 2), (2 ** 63 + 5, 16)):
            kept = check(sys.argv[1], folder, seed, jobs, lines, sound)
            assert DOCUMENTS // 4 < kept < DOCUMENTS, kept
            print("seed %d, %d threads: %d documents as expected" % (seed, jobs, kept))


if __name__ == "__main__":
    main()

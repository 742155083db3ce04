"""tests/cli/dump.py: hand-made raw dumps in the published formats, for the tests of `deem ingest`.
Python's standard library only. Pictures are those of tests/goldens."""
import gzip
import io
import json
import os
import random
import shutil
import tarfile
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDENS = os.path.join(ROOT, "tests", "goldens", "data")
TOKENIZER = os.path.join(GOLDENS, "tokenizer", "tokenizer.model")
PICTURES = os.path.join(GOLDENS, "pictures")
WORDS = ("pond liner frogs iris edge water tea boat tray pier garden stone house window light "
         "morning walk river bird cloud winter summer wooden young several woman").split()


def picture(name):
    with open(os.path.join(PICTURES, name), "rb") as f:
        return f.read()


def expected():
    with open(os.path.join(PICTURES, "expected.json")) as f:
        return {e["file"]: e for e in json.load(f)["files"]}


def verdicts():
    """Names of sound pictures, of those that must be dropped, and of those that are only small."""
    good, bad, small = [], [], []
    for name, e in sorted(expected().items()):
        policy = e["policy"]
        if policy["verdict"] == "ok":
            good.append(name)
        elif policy.get("reason") == "side" and min(policy["size"]) < 10:
            small.append(name)
        else:
            bad.append(name)
    return good, bad, small


def stem(number):
    return "%012x" % (number * 7919 + 0x100000)


def image(name, sentence=0, sim=0.3, **more):
    return dict({"image_name": name, "raw_url": "http://pictures.example/" + name,
                 "matched_text_index": sentence, "matched_sim": sim, "face_detections": None}, **more)


def document(url, texts, images):
    return {"url": url, "text_list": texts, "image_info": images, "could_have_url_duplicate": 0,
            "similarity_matrix": []}


def write_lines(path, lines):
    """Lines are bytes, text or values; packed by the ending of `path`."""
    parts = []
    for line in lines:
        if not isinstance(line, (bytes, str)):
            line = json.dumps(line)
        parts.append((line.encode() if isinstance(line, str) else line) + b"\n")
    write_packed(path, b"".join(parts))


def write_packed(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if path.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(zipfile.ZipInfo(os.path.basename(path)[:-4]), data, zipfile.ZIP_DEFLATED)
        return
    with open(path, "wb") as f:
        f.write(gzip.compress(data, mtime=0) if path.endswith(".gz") else data)


class Pictures:
    """A flat picture folder; `add` gives the image_name."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        os.makedirs(folder, exist_ok=True)

    def add(self, golden, name=None):
        name = name or stem(self.count) + os.path.splitext(golden)[1]
        self.count += 1
        shutil.copyfile(os.path.join(PICTURES, golden), os.path.join(self.folder, name))
        return name


def sentence(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 30))).capitalize() + "."


def random_dump(folder, documents, files, seed=1, sound_only=False, picture_limit=60):
    """A dump with all sorts of documents; the same for a seed."""
    rng = random.Random(seed)
    pictures = Pictures(os.path.join(folder, "pictures"))
    good, bad, small = verdicts()
    pool = good[:picture_limit] if sound_only else good[:picture_limit] + bad[:20] + small
    names = [pictures.add(g) for g in pool]
    if not sound_only:
        names.append("ffffffffffff.jpg")
    for f in range(files):
        lines = []
        for n in range(documents // files):
            texts = [sentence(rng) for _ in range(rng.randint(4, 25))]
            images = [image(rng.choice(names), rng.randrange(len(texts)), rng.uniform(0.2, 0.4))
                      for _ in range(rng.randint(1, 9))]
            d = document("http://e.example/%d/%d" % (f, n), texts, images)
            dice = rng.random()
            if not sound_only and dice < 0.005:
                lines.append('{"broken')
            else:
                lines.append(d)
            if dice > 0.98:
                lines.append(d)
        ending = (".jsonl", ".jsonl.gz", ".jsonl.zip")[f % 3]
        write_lines(os.path.join(folder, "docs", "docs_no_face_shard_%d_v3%s" % (f, ending)), lines)


def tar_bytes(members, end=True):
    """(name, bytes) pairs as a USTAR archive; without `end`, no end-of-archive blocks."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o444
            info.uname = info.gname = "bigdata"
            t.addfile(info, io.BytesIO(data))
        stop = t.offset
    data = out.getvalue()
    return data if end else data[:stop]


def pair(key, golden, caption, url=None, order="jpg json txt", **more):
    """The members of one sample as img2dataset writes them."""
    meta = dict({"caption": caption, "url": url or "http://p.example/%s.jpg" % key, "key": key,
                 "status": "success", "error_message": None}, **more)
    parts = {"jpg": picture(golden) if golden else None,
             "json": json.dumps(meta, indent=4).encode(),
             "txt": str(caption).encode()}
    return [(key + "." + p, parts[p]) for p in order.split() if parts[p] is not None]

"""A reader of the dataset folder, written from docs/shard-format.md alone, held against `deem inspect --json`.

usage: read_shards.py DATASET DEEM [PICTURES]    (Python packages: lmdb, zstandard, xxhash)
"""

import hashlib
import json
import os
import struct
import subprocess
import sys

import lmdb
import xxhash
import zstandard

CODECS = {1: "jpeg", 2: "png", 3: "webp", 4: "gif", 5: "bmp"}


class Bytes:
    """Walks over bytes from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        assert self.at + size <= len(self.data), "ends early"
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def hash128(self):
        low, high = self.number("Q"), self.number("Q")
        return "%016x%016x" % (high, low)


class Shard:
    def __init__(self, path):
        self.env = lmdb.open(path, subdir=False, readonly=True, lock=False)
        self.txn = self.env.begin()
        head = self.txn.get(b"U\0\0\0\0")
        self.unit = json.loads(head[24:])
        self.identity = bytes.fromhex(self.unit["identity"])
        assert self.value("U", 0) == head[24:]
        self.dictionary = self.value("D", 0)

    def value(self, kind, number):
        key = kind.encode() + struct.pack(">I", number)
        value = self.txn.get(key)
        if value is None:
            return None
        magic, version, found, flags, stored, plain, digest = struct.unpack("<4sBBHIIQ", value[:24])
        payload = value[24:]
        assert magic == b"DEEM" and version == 1 and found == ord(kind) and stored == len(payload)
        seen = xxhash.xxh3_64(self.identity + struct.pack("<I", self.unit["shard"]) + key + value[:16] + payload)
        assert seen.intdigest() == digest, (kind, number)
        if flags & 1:
            words = zstandard.ZstdCompressionDict(self.dictionary) if flags & 2 else None
            frame = zstandard.get_frame_parameters(payload)
            assert frame.has_checksum and frame.content_size == plain
            payload = zstandard.ZstdDecompressor(dict_data=words).decompress(payload)
        assert len(payload) == plain
        return payload

    def numbers(self, kind):
        return sum(1 for key, _ in self.txn.cursor() if key[:1] == kind.encode())

    def sequence(self, number):
        b = Bytes(self.value("S", number))
        version, source, flags, parts = (b.number("B") for _ in range(4))
        tokens, stored, documents, images = (b.number("H") for _ in range(4))
        assert version == 1
        soi = self.unit["tokenizer"]["pieces"]
        ids = []
        for _ in range(stored):
            one = b.number("H")
            ids += [soi] + [soi + 1] * self.unit["image_tokens"] if one == 65535 else [one]
        assert len(ids) == tokens
        out = {"source": self.unit["sources"][source], "ids": ids, "flags": flags}
        out["documents"] = [self.document(b) for _ in range(documents)]
        out["images"] = [self.image(b) for _ in range(images)]
        if parts & 1:
            out["targets"] = self.targets(b, tokens)
        if parts & 2:
            for image in out["images"]:
                h, w, size = b.varint(), b.varint(), b.varint()
                runs = Bytes(b.take(size))
                counts = []
                while runs.at < size:
                    counts.append(runs.varint())
                if h:
                    assert sum(counts) == h * w
                    image["mask"] = {"size": [h, w], "counts": rle_string(counts)}
        assert b.at == len(b.data)
        if parts & 1:  # the same once more, as inspect shows it for instruction sets
            out["loss_mask"] = [0] * tokens
            for start, length in out["targets"]:
                out["loss_mask"][start : start + length] = [1] * length
            regions = [(k, image["mask"]) for k, image in enumerate(out["images"]) if "mask" in image]
            out["masks"] = [{"region": n + 1, "image": k, "rle": mask["counts"]} for n, (k, mask) in enumerate(regions)]
        return out

    def document(self, b):
        start, length, flags = b.number("H"), b.number("H"), b.number("B")
        name = self.unit["inputs"][b.varint()]["name"]
        if flags & 2:
            record = str(b.varint())
        else:
            record = b.take(b.varint()).decode()
        record_key = b.number("Q")
        url = b.number("Q") if flags & 4 else 0
        return {"key": name + ":" + record, "start": start, "length": length, "cont": bool(flags & 1),
                "record_key": "%016x" % record_key, "url_hash": "%016x" % url}

    def image(self, b):
        soi, bos, document, flags, codec = (b.number(form) for form in "HHHBB")
        similarity = b.number("d") if flags & 1 else None
        picture, width, height, size = (b.varint() for _ in range(4))
        digest = b.hash128()
        original = b.hash128() if flags & 16 else digest
        return {"soi": soi, "nearest_bos": bos, "document": document, "similarity": similarity,
                "side": "after" if flags & 2 else "before", "width": width, "height": height,
                "codec": CODECS[codec], "bytes": size, "hash": digest, "original_hash": original,
                "loss": bool(flags & 4), "prev": bool(flags & 8), "picture": picture}

    @staticmethod
    def targets(b, tokens):
        runs, at, value = [], 0, 0
        while at < tokens:
            run = b.varint()
            if value and run:
                runs.append([at, run])
            at, value = at + run, 1 - value
        assert at == tokens
        return runs

    def picture(self, number):
        b = Bytes(self.value("P", number))
        codec, zeros = b.number("B"), b.take(3)
        width, height, digest = b.number("I"), b.number("I"), b.hash128()
        data = b.take(len(b.data) - b.at)
        assert zeros == b"\0\0\0" and xxhash.xxh3_128(data).hexdigest() == digest
        return {"codec": CODECS[codec], "width": width, "height": height, "hash": digest, "bytes": len(data)}, data

    def pieces(self):
        table = self.value("T", 0)
        if table is None:
            return None
        b = Bytes(table)
        return [(b.number("B"), b.take(b.varint())) for _ in range(self.unit["tokenizer"]["pieces"])]

    def text(self, ids, pieces):
        names = ["<|startofimage|>", "<|sniffer|>", "<ref>", "</ref>", "<box>", "</box>"]
        out, run = b"", []

        def flush():
            joined = b""
            for k, (kind, piece) in enumerate(run):
                if kind == 5:
                    joined += bytes([int(piece[3:5], 16)])
                else:
                    text = piece.replace("\u2581".encode(), b" ")
                    joined += text[1:] if k == 0 and piece.startswith("\u2581".encode()) else text
            run.clear()
            return joined.decode(errors="replace").encode()

        k = 0
        while k < len(ids):
            one = ids[k]
            if one < len(pieces) and pieces[one][0] not in (2, 3):
                run.append(pieces[one])
                k += 1
                continue
            out += flush()
            if one == len(pieces):
                out += b"<image>"
                k += 1 + self.unit["image_tokens"]
                continue
            out += pieces[one][1] if one < len(pieces) else names[one - len(pieces)].encode()
            k += 1
        return (out + flush()).decode()


def rle_string(counts):
    """The compressed string of COCO, to compare with what inspect prints."""
    out = ""
    for i, count in enumerate(counts):
        x = count - (counts[i - 2] if i > 2 else 0)
        more = True
        while more:
            c = x & 31
            x >>= 5
            more = x != -1 if c & 16 else x != 0
            out += chr((c | (32 if more else 0)) + 48)
    return out


def read_manifest(folder):
    with open(os.path.join(folder, "dataset.json"), "rb") as f:
        text = f.read()
    tail = b',"sha256":"' + hashlib.sha256(text[:-78]).hexdigest().encode() + b'"}\n'
    assert text[-78:] == tail, "digest of the manifest"
    return json.loads(text)


def main():
    folder, deem = sys.argv[1:3]
    manifest = read_manifest(folder)
    lines = subprocess.run([deem, "inspect", folder, "--json", "--quiet"], check=True, capture_output=True).stdout
    shown = [json.loads(line) for line in lines.splitlines()]
    rows, number = b"", 0
    for k, row in enumerate(manifest["shards"]):
        path = os.path.join(folder, "shards", row["name"])
        with open(path, "rb") as f:
            data = f.read()
        assert hashlib.sha256(data).hexdigest() == row["sha256"] and len(data) == row["bytes"]
        shard = Shard(path)
        assert shard.unit["shard"] == k and shard.unit["format"] == 1
        assert {name: shard.unit[name] for name in ("sequences", "pictures", "images", "tokens", "documents")} == {
            name: row[name] for name in ("sequences", "pictures", "images", "tokens", "documents")}
        assert shard.numbers("S") == row["sequences"] and shard.numbers("P") == row["pictures"]
        pieces = shard.pieces()
        pictures = [shard.picture(i)[0] for i in range(row["pictures"])]
        for i in range(row["sequences"]):
            mine = shard.sequence(i)
            mine.update(sequence=number, shard=k, index=i, text=shard.text(mine["ids"], pieces) if pieces else None)
            for image in mine["images"]:
                assert pictures[image["picture"]].items() <= image.items()
            if mine != shown[number]:
                for name in sorted(set(mine) | set(shown[number])):
                    if mine.get(name) != shown[number].get(name):
                        print("sequence", number, name, mine.get(name), shown[number].get(name))
                sys.exit(1)
            number += 1
        for i in range(shard.numbers("Q")):
            rows += shard.value("Q", i)
    assert number == len(shown) == manifest["totals"]["sequences"]
    with open(os.path.join(folder, "quarantine.jsonl"), "rb") as f:
        assert f.read() == rows
    assert hashlib.sha256(rows).hexdigest() == manifest["quarantine"]["sha256"]
    print("%d sequences in %d shards agree" % (number, len(manifest["shards"])))


main()

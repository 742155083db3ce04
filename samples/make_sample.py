#!/usr/bin/env python3
"""Makes a small raw dump in the published formats from material of Debian packages.

    make_sample.py HELP BACKGROUNDS OUT

HELP is the HTML folder of gimp-help-en, BACKGROUNDS that of mate-backgrounds (samples/ORIGIN.md).
OUT receives
    mmc4/docs_no_face_shard_0_v3.jsonl.zip   interleaved pages, MMC4-Core layout
    mmc4/docs_no_face_shard_1_v3.jsonl.gz    the other half, another container
    pictures/<12 hex>.<ext>                  their pictures, flat folder
    pairs/00000.tar, 00000_stats.json        photographs, img2dataset (webdataset) layout
    ccs_synthetic_filtered_large.json        their captions by URL, BLIP layout
    text.txt                                 the text alone, for a tokenizer

The similarity scores are drawn by seed, not computed by CLIP: they exercise the filters and say
nothing about the pictures. Standard library only; jpegtran and djpeg/cjpeg cut the photographs.
"""
import gzip
import hashlib
import html.parser
import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

SEED = 0
TILE_W, TILE_H = 640, 480


def unit(*key):
    """A number in [0, 1) that depends on the key and SEED only."""
    text = "\0".join(str(k) for k in (SEED,) + key).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2.0**48


class Page(html.parser.HTMLParser):
    """Collects the running text of a page and its pictures in reading order."""

    BLOCKS = {"p", "h1", "h2", "h3", "h4", "li", "dt", "td", "th"}
    NAVIGATION = ("navheader", "navfooter")

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.items, self.text, self.skip = [], [], 0

    def flush(self):
        text = re.sub(r"\s+", " ", "".join(self.text)).strip()
        self.text = []
        for sentence in re.split(r"(?<=[.!?]) +(?=[A-Z])", text):
            if sentence:
                self.items.append(("text", sentence))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        navigation = tag == "div" and (self.skip or attrs.get("class") in self.NAVIGATION)
        if tag in ("script", "style", "head") or navigation:
            self.skip += 1
        if tag in self.BLOCKS:
            self.flush()
        if tag == "img" and not self.skip and attrs.get("src"):
            self.flush()
            self.items.append(("picture", attrs["src"]))

    def handle_endtag(self, tag):
        if self.skip and tag in ("script", "style", "head", "div"):
            self.skip -= 1
        if tag in self.BLOCKS:
            self.flush()

    def handle_data(self, data):
        if not self.skip:
            self.text.append(data)


def read_page(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.flush()
    return page.items


def document(path, items, help_folder, pictures):
    """One MMC4 record of a page, or None where it has no picture or no text."""
    sentences, images = [], []
    for kind, value in items:
        if kind == "text":
            sentences.append(value)
            continue
        file = (help_folder / value).resolve()
        if file.suffix.lower() not in (".jpg", ".jpeg", ".png", ".gif") or not file.is_file():
            continue
        name = hashlib.md5(value.encode()).hexdigest()[:12] + file.suffix.lower()
        pictures[name] = file
        images.append((name, value, len(sentences)))
    if not sentences or not images:
        return None
    info, matrix = [], []
    for number, (name, source, position) in enumerate(images):
        row = [round(0.10 + 0.12 * unit(path.name, number, s), 4) for s in range(len(sentences))]
        target = min(position, len(sentences) - 1)
        row[target] = round(0.20 + 0.16 * unit(path.name, number, "match"), 4)
        matrix.append(row)
        info.append({"image_name": name, "raw_url": "http://example.org/help/" + source,
                     "matched_text_index": target, "matched_sim": row[target],
                     "face_detections": None})
    return {"url": "http://example.org/help/" + path.name, "text_list": sentences,
            "image_info": info, "similarity_matrix": matrix, "could_have_url_duplicate": 0}


def write_mmc4(help_folder, out):
    pictures, lines, text = {}, [], []
    for path in sorted(help_folder.glob("*.html")):
        items = read_page(path)
        text += [value for kind, value in items if kind == "text"]
        record = document(path, items, help_folder, pictures)
        if record:
            lines.append(json.dumps(record) + "\n")
    folder = out / "mmc4"
    folder.mkdir(parents=True, exist_ok=True)
    (out / "pictures").mkdir(exist_ok=True)
    for name, source in pictures.items():
        (out / "pictures" / name).write_bytes(source.read_bytes())
    half = len(lines) // 2
    name = "docs_no_face_shard_0_v3.jsonl"
    with zipfile.ZipFile(folder / (name + ".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), "".join(lines[:half]), zipfile.ZIP_DEFLATED)
    with open(folder / "docs_no_face_shard_1_v3.jsonl.gz", "wb") as raw:
        with gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as stream:
            stream.write("".join(lines[half:]).encode())
    (out / "text.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    return len(lines), len(pictures)


def jpeg_size(data):
    at = 2
    while at + 9 < len(data):
        if data[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        marker, length = data[at + 1], int.from_bytes(data[at + 2:at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            high, wide = data[at + 5:at + 7], data[at + 7:at + 9]
            return int.from_bytes(wide, "big"), int.from_bytes(high, "big")
        at += 2 + length
    raise ValueError("no frame header")


def run(*command, data=None):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def cuts_of(path):
    """(caption, JPEG) of the photograph made small and of lossless cuts at full resolution."""
    width, height = jpeg_size(path.read_bytes())
    name = re.sub(r"_\d+x\d+$", "", path.stem)
    name = re.sub(r"[_\W]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).lower()
    eighths = max(1, min(8, 8 * 640 // max(width, height)))
    small = run("djpeg", "-scale", f"{eighths}/8", str(path))
    yield f"the whole photograph {name} made small", run("cjpeg", "-quality", "92", data=small)
    columns, rows = min(width // TILE_W, 3), min(height // TILE_H, 2)
    for row in range(rows):
        for column in range(columns):
            x, y = width * column // columns // 16 * 16, height * row // rows // 16 * 16
            area = f"{TILE_W}x{TILE_H}+{x}+{y}"
            cut = run("jpegtran", "-copy", "none", "-crop", area, str(path))
            yield f"part of the photograph {name} in row {row + 1} and column {column + 1}", cut


def figure_captions(help_folder):
    """(caption, JPEG) of the figures of the pages, by the text that follows them."""
    seen = set()
    for path in sorted(help_folder.glob("*.html")):
        items = read_page(path)
        for at, (kind, value) in enumerate(items):
            file = (help_folder / value).resolve() if kind == "picture" else None
            after = [v for k, v in items[at + 1:at + 3] if k == "text"]
            if not file or file.suffix != ".jpg" or not file.is_file() or not after:
                continue
            data = file.read_bytes()
            if value not in seen and data[:2] == b"\xff\xd8":
                seen.add(value)
                yield after[0][:120].lower().rstrip("."), data


def add_member(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uname = len(data), 0o444, "bigdata"
    archive.addfile(info, io.BytesIO(data))


def write_pairs(help_folder, backgrounds, out):
    folder = out / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(figure_captions(help_folder))
    for path in sorted(backgrounds.rglob("*.jpg")):
        samples += cuts_of(path)
    captions = []
    with tarfile.open(folder / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, (caption, data) in enumerate(samples):
            key, url = f"{number:09d}", f"http://example.org/p/{number}.jpg"
            width, height = jpeg_size(data)
            record = {"caption": "alt text of the page", "url": url, "key": key,
                      "status": "success", "error_message": None, "width": width,
                      "height": height, "original_width": width, "original_height": height,
                      "exif": "{}", "sha256": hashlib.sha256(data).hexdigest()}
            add_member(archive, key + ".jpg", data)
            add_member(archive, key + ".json", json.dumps(record, indent=4).encode())
            add_member(archive, key + ".txt", record["caption"].encode())
            captions.append({"url": url, "caption": caption})
    stats = {"count": len(samples), "successes": len(samples), "failed_to_download": 0,
             "failed_to_resize": 0, "duration": 1.0, "status_dict": {"success": len(samples)}}
    (folder / "00000_stats.json").write_text(json.dumps(stats))
    (out / "ccs_synthetic_filtered_large.json").write_text(json.dumps(captions))
    with open(out / "text.txt", "a", encoding="utf-8") as text:
        text.writelines(c["caption"] + "\n" for c in captions)
    return len(samples)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    help_folder, backgrounds, out = (pathlib.Path(a) for a in sys.argv[1:])
    documents, pictures = write_mmc4(help_folder, out)
    pairs = write_pairs(help_folder, backgrounds, out)
    print(f"sample dump in {out}: {documents} documents with {pictures} pictures, {pairs} pairs "
          "(similarity scores drawn by seed, not by CLIP)")


if __name__ == "__main__":
    main()

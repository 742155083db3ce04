"""The page of `deem inspect --html` in headless Chromium: structure, pictures, both colour schemes.

usage: check_page.py MAKE_DATASET DEEM    exit 77 where there is no Chromium
"""

import html.parser
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib


class Page(html.parser.HTMLParser):
    """Counts elements by name and class."""

    def __init__(self):
        super().__init__()
        self.names, self.classes, self.titles, self.sources = {}, {}, [], []

    def handle_starttag(self, tag, attrs):
        self.names[tag] = self.names.get(tag, 0) + 1
        attrs = dict(attrs)
        for name in (attrs.get("class") or "").split():
            self.classes[name] = self.classes.get(name, 0) + 1
        if (attrs.get("title") or "").startswith("token "):
            self.titles.append(attrs["title"])
        if tag == "img":
            self.sources.append(attrs["src"])
        assert not any(name.startswith("on") for name in attrs), attrs


def png_pixels(path):
    """Width, height and rows of RGB bytes of an 8-bit PNG."""
    with open(path, "rb") as f:
        data = f.read()
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8 and colour in (2, 6)
            channels = 3 if colour == 2 else 4
        packed += body if kind == b"IDAT" else b""
        at += size + 12
    raw, rows, before = zlib.decompress(packed), [], bytearray(width * channels)
    for y in range(height):
        start = y * (width * channels + 1)
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + width * channels])
        for i in range(len(line)):
            a = line[i - channels] if i >= channels else 0
            b, c = before[i], before[i - channels] if i >= channels else 0
            if kind == 4:
                p = a + b - c
                near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
                line[i] = (line[i] + near) & 255
            else:
                line[i] = (line[i] + (0, a, b, (a + b) // 2)[kind]) & 255
        rows.append(line)
        before = line
    return width, height, [[tuple(row[x * channels : x * channels + 3]) for x in range(width)] for row in rows]


def run_chromium(program, *args):
    with tempfile.TemporaryDirectory() as profile:
        fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + profile]
        return subprocess.run([program, *fixed, *args], check=True, capture_output=True, timeout=120).stdout


def main():
    make, deem = sys.argv[1:3]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        print("skipped: no Chromium")
        sys.exit(77)
    folder = tempfile.mkdtemp()
    try:
        data, page = os.path.join(folder, "data"), os.path.join(folder, "page.html")
        subprocess.run([make, data], check=True)
        subprocess.run([deem, "inspect", data + "/page", "--html", page], check=True)
        lines = subprocess.run([deem, "inspect", data + "/page", "--json"], check=True, capture_output=True).stdout
        shown = [json.loads(line) for line in lines.splitlines()]
        images = sum(len(s["images"]) for s in shown)
        masks = sum("mask" in image for s in shown for image in s["images"])

        parsed = Page()
        parsed.feed(run_chromium(chromium, "--dump-dom", "file://" + page).decode())
        assert "script" not in parsed.names and "iframe" not in parsed.names and "link" not in parsed.names
        assert parsed.classes["sequence"] == len(shown)
        assert parsed.classes["document"] == sum(len(s["documents"]) for s in shown)
        assert parsed.classes["image"] == parsed.names["img"] == images
        assert parsed.names["svg"] == masks > 0
        assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
        ids = [int(word) for title in parsed.titles for word in title.split(": id ")[1].split()]
        special = {300, 301}
        assert ids == [one for s in shown for one in s["ids"] if one not in special]

        shots = {}
        for scheme, background in (("1", (0xFB, 0xFA, 0xF7)), ("0", (0x15, 0x17, 0x1B))):
            shot = os.path.join(folder, "shot.png")
            run_chromium(chromium, "--blink-settings=preferredColorScheme=" + scheme, "--window-size=1000,3000",
                         "--screenshot=" + shot, "file://" + page)
            width, height, rows = png_pixels(shot)
            assert rows[5][5] == background, (scheme, rows[5][5])
            shots[scheme] = sum(row.count((255, 0, 0)) for row in rows)
        assert min(shots.values()) > 64 * 48, shots  # pictures are drawn
        print("%d sequences, %d images, %d masks drawn" % (len(shown), images, masks))
    finally:
        shutil.rmtree(folder)


main()

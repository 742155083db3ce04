"""tests/cli/test_ingest.py: `deem ingest` from outside: hand-made dumps with every defect of spec
data.md 1.1 and every branch of 2.2, threads, kills, parts, locks, refusals. DEEM names the program."""
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dump  # noqa: E402

DEEM = os.environ.get("DEEM", os.path.join(dump.ROOT, "build", "dev", "deem"))
GOOD = ["jpeg-420.jpg", "jpeg-444.jpg"]


def run(*args, **kw):
    return subprocess.run([DEEM, *map(str, args)], capture_output=True, text=True, timeout=300, **kw)


def tree(folder):
    """Every file's digest by its path."""
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, folder)] = hashlib.sha256(f.read()).hexdigest()
    return found


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="deem-ingest-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        good, self.bad, self.small = dump.verdicts()
        self.good = [g for g in good if g.startswith("jpeg")]

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def mmc4(self, out="out", *more, docs="docs", code=0):
        r = run("ingest", "mmc4", "--out", self.path(out), "--tokenizer", dump.TOKENIZER, "--images",
                self.path("pictures"), "--jobs", "2", "--quiet", *more, self.path(docs))
        self.assertEqual(r.returncode, code, r.stderr)
        return r

    def pairs(self, out="out", *more, inputs="tars", code=0):
        r = run("ingest", "pairs", "--out", self.path(out), "--tokenizer", dump.TOKENIZER, "--jobs",
                "2", "--quiet", *more, self.path(inputs))
        self.assertEqual(r.returncode, code, r.stderr)
        return r

    def manifest(self, out="out"):
        with open(self.path(out, "dataset.json")) as f:
            return json.load(f)

    def counts(self, out="out"):
        """Records and pictures, added up over the inputs."""
        total = {"seen": 0, "stored": 0, "filtered": {}, "quarantined": {}}
        pictures = {"seen": 0, "stored": 0, "filtered": {}, "quarantined": {}}
        for entry in self.manifest(out)["inputs"]:
            for into, part in ((total, entry), (pictures, entry["pictures"])):
                into["seen"] += part["seen"]
                into["stored"] += part["stored"]
                for kind in ("filtered", "quarantined"):
                    for name, n in part[kind].items():
                        into[kind][name] = into[kind].get(name, 0) + n
        for c in (total, pictures):
            self.assertEqual(c["seen"], c["stored"] + sum(c["filtered"].values()) +
                             sum(c["quarantined"].values()))
        return total, pictures

    def inspect(self, out="out"):
        r = run("inspect", self.path(out), "--json")
        self.assertEqual(r.returncode, 0, r.stderr)
        return [json.loads(line) for line in r.stdout.splitlines()]

    def quarantine(self, out="out"):
        with open(self.path(out, "quarantine.jsonl")) as f:
            return [json.loads(line) for line in f]


class Documents(Case):
    def setUp(self):
        super().setUp()
        self.pictures = dump.Pictures(self.path("pictures"))
        self.names = [self.pictures.add(g) for g in self.good[:10]]

    def two(self):
        return [dump.image(self.names[0], 0), dump.image(self.names[1], 1)]

    def ingest(self, lines, *more, code=0):
        dump.write_lines(self.path("docs", "docs_no_face_shard_3_v3.jsonl"), lines)
        self.mmc4("out", "--keep-single", "1", "--tolerance", "10000", *more, code=code)
        return self.counts()

    def one(self, images, texts=("The first sentence.", "And a second one.")):
        """The fate of one document between two sound ones."""
        lines = [dump.document("http://u/%d" % i, ["Text %d here." % i, "More."], self.two())
                 for i in range(2)]
        lines.insert(1, dump.document("http://u/x", list(texts), images))
        records, pictures = self.ingest(lines)
        self.assertEqual(records["seen"], 3)
        return records, pictures

    def test_damaged_records_are_quarantined_by_line_and_byte(self):
        good = json.dumps(dump.document("http://u/0", ["One.", "Two."], self.two()))
        bad = ['{"broken', '{"url":"u","text_list":[],"image_info":[]}',
               '{"url":"u","text_list":"x","image_info":[]}',
               '{"url":"u","text_list":["a",3],"image_info":[]}',
               '{"url":"u","text_list":["a"],"image_info":{}}',
               '{"url":"u","text_list":["a\\u0000b"],"image_info":[]}', '[]', '{"text_list":["a"]}',
               good + ",", "[" * 65 + "]" * 65]
        records, _ = self.ingest([good, ""] + bad + ["  ", good.replace("u/0", "u/1")])
        self.assertEqual(records["seen"], 12)
        self.assertEqual(records["stored"], 2)
        self.assertEqual(sum(records["quarantined"].values()), 10)
        rows = self.quarantine()
        self.assertEqual([r["record"] for r in rows], [str(n) for n in range(2, 12)])
        self.assertEqual(rows[0]["offset"], len(good) + 2)
        self.assertEqual(rows[0]["length"], len(bad[0]))
        self.assertEqual({r["file"] for r in rows}, {"docs_no_face_shard_3_v3.jsonl"})
        for member in ("member", "stage", "code", "found", "allowed", "hash"):
            self.assertIn(member, rows[0])

    def test_low_and_nan_similarity_drop_the_image_not_the_text(self):
        low = [dump.image(self.names[0], 0, s) for s in (0.2399, float("nan"), float("inf"), "0.3")]
        records, pictures = self.one(low + [dump.image(self.names[2], 1, 0.24)])
        self.assertEqual(records["stored"], 3)
        self.assertEqual(pictures["filtered"], {"F1-similarity": 4})
        self.assertEqual(pictures["stored"], 5)

    def test_no_image_left_drops_the_document(self):
        for images in ([], [dump.image(self.names[0], 0, 0.1)], [dump.image("0000deadbeef.jpg")],
                       [dump.image(self.pictures.add(self.bad[0]))]):
            records, _ = self.one(images)
            self.assertEqual(records["filtered"], {"F3-no-image": 1})
            shutil.rmtree(self.path("out"))

    def test_index_out_of_range_and_schema_drop_that_image_only(self):
        images = self.two() + [dump.image(self.names[2], i) for i in (-1, 2, 2 ** 70, 1.5, "1", None)]
        images += [3, "x", None, {"image_name": 7}, {"matched_sim": 0.3}]
        records, pictures = self.one(images)
        self.assertEqual(records["stored"], 3)
        self.assertEqual(pictures["filtered"], {"F2-index": 6, "F2-schema": 5})

    def test_missing_bad_and_small_pictures_are_told_apart(self):
        bad = [dump.image(self.pictures.add(b), 0) for b in self.bad[:3]]
        small = [dump.image(self.pictures.add(b), 0) for b in self.small[:1]]
        gone = [dump.image("0123456789ab.jpg", 1)]
        records, pictures = self.one(bad + small + gone + self.two())
        self.assertEqual(records["stored"], 3)
        self.assertEqual(pictures["filtered"], {"F11-size": len(small), "F2-missing": 1})
        self.assertEqual(sum(pictures["quarantined"].values()), 3)
        rows = [r for r in self.quarantine() if r["stage"] == "picture"]
        self.assertEqual({r["record"] for r in rows}, {"1"})

    def test_a_bad_picture_is_replaced_and_six_stay(self):
        bad = [dump.image(self.pictures.add(self.bad[0]), 0)]
        images = [dump.image(n, 1) for n in self.names[:9]]
        _, pictures = self.one(bad + images)
        self.assertEqual(pictures["stored"], 6 + 4)
        self.assertEqual(sum(pictures["filtered"].values()) + sum(pictures["quarantined"].values()), 4)

    def test_a_single_image_document_goes_by_the_draw(self):
        lines = [dump.document("http://u/%d" % i, ["Text %d." % i], [dump.image(self.names[0], 0)])
                 for i in range(200)]
        dump.write_lines(self.path("docs", "d.jsonl"), lines)
        self.mmc4("half")
        records, _ = self.counts("half")
        dropped = records["filtered"]["F5-single-image"]
        self.assertTrue(70 < dropped < 130, dropped)
        self.mmc4("none", "--keep-single", "0")
        self.assertEqual(self.counts("none")[0]["filtered"], {"F5-single-image": 200})
        self.assertEqual(self.manifest("none")["sequences"]
                         if "sequences" in self.manifest("none") else 0, 0)
        self.mmc4("all", "--keep-single", "1")
        self.assertEqual(self.counts("all")[0]["stored"], 200)

    def test_exact_duplicates_keep_the_first_in_input_order(self):
        d = dump.document("http://u/0", ["One.", "Two."], self.two())
        other = dict(d, image_info=[])
        dump.write_lines(self.path("docs", "a.jsonl"), [dict(d, url="http://u/1"), other])
        dump.write_lines(self.path("docs", "b.jsonl"), [d, dict(d, text_list=["One.", "Two. "])])
        self.mmc4()
        records, _ = self.counts()
        # the first of the equal ones has no image and is dropped; the later one still is a duplicate
        self.assertEqual(records["filtered"], {"F3-no-image": 1, "F10-duplicate": 1})
        self.assertEqual(records["stored"], 2)

    def test_excluded_urls_keys_and_pictures_are_dropped(self):
        lines = [dump.document("http://u/%d" % i, ["Text %d." % i, "More."], self.two())
                 for i in range(4)]
        dump.write_lines(self.path("docs", "d.jsonl"), lines)
        with open(self.path("list"), "w") as f:
            f.write("http://u/1\nd:2\nhttp://pictures.example/%s\n" % self.names[0])
        self.mmc4("out", "--exclude", self.path("list"), "--keep-single", "1")
        records, pictures = self.counts()
        self.assertEqual(records["filtered"], {"F16-excluded": 2})
        self.assertEqual(pictures["filtered"], {"F16-excluded": 2})
        self.mmc4("out", "--keep-single", "1", code=64)  # without the list: another dataset

    def test_odd_json_is_read_by_the_rules(self):
        d = json.dumps(dump.document("http://u/0", ["A \udc80 lone one.", "Two."], self.two()))
        lines = [b"\xef\xbb\xbf" + d.encode(), d.replace("u/0", "u/1").encode() + b"\r",
                 d.replace("u/0", "u/2").replace("Two", "Tw\xff").encode("latin-1"),
                 d.replace("u/0", "u/3").replace('"url"', '"url": "x", "url"').encode()]
        records, _ = self.ingest(lines)
        self.assertEqual(records["stored"], 4)

    def test_a_long_document_is_split_and_loses_nothing(self):
        texts = ["word number %d of a very long page about ponds." % i for i in range(2000)]
        records, pictures = self.one([dump.image(self.names[0], 5), dump.image(self.names[1], 1900)],
                                     texts)
        self.assertEqual(records["stored"], 3)
        self.assertEqual(pictures["stored"], 6)


    def test_which_images_stay_is_an_option(self):
        images = [dump.image(n, 0, 0.3 + 0.01 * (i % 3)) for i, n in enumerate(self.names)]
        d = dump.document("http://u/x", ["One.", "Two."], images)
        for pick, kept in (("first", range(6)), ("top_sim", (2, 5, 8, 1, 4, 7))):
            dump.write_lines(self.path("docs", "d.jsonl"), [d])
            self.mmc4(pick, "--pick", pick)
            sims = sorted(round(i["similarity"], 2) for s in self.inspect(pick) for i in s["images"])
            self.assertEqual(sims, sorted(round(images[k]["matched_sim"], 2) for k in kept))

    def test_flagged_documents_go_by_option_only(self):
        d = dump.document("http://u/0", ["One.", "Two."], self.two())
        flags = [0, 1, 1.0, True, "x", None]
        lines = [dict(d, url="http://u/%d" % i, could_have_url_duplicate=f)
                 for i, f in enumerate(flags)]
        self.ingest(lines)
        self.assertEqual(self.counts()[0]["stored"], 6)
        shutil.rmtree(self.path("out"))
        records, _ = self.ingest(lines, "--drop-flagged")
        self.assertEqual(records["filtered"], {"F10-flagged": 3})

    def test_more_limits_on_pictures_are_options(self):
        wide = self.pictures.add("jpeg-2300x1025.jpg")
        images = [dump.image(n, 0) for n in (wide, *map(self.pictures.add, GOOD))]
        for option, value, pictures in (("--min-side", "1000", {"F11-size": 2}),
                                        ("--max-aspect", "2", {"F11-aspect": 1}),
                                        ("--min-bytes", "40000", {"F11-bytes": 2})):
            lines = [dump.document("http://u", ["Text here.", "More."], images)]
            records, found = self.ingest(lines, option, value)
            self.assertEqual(records["stored"], 1)
            self.assertEqual(found["filtered"], pictures)
            shutil.rmtree(self.path("out"))

    def test_the_matrix_is_cross_checked_and_disagreements_are_counted(self):
        d = dump.document("http://u/0", ["One.", "Two."], self.two())
        lines = [dict(d, url="http://u/1", similarity_matrix=[[0.3, 0.1], [0.2, 0.30005]]),
                 dict(d, url="http://u/2", similarity_matrix=[[0.31, 0.1], [0.2, 0.1]]),
                 dict(d, url="http://u/3", similarity_matrix=[["x", 0.1], [0.2]]),
                 dict(d, url="http://u/4", similarity_matrix=7)]
        records, _ = self.ingest(lines)
        self.assertEqual(records["stored"], 4)
        self.assertEqual(self.manifest()["inputs"][0]["notes"], {"F1-matrix": 2})
        self.assertIn("F1-matrix", run("stats", self.path("out")).stdout)


class Pairs(Case):
    """spec data.md 1.2: tars as img2dataset writes them, and what goes wrong with them."""

    def tar(self, members, name="00003.tar", end=True):
        os.makedirs(self.path("tars"), exist_ok=True)
        with open(self.path("tars", name), "wb") as f:
            f.write(dump.tar_bytes(members, end))

    def captions(self, captions, *more):
        members = []
        for i, c in enumerate(captions):
            members += dump.pair("00003%05d" % i, self.good[i % 3], c)
        self.tar(members)
        self.pairs("out", *more)
        return self.counts()[0]

    def test_captions_meet_the_rules_in_order(self):
        records = self.captions(["nine char", "ten charac", " a   B\tC d e f ", None, float("nan"), 7,
                                 True, {"a": 1}, ["two", "strings of it"], ["x", 3], [], "", "   "])
        self.assertEqual(records["seen"], 13)
        self.assertEqual(records["filtered"], {"F7-short-caption": 1, "F8-caption": 9})
        texts = [s["text"] for s in self.inspect()]
        self.assertEqual(len(texts), 1)
        for caption in ("ten charac", "a b c d e f", "two strings of it"):
            self.assertIn(caption, texts[0])

    def test_the_unit_of_the_shortest_caption_is_an_option(self):
        captions = ["one two three four", "extraordinarily long"]
        self.assertEqual(self.captions(captions, "--caption-unit", "words", "--min-caption",
                                       "3")["filtered"], {"F7-short-caption": 1})
        self.pairs("tokens", "--caption-unit", "tokens", "--min-caption", "1000")
        self.assertEqual(self.counts("tokens")[0]["filtered"], {"F7-short-caption": 2})

    def test_a_sample_that_lacks_a_part_or_comes_again_is_one_quarantined_record(self):
        whole = [dump.pair("00003%05d" % i, self.good[0], "a wooden boat %d" % i) for i in range(9)]
        self.tar(whole[0] + [whole[1][0]] + [whole[2][1]] + whole[3] + whole[0] +
                 [whole[4][0]] + whole[5] + whole[4][1:] + whole[6])
        self.pairs("out", "--tolerance", "10000")
        records, _ = self.counts()
        self.assertEqual(records["seen"], records["stored"] + 5)
        self.assertEqual(records["stored"], 4)
        self.assertEqual(records["quarantined"], {"sample-no-json": 2, "sample-no-picture": 2,
                                                  "sample-twice": 1})
        rows = self.quarantine()
        self.assertEqual([r["record"] for r in rows],
                         ["0000300001", "0000300002", "0000300000", "0000300004", "0000300004"])
        self.assertEqual({r["file"] for r in rows}, {"00003.tar"})

    def test_a_cut_tar_keeps_its_whole_members_and_exits_65(self):
        members = []
        for i in range(6):
            members += dump.pair("00003%05d" % i, self.good[i % 3], "a wooden boat %d" % i)
        data = dump.tar_bytes(members)
        os.makedirs(self.path("tars"))
        with open(self.path("tars", "00003.tar"), "wb") as f:
            f.write(data[:len(data) * 2 // 3])
        self.pairs(code=65)
        records, _ = self.counts()
        self.assertTrue(2 <= records["stored"] <= 4, records)
        self.assertEqual(sum(records["quarantined"].values()), 1)
        self.assertTrue(self.manifest()["inputs"][0]["incomplete"])

    def test_a_tar_without_end_blocks_loses_nothing(self):
        self.tar(dump.pair("0000300000", self.good[0], "a wooden boat"), end=False)
        r = run("ingest", "pairs", "--out", self.path("out"), "--tokenizer", dump.TOKENIZER,
                self.path("tars"))
        self.assertEqual(self.counts()[0]["stored"], 1)
        self.assertEqual(r.returncode, 65 if self.manifest()["inputs"][0]["incomplete"] else 0)

    def test_grey_png_and_upper_case_names_are_pictures_too(self):
        grey = [g for g in dump.verdicts()[0] if "grey" in g and g.endswith(".jpg")][0]
        png = [g for g in dump.verdicts()[0] if g.startswith("png-")
               and min(dump.expected()[g]["policy"]["size"]) >= 10][0]
        members = dump.pair("0000300000", grey, "a grey boat on water")
        members += [("0000300001.PNG", dump.picture(png)),
                    ("0000300001.json", dump.pair("0000300001", None, "a png of a boat")[0][1])]
        members += dump.pair("0000300002", png, "a png that says jpg")
        self.tar(members)
        self.pairs()
        images = [i for s in self.inspect() for i in s["images"]]
        self.assertEqual(sorted(i["codec"] for i in images), ["jpeg", "png", "png"])
        self.assertEqual({i["similarity"] for i in images}, {None})

    def test_a_bad_picture_quarantines_its_pair(self):
        self.tar(dump.pair("0000300000", self.bad[0], "a wooden boat") +
                 dump.pair("0000300001", self.good[0], "a wooden boat") +
                 dump.pair("0000300002", self.small[0], "a wooden boat"))
        self.pairs()
        records, pictures = self.counts()
        self.assertEqual((records["seen"], records["stored"]), (3, 1))
        self.assertEqual(records["filtered"], {"F11-size": 1})
        row, = self.quarantine()
        data = dump.picture(self.bad[0])
        self.assertEqual((row["member"], row["record"], row["stage"], row["length"]),
                         ("0000300000.jpg", "0000300000", "picture", len(data)))
        with open(self.path("tars", "00003.tar"), "rb") as f:
            self.assertEqual(row["offset"], f.read().index(data))
        self.assertEqual(pictures, {"seen": 1, "stored": 1, "filtered": {}, "quarantined": {}})

    def test_caption_files_replace_captions_and_the_first_entry_of_a_url_wins(self):
        members = []
        for i in range(3):
            members += dump.pair("00003%05d" % i, self.good[i], "its own caption %d" % i,
                                 url="http://p/%d" % i)
        self.tar(members)
        for name, entries in (("a.json", [{"caption": "From File One", "url": "http://p/0"}]),
                              ("b.json", [{"url": "http://p/0", "caption": "from the second file"},
                                          {"url": "http://p/1", "caption": "tiny"}])):
            with open(self.path(name), "w") as f:
                json.dump(entries, f)
        self.pairs("out", "--captions", self.path("a.json"), "--captions", self.path("b.json"))
        records, _ = self.counts()
        self.assertEqual(records["filtered"], {"F7-short-caption": 1, "F8-no-caption": 1})
        self.assertIn("from file one", self.inspect()[0]["text"])

    def test_blip_files_of_other_captions_are_refused_unless_asked_for(self):
        self.tar(dump.pair("0000300000", self.good[0], "a wooden boat", url="u"))
        for name in ("ccs_filtered.json", "laion_filtered_large.json",
                     "ccs_synthetic_filtered.json", "ccs_synthetic_filtered_large.json"):
            with open(self.path(name), "w") as f:
                json.dump([{"url": "u", "caption": "the caption of the file"}], f)
            refused = name != "ccs_synthetic_filtered_large.json"
            r = self.pairs(name[:-5], "--captions", self.path(name), code=64 if refused else 0)
            if refused:
                self.assertIn("--any-captions", r.stderr)
                self.assertFalse(os.path.exists(self.path(name[:-5])))
                self.pairs(name[:-5], "--any-captions", "--captions", self.path(name))

    def test_a_take_down_list_drops_pairs_by_url_key_and_picture(self):
        members = []
        for i in range(5):
            members += dump.pair("00003%05d" % i, self.good[i], "a wooden boat %d" % i)
        self.tar(members)
        self.pairs("before")
        sequence, = self.inspect("before")
        gone = [i["original_hash"] for d, i in zip(sequence["documents"], sequence["images"])
                if d["key"] == "00003:0000300004"]
        with open(self.path("list"), "w") as f:
            f.write("http://p.example/0000300001.jpg\n00003:0000300002\n%s\n" % gone[0])
        self.pairs("out", "--exclude", self.path("list"))
        records, _ = self.counts()
        self.assertEqual(records["filtered"], {"F16-excluded": 3})
        self.assertEqual(sorted(d["key"] for s in self.inspect() for d in s["documents"]),
                         ["00003:0000300000", "00003:0000300003"])

    def test_a_dry_run_of_pairs_prints_its_units_and_writes_nothing(self):
        for name in ("00003.tar", "00004.tar"):
            self.tar(dump.pair(name[:5] + "00000", self.good[0], "a wooden boat"), name)
        r = self.pairs("out", "--dry-run")
        self.assertEqual(os.listdir(self.dir), ["tars"])
        for word in ("unit 000000: 00003.tar", "unit 000001: 00004.tar", "inputs: 2", "units: 2",
                     "expected size"):
            self.assertIn(word, r.stdout)

    def test_tars_of_one_name_end_in_65_with_advice(self):
        for name in ("00003.tar", "00003.again.tar"):
            self.tar(dump.pair("0000300000", self.good[0], "a wooden boat"), name)
        self.assertIn("two datasets", self.pairs(code=65).stderr)
        self.assertFalse(os.path.exists(self.path("out", "dataset.json")))


class Runs(Case):
    def setUp(self):
        super().setUp()
        dump.random_dump(self.dir, 240, 6, picture_limit=25)

    def test_any_number_of_jobs_gives_the_same_bytes(self):
        for jobs in (1, 2, 16):
            self.mmc4("out%d" % jobs, "--inputs-per-shard", "2", "--jobs", jobs)
        self.assertEqual(tree(self.path("out1")), tree(self.path("out2")))
        self.assertEqual(tree(self.path("out1")), tree(self.path("out16")))

    def test_the_place_of_the_inputs_does_not_show(self):
        os.makedirs(self.path("elsewhere", "deep"))
        shutil.copytree(self.path("docs"), self.path("elsewhere", "deep", "docs"))
        shutil.copytree(self.path("pictures"), self.path("elsewhere", "p"))
        self.mmc4("a")
        r = run("ingest", "mmc4", "--out", self.path("b"), "--tokenizer", dump.TOKENIZER, "--images",
                self.path("elsewhere", "p"), "--quiet", self.path("elsewhere", "deep", "docs"))
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(tree(self.path("a")), tree(self.path("b")))

    def test_killed_at_any_time_the_same_command_ends_with_the_same_bytes(self):
        options = ("--inputs-per-shard", "1")
        start = time.monotonic()
        self.mmc4("whole", *options)
        length = time.monotonic() - start
        rng = random.Random(7)
        command = [DEEM, "ingest", "mmc4", "--out", self.path("killed"), "--tokenizer",
                   dump.TOKENIZER, "--images", self.path("pictures"), "--quiet", *options,
                   self.path("docs")]
        for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
            p = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0, length))
            p.send_signal(number)
            code = p.wait(60)
            if number != signal.SIGKILL:
                self.assertIn(code, (0, 75, -number))  # -number: before the handler was there
        self.mmc4("killed", *options)
        self.assertEqual(tree(self.path("whole")), tree(self.path("killed")))

    def test_a_killed_run_of_pairs_ends_with_the_same_bytes_too(self):
        rng = random.Random(5)
        sound = [g for g in self.good if "x" not in g][:20]
        for t in range(4):
            members = []
            for i in range(40):
                members += dump.pair("%05d%05d" % (t, i), rng.choice(sound), dump.sentence(rng))
            dump.write_packed(self.path("tars", "%05d.tar" % t), dump.tar_bytes(members))
        start = time.monotonic()
        self.pairs("whole")
        length = time.monotonic() - start
        command = [DEEM, "ingest", "pairs", "--out", self.path("killed"), "--tokenizer",
                   dump.TOKENIZER, "--quiet", self.path("tars")]
        for _ in range(8):
            p = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0, length))
            p.kill()
            p.wait(60)
        self.pairs("killed")
        self.assertEqual(tree(self.path("whole")), tree(self.path("killed")))

    def test_a_file_system_that_takes_no_more_ends_in_74_and_the_next_run_finishes(self):
        self.mmc4("whole", "--inputs-per-shard", "3")
        largest = max(os.path.getsize(self.path("whole", "shards", n))
                      for n in os.listdir(self.path("whole", "shards")))
        command = [DEEM, "ingest", "mmc4", "--out", self.path("full"), "--tokenizer",
                   dump.TOKENIZER, "--images", self.path("pictures"), "--quiet",
                   "--inputs-per-shard", "3", self.path("docs")]
        for limit in (20000, largest // 2, largest - 1):
            r = subprocess.run(command, capture_output=True, text=True, timeout=300,
                               restore_signals=False, preexec_fn=lambda: resource.setrlimit(
                                   resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertIn(r.returncode, (73, 74), r.stderr)
            self.assertTrue(r.stderr.startswith("error: "), r.stderr)
            self.assertFalse(os.path.exists(self.path("full", "dataset.json")))
        self.mmc4("full", "--inputs-per-shard", "3")
        self.assertEqual(tree(self.path("whole")), tree(self.path("full")))

    def test_parts_and_then_the_plain_command_give_the_same_bytes(self):
        options = ("--inputs-per-shard", "1")
        self.mmc4("whole", *options)
        for part in (2, 0, 1):
            self.mmc4("parts", *options, "--part", "%d/3" % part)
            self.assertFalse(os.path.exists(self.path("parts", "dataset.json")))
        sealed = tree(self.path("parts", "shards"))
        self.assertEqual(len(sealed), 6)
        self.mmc4("parts", *options)
        self.assertEqual(tree(self.path("whole")), tree(self.path("parts")))

    def test_a_finished_dataset_is_not_touched_and_other_commands_are_refused(self):
        self.mmc4()
        before = tree(self.path("out"))
        stat = os.stat(self.path("out")).st_mtime_ns
        self.mmc4()
        self.mmc4("out", "--jobs", "3", "--tolerance", "5", "--memory", "2G")
        self.assertEqual(os.stat(self.path("out")).st_mtime_ns, stat)
        self.assertIn("seed", self.mmc4("out", "--seed", "1", code=64).stderr)
        self.assertIn("jpeg", self.mmc4("out", "--jpeg", "keep", code=64).stderr)
        with open(self.path("docs", "extra.jsonl"), "w"):
            pass
        self.assertIn("extra.jsonl", self.mmc4(code=64).stderr)
        self.assertEqual(tree(self.path("out")), before)

    def test_an_unfinished_dataset_refuses_other_options(self):
        self.mmc4("out", "--part", "0/2", "--inputs-per-shard", "1")
        self.assertIn("min-similarity", self.mmc4("out", "--inputs-per-shard", "1",
                                                  "--min-similarity", "0.3", code=64).stderr)
        self.mmc4("out", "--inputs-per-shard", "1")

    def test_a_second_writer_is_shut_out(self):
        command = [DEEM, "ingest", "mmc4", "--out", self.path("out"), "--tokenizer", dump.TOKENIZER,
                   "--images", self.path("pictures"), "--quiet", self.path("docs")]
        first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while first.poll() is None and not os.path.exists(self.path("out", "work", "plan.json")):
                time.sleep(0.002)
            first.send_signal(signal.SIGSTOP)
            if first.poll() is None:
                self.mmc4(code=69)
        finally:
            first.send_signal(signal.SIGCONT)
            self.assertEqual(first.wait(60), 0)

    def test_a_dry_run_writes_nothing(self):
        r = self.mmc4("out", "--dry-run", "--inputs-per-shard", "4")
        self.assertFalse(os.path.exists(self.path("out")))
        self.assertEqual(sorted(os.listdir(self.dir)), ["docs", "pictures"])
        for word in ("units: 2", "inputs: 6", "found", "missing", "expected size"):
            self.assertIn(word, r.stdout)

    def test_a_file_of_many_records_is_cut_and_a_cut_does_not_show_in_its_records(self):
        small = dump.document("http://u/0", ["x"], [])
        lines = [dict(small, url="http://u/%d" % i) for i in range(65536 + 40)]
        picture = sorted(os.listdir(self.path("pictures")))[0]
        for i in (10, 65535, 65536, 65575):
            lines[i] = dump.document("http://v/%d" % i, ["Words at %d." % i, "More."],
                                     [dump.image(picture, 0)])
        lines[3] = "{"
        dump.write_lines(self.path("many", "big.jsonl.gz"), lines)
        dump.write_lines(self.path("many", "a.jsonl"), lines[:5])
        self.mmc4("out", "--keep-single", "1", docs="many")
        records, _ = self.counts()
        self.assertEqual(records["seen"], 65536 + 45)
        self.assertEqual(records["stored"], 4)
        self.assertEqual(len(os.listdir(self.path("out", "shards"))), 3)
        self.mmc4("one", "--keep-single", "1", "--jobs", "1", docs="many")
        self.assertEqual(tree(self.path("out")), tree(self.path("one")))


class Faults(Case):
    def setUp(self):
        super().setUp()
        self.pictures = dump.Pictures(self.path("pictures"))
        names = [self.pictures.add(g) for g in self.good[:2]]
        self.lines = [json.dumps(dump.document("http://u/%d" % i, ["Text %d." % i, "More."],
                                               [dump.image(n, 0) for n in names]))
                      for i in range(400)]

    def write(self, name, lines):
        dump.write_lines(self.path("docs", name), lines)

    def test_damage_beyond_tolerance_stops_with_65_and_a_higher_one_goes_on(self):
        self.write("a.jsonl", self.lines[:200])
        self.write("b.jsonl", self.lines[200:300] + ["{"] * 60 + self.lines[300:] + ["{"] * 41)
        options = ("--inputs-per-shard", "1")
        r = self.mmc4("out", *options, code=65)
        self.assertIn("tolerance", r.stderr)
        self.assertFalse(os.path.exists(self.path("out", "dataset.json")))
        self.mmc4("out", *options, "--tolerance", "101")
        self.assertEqual(sum(self.counts()[0]["quarantined"].values()), 101)

    def test_a_hundred_damaged_in_a_row_stop_and_ninety_nine_do_not(self):
        self.write("a.jsonl", self.lines[:10] + ["{"] * 99 + self.lines[10:20])
        self.mmc4()
        self.write("a.jsonl", self.lines[:10] + ["{"] * 100 + self.lines[10:20])
        self.mmc4("again", code=65)

    def test_strict_stops_at_the_first(self):
        self.write("a.jsonl", self.lines[:10] + ["{"])
        self.mmc4("out", "--strict", code=65)
        self.mmc4("out")

    def test_a_cut_container_is_stored_as_far_as_it_reads_and_exits_65(self):
        for ending in (".jsonl.gz", ".jsonl.zip"):
            whole = self.path("whole", "a" + ending)
            dump.write_lines(whole, self.lines)
            with open(whole, "rb") as f:
                data = f.read()
            os.makedirs(self.path("cut"), exist_ok=True)
            with open(self.path("cut", "a" + ending), "wb") as f:
                f.write(data[:len(data) // 2])
            self.mmc4("out" + ending, docs="cut", code=65)
            records, _ = self.counts("out" + ending)
            self.assertTrue(50 < records["stored"] < 400, records)
            self.assertEqual(sum(records["quarantined"].values()), 1)
            self.assertTrue(self.manifest("out" + ending)["inputs"][0]["incomplete"])
            self.mmc4("out" + ending, docs="cut", code=65)  # finished: as before
            shutil.rmtree(self.path("cut"))

    def test_two_inputs_of_one_name_end_in_65_with_advice(self):
        self.write("x/a.jsonl", self.lines[:2])
        self.write("y/a.jsonl.gz", self.lines[2:4])
        self.assertIn("two datasets", self.mmc4(code=65).stderr)

    def test_members_of_one_name_in_two_zips_end_in_65_with_advice(self):
        for zip_name in ("x.jsonl.zip", "y.jsonl.zip"):
            os.makedirs(self.path("docs"), exist_ok=True)
            with zipfile.ZipFile(self.path("docs", zip_name), "w") as z:
                z.writestr("a.jsonl", self.lines[0])
        self.assertIn("two datasets", self.mmc4(code=65).stderr)
        self.assertIn("two datasets", self.mmc4("dry", "--dry-run", code=65).stderr)

    def test_a_second_member_of_one_name_in_a_zip_is_quarantined(self):
        os.makedirs(self.path("docs"))
        with zipfile.ZipFile(self.path("docs", "x.jsonl.zip"), "w") as z:
            z.writestr("one/a.jsonl", self.lines[0])
            z.writestr("two/a.jsonl", self.lines[1])
        self.mmc4(code=65)
        self.assertEqual([r["code"] for r in self.quarantine()], ["member-twice"])
        self.assertEqual(self.counts()[0]["stored"], 1)

    def test_a_picture_that_changed_since_the_plan_ends_in_74(self):
        self.write("a.jsonl", self.lines[:20])
        self.write("b.jsonl", self.lines[20:40])
        self.mmc4("out", "--inputs-per-shard", "1", "--part", "0/2")
        for name in os.listdir(self.path("pictures")):
            with open(self.path("pictures", name), "ab") as f:
                f.write(b"more")
        self.mmc4("out", "--inputs-per-shard", "1", code=74)

    def test_usage_errors_are_64_and_missing_files_74(self):
        self.write("a.jsonl", self.lines[:2])
        self.mmc4("out", "--seq-len", "50", code=64)
        self.mmc4("out", "--memory", "1M", code=64)
        self.mmc4("out", "--no-such-option", code=64)
        self.mmc4("out", "--part", "3/3", code=64)
        self.mmc4("out", "--limit", "nothing=3", code=64)
        self.mmc4(docs="nowhere", code=74)
        self.assertEqual(run("ingest", "mmc4", self.path("docs")).returncode, 64)
        self.assertEqual(run("ingest", "nothing").returncode, 64)
        r = run("ingest", "mmc4", "--show-limits")
        self.assertEqual(r.returncode, 0)
        self.assertIn("picture-pixels", r.stdout)
        self.assertEqual(run("ingest", "mmc4", "--help").returncode, 0)

    def test_an_output_that_cannot_be_made_is_73(self):
        self.write("a.jsonl", self.lines[:2])
        with open(self.path("file"), "w"):
            pass
        self.mmc4(os.path.join("file", "out"), code=73)


class Bench(Case):
    def test_the_bench_of_ingest_measures_and_cleans_up(self):
        r = run("bench", "ingest", "--tokenizer", dump.TOKENIZER, "--folder", self.path("bench"),
                "--documents", "16", "--side", "64", "--rounds", "1", "--largest", "1000", "--json",
                "--quiet")
        self.assertEqual(r.returncode, 0, r.stderr)
        memory, speed = [json.loads(line) for line in r.stdout.splitlines()]
        self.assertEqual(memory["documents"], 1000)
        self.assertGreater(memory["peak_resident_bytes"], 1 << 20)
        self.assertEqual(speed["documents"], 16)
        for figure in ("share_of_processor_time", "share_of_wall_time", "efficiency"):
            self.assertGreater(speed[figure], 0)
        self.assertEqual(os.listdir(self.dir), [])
        os.makedirs(self.path("bench"))
        r = run("bench", "ingest", "--tokenizer", dump.TOKENIZER, "--folder", self.path("bench"))
        self.assertEqual(r.returncode, 73, r.stderr)
        self.assertEqual(os.listdir(self.dir), ["bench"])


if __name__ == "__main__":
    unittest.main()

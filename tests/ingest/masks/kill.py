"""`deem ingest instruct` and `deem export masks` killed at random instants and at each rename (strace): no file
under a final name is half written, and the same command then gives the bytes of an unbroken run.
usage: kill.py DEEM TOKENIZER [unittest arguments]"""
import json, os, random, shutil, subprocess, sys, time, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ingest_instruct
from export_masks import ann, coco_file, square

KILLS = 8


class Kill(ingest_instruct.Case):
    def content(self, out):
        return {name: data for name, data in super().content(out).items() if not os.path.basename(name).startswith(".")}

    def killed(self, args, delay=None, rename=None):
        """Starts the command and kills it after a delay, or at its n-th rename. True: it was alive then."""
        if rename:
            args = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2", "-e",
                    f"inject=rename,renameat,renameat2:signal=SIGKILL:when={rename}", *args]
        p = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            p.wait(delay)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        return p.returncode != 0

    def check(self, args, out, final, temporary=()):
        """args(out) is the command; final(name) tells names that only whole files may have."""
        begun = time.monotonic()
        subprocess.run(args("whole"), check=True, capture_output=True)
        seconds = time.monotonic() - begun
        whole = self.content("whole")
        draw = random.Random(4)
        ways = [{"delay": draw.uniform(0, seconds)} for _ in range(KILLS)]
        if shutil.which("strace"):
            ways += [{"rename": n} for n in range(1, 5)]
        alive = 0
        for way in ways:
            alive += self.killed(args(out), **way)
            for name, data in (self.content(out) if os.path.isdir(self.path(out)) else {}).items():
                if final(name):
                    self.assertEqual(data, whole.get(name), (way, name))
            if draw.random() < 0.5:  # go on from here, or add another kill on top
                subprocess.run(args(out), check=True, capture_output=True)
                self.assertEqual(self.content(out), whole)
                shutil.rmtree(self.path(out))
        subprocess.run(args(out), check=True, capture_output=True)
        self.assertEqual(self.content(out), whole)
        self.assertGreater(alive, KILLS // 4)

    def test_ingest_instruct(self):
        for i in range(30):
            self.picture(f"p{i}.jpg", 300 + i, 300)
        a = self.write("many.json", [{"id": f"r{i}", "image": f"p{i % 30}.jpg", "conversations": [
            {"from": "human", "value": f"<image>\nWhat is {i}?"}, {"from": "gpt", "value": f"It is {i}."}]} for i in range(300)])
        self.check(lambda out: [ingest_instruct.DEEM, "ingest", "instruct", "--set", "llava", "--annotations", a, "--images", self.images,
                                "--out", self.path(out), "--tokenizer", ingest_instruct.TOKENIZER, "--records-per-unit", "16", "--quiet"],
                   "killed", lambda name: name == "dataset.json" or (name.startswith("shards/") and name.endswith(".mdb")))

    def test_export_masks(self):
        images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 60, "height": 40} for i in range(1, 100)]
        for i in images:
            self.picture(i["file_name"], 60, 40)
        rows = [ann(100 * i["id"] + k, [square(k, k % 5, 8)], image_id=i["id"]) for i in images for k in range(1, 30)]
        rows[7]["segmentation"] = "broken"
        a = self.write("a.json", coco_file(rows, images))
        self.check(lambda out: [ingest_instruct.DEEM, "export", "masks", "--set", "coco", "--annotations", a, "--images", self.images,
                                "--out", self.path(out), "--quiet"], "killed", lambda name: name.endswith((".json", ".jsonl")))


if __name__ == "__main__":
    ingest_instruct.DEEM, ingest_instruct.TOKENIZER = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])

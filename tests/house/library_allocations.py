"""tests/house/library_allocations.py: `deem ingest` while an allocation inside a library fails. Each time it ends
with a clear error and the exit code for it, or gives the same bytes as without; no dataset under its final name is
part of one; and the same command afterwards finishes with the same bytes.
Two libraries end the process by themselves: libarchive by its own exit(1) with a message, and the protobuf inside
SentencePiece, which does not survive an exception half way. That is counted, and only the last promise is asked for.
usage: library_allocations.py DEEM SHIM mmc4|pairs [POINTS]"""
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import dump  # noqa: E402

PICTURES = ["jpeg-420.jpg", "jpeg-progressive-420.jpg", "png-size-50x1-interlaced.png", "png-grey16.png",
            "webp-size-17x31.webp", "gif-two-colours.gif", "bmp-4.bmp"]
NOMEM, IO, CREATE = 71, 74, 73


def ended_by_library(library, r):
    if library.startswith("libarchive"):
        return r.returncode == 1 and r.stderr.startswith("Fatal Internal Error in libarchive")
    return library.startswith("libstdc++") and r.returncode in (-signal.SIGABRT, -signal.SIGSEGV)


def make_dump(kind, folder):
    if kind == "mmc4":
        pictures = dump.Pictures(os.path.join(folder, "pictures"))
        names = [pictures.add(p) for p in PICTURES]
        for shard, ending in enumerate((".jsonl", ".jsonl.gz", ".jsonl.zip")):
            lines = [dump.document("http://d.example/%s/%d" % (ending, i), ["One sentence.", "And another one."],
                                   [dump.image(n, i % 2) for n in names]) for i in range(3)]
            dump.write_lines(os.path.join(folder, "docs", "docs_no_face_shard_%d_v3%s" % (shard, ending)),
                             lines)
        return ["--images", os.path.join(folder, "pictures"), "--keep-single", "1", os.path.join(folder, "docs")]
    members = [m for i, p in enumerate(PICTURES * 2) for m in dump.pair("%09d" % i, p, "A caption of some words %d" % i)]
    os.makedirs(os.path.join(folder, "tars"))
    with open(os.path.join(folder, "tars", "00000.tar"), "wb") as f:
        f.write(dump.tar_bytes(members))
    return [os.path.join(folder, "tars")]


def tree(folder):
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(base, name), "rb") as f:
                found[os.path.relpath(os.path.join(base, name), folder)] = hashlib.sha256(f.read()).hexdigest()
    return found


class Sweep:
    def __init__(self, deem, shim, kind, folder):
        self.command = [deem, "ingest", kind, "--tokenizer", dump.TOKENIZER, "--jobs", "1", "--quiet",
                        *make_dump(kind, folder)]
        self.shim, self.folder, self.faults, self.runs = shim, folder, [], 0
        self.tolerated = self.ended = 0

    def run(self, out, **environment):
        return subprocess.run([*self.command, "--out", os.path.join(self.folder, out)], capture_output=True, text=True,
                              timeout=120, env=dict(os.environ, OMP_WAIT_POLICY="passive", **environment))

    @staticmethod
    def final(files):
        return {name: digest for name, digest in files.items() if not name.startswith("work/")}

    def allocations(self):
        report = os.path.join(self.folder, "report")
        r = self.run("whole", LD_PRELOAD=self.shim, FAIL_REPORT=report)
        assert r.returncode == 0, r.stderr
        self.whole = tree(os.path.join(self.folder, "whole"))
        with open(report) as f:
            return {name: int(calls) for name, calls in (line.split() for line in f)}

    def point(self, library, at):
        self.runs += 1
        out = "%s-%d" % (library, at)
        r = self.run(out, LD_PRELOAD=self.shim, FAIL_LIBRARY=library, FAIL_AT=str(at))
        found = tree(os.path.join(self.folder, out))
        where = "allocation %d of %s: exit %d: %s" % (at, library, r.returncode, r.stderr.strip())
        if r.returncode == 0:
            self.tolerated += 1
            if found != self.whole:
                self.faults.append(where + ": other bytes than without")
        elif ended_by_library(library, r):
            self.ended += 1
        elif r.returncode not in (NOMEM, IO, CREATE) or "error: " not in r.stderr:
            self.faults.append(where)
        elif "dataset.json" in found and self.final(found) != self.whole:
            self.faults.append(where + ": dataset.json is there, but the dataset is not whole")
        again = self.run(out)
        after = tree(os.path.join(self.folder, out))
        if again.returncode != 0 or after != self.whole:
            other = [name for name in {**after, **self.whole} if after.get(name) != self.whole.get(name)]
            self.faults.append(where + ": and the same command afterwards: exit %d: %s: other files: %s"
                               % (again.returncode, again.stderr.strip(), ", ".join(sorted(other))))


def points(calls, most, seed):
    """The first ones, the last one, and some between."""
    first = range(1, min(calls, most // 2) + 1)
    rng = random.Random(seed)
    return sorted({*first, calls, *(rng.randint(1, calls) for _ in range(most // 2))})


def main():
    deem, shim, kind = sys.argv[1:4]
    most = int(sys.argv[4]) if len(sys.argv) > 4 else 8
    with tempfile.TemporaryDirectory(prefix="deem-alloc-") as folder:
        sweep = Sweep(deem, shim, kind, folder)
        allocations = sweep.allocations()
        for library, calls in sorted(allocations.items()):
            for at in points(calls, most, library):
                sweep.point(library, at)
        print("%s: %s" % (kind, ", ".join("%s %d" % a for a in sorted(allocations.items()))))
        print("%d points: %d without effect, %d ended by the library itself, %d faults"
              % (sweep.runs, sweep.tolerated, sweep.ended, len(sweep.faults)))
        print("\n".join(sweep.faults))
    return 1 if sweep.faults or sweep.runs < 30 or sweep.tolerated + sweep.ended == sweep.runs else 0


sys.exit(main())

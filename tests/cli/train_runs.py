"""tests/cli/train_runs.py: training runs from outside: cut at any instant, told to stop, spread over ranks,
refused. DEEM names the program; CUTS, SIGNALS and CALLS set how often (design: 500 of each)."""
import os
import random
import shutil
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bed  # noqa: E402

CUTS = int(os.environ.get("CUTS", "6"))
SIGNALS = int(os.environ.get("SIGNALS", "6"))
SEED = int(os.environ.get("SEED", "19"))
STEPS = 12


def setUpModule():
    global b, whole
    b = bed.Bed(STEPS)
    begin = time.monotonic()
    b.train("whole")
    b.seconds = time.monotonic() - begin
    whole = b.states("whole")
    assert len(whole) == STEPS


def tearDownModule():
    b.close()


def fresh(out):
    shutil.rmtree(b.path(out), True)


class Cuts(unittest.TestCase):
    """robustness.md T2, T19: every step after a cut is the unbroken run's, bit for bit."""

    def test_killed_at_random_instants_it_ends_with_the_same_steps(self):
        rng = random.Random(SEED)
        cuts = 0
        while cuts < CUTS:
            fresh("cut")
            while True:
                threads = "loader.threads=%d" % rng.randint(1, 4)
                p = b.start("cut", "--resume", "--set", threads, "--set", "run.checkpoint_every=1")
                try:
                    _, text = p.communicate(timeout=rng.uniform(0.02, 0.7 * b.seconds))
                    self.assertEqual(p.returncode, 0, text)
                    break
                except bed.subprocess.TimeoutExpired:
                    bed.stop(p)
                    cuts += 1
                for name in b.checkpoints("cut"):
                    bed.deem("verify", b.path("cut", "checkpoints", name), "--quiet")
            self.assertEqual(b.states("cut"), whole)
        print("%d cuts" % cuts, file=sys.stderr)

    def test_unfinished_checkpoints_are_passed_over_and_removed(self):
        fresh("torn")
        b.train("torn", "--steps", 6)
        newest = b.path("torn", "checkpoints", "step-000006")
        os.remove(os.path.join(newest, "manifest.json"))
        os.makedirs(b.path("torn", "checkpoints", "step-000009.tmp"))
        b.train("torn", "--resume")
        self.assertEqual(b.states("torn"), whole)
        self.assertNotIn("step-000009.tmp", os.listdir(b.path("torn", "checkpoints")))


class Signals(unittest.TestCase):
    """T23: stop requests leave a checkpoint and exit 75, SIGUSR1 leaves one and goes on."""

    def test_a_stop_at_any_instant_is_resumable(self):
        rng = random.Random(SEED)
        stops = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
        sent = 0
        while sent < SIGNALS:
            fresh("told")
            done = False
            while not done:
                p = b.start("told", "--resume")
                time.sleep(rng.uniform(0.05, 0.8 * b.seconds))
                for _ in range(rng.choice((1, 1, 2))):
                    p.send_signal(rng.choice(stops))
                begin = time.monotonic()
                _, text = p.communicate(timeout=60)
                self.assertLess(time.monotonic() - begin, 5.0)
                done = p.returncode == 0
                sent += 1
                if not done:
                    self.assertEqual(p.returncode, 75, text)
            self.assertEqual(b.states("told"), whole)
        print("%d signals" % sent, file=sys.stderr)

    def test_the_checkpoint_of_a_stop_is_that_of_the_last_step(self):
        fresh("term")
        p = b.start("term", "--set", "run.checkpoint_every=1000", "--set", "steps=100000")
        bed.until(lambda: len(b.rows("term")) >= 2)
        code, text = bed.stop(p, signal.SIGTERM)
        self.assertEqual(code, 75)
        self.assertIn("--resume", text)
        steps = len(b.rows("term"))
        self.assertEqual(b.checkpoints("term"), ["step-%06d" % steps])

    def test_usr1_leaves_a_checkpoint_and_the_run_goes_on(self):
        fresh("usr1")
        p = b.start("usr1", "--set", "run.checkpoint_every=1000", "--set", "steps=100000")
        bed.until(lambda: len(b.rows("usr1")) >= 2)
        p.send_signal(signal.SIGUSR1)
        bed.until(lambda: len(b.checkpoints("usr1")) == 1)
        step = int(b.checkpoints("usr1")[0][5:])
        bed.until(lambda: len(b.rows("usr1")) > step)
        self.assertIsNone(p.poll())
        bed.stop(p)
        bed.deem("verify", b.path("usr1", "checkpoints", "step-%06d" % step), "--quiet")

    def test_a_third_signal_ends_at_once(self):
        fresh("three")
        p = b.start("three", "--set", "steps=100000", "--set", "batch.global=4000")
        time.sleep(0.5)
        begin = time.monotonic()
        for _ in range(3):
            p.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        p.communicate(timeout=60)
        self.assertEqual(p.returncode, 75)
        self.assertLess(time.monotonic() - begin, 2.0)


class Ranks(unittest.TestCase):
    """Any number of ranks trains the same model."""

    def losses(self, out):
        return [r["loss"] for r in b.rows(out)]

    def assert_close(self, got, want, bound):
        self.assertEqual(len(got), len(want))
        for step, (x, y) in enumerate(zip(got, want)):
            self.assertLess(abs(x - y), bound * abs(y), "step %d: %r, %r" % (step, x, y))

    def test_losses_agree_and_a_number_of_ranks_repeats_bitwise(self):
        for ranks in (1, 2, 4):
            outs = ["ranks-%d-%s" % (ranks, x) for x in "ab"]
            for out in outs:
                b.mpi(ranks, out, "--set", "steps=20")
            self.assertEqual(b.states(outs[0]), b.states(outs[1]))
            self.assertEqual(len(b.rows(outs[0])), 20)
            self.assert_close(self.losses(outs[0]), self.losses("ranks-1-a"), 1e-5)

    def test_the_gradient_of_a_step_agrees(self):
        """After the first step m is (1 - beta1) times the clipped gradient."""
        moments = {}
        for ranks in (1, 2, 4):
            out = "gradient-%d" % ranks
            b.mpi(ranks, out, "--steps", 1)
            path = b.path(out, "checkpoints", "step-000001", "optimizer.safetensors")
            moments[ranks] = {n: t for n, t in bed.tensors(path).items() if n.startswith("m.")}
        norm = sum(x * x for t in moments[1].values() for x in t)
        self.assertGreater(norm, 0.0)
        for ranks in (2, 4):
            error = sum((x - y) ** 2 for n in moments[1] for x, y in zip(moments[ranks][n], moments[1][n]))
            self.assertLess((error / norm) ** 0.5, 1e-6)

    def test_another_number_of_ranks_resumes(self):
        for before, after in ((1, 4), (4, 2)):
            out = "from-%d-to-%d" % (before, after)
            b.mpi(before, out, "--steps", 6)
            b.mpi(after, out, "--resume")
            self.assertEqual([r["step"] for r in b.rows(out)], list(range(STEPS)))
            self.assert_close(self.losses(out), self.losses("whole"), 1e-5)

    def test_a_number_that_does_not_divide_is_refused(self):
        r = b.mpi(3, "three-ranks", code=64)
        self.assertIn("3 ranks do not divide the 4 micro-batches", r.stderr)

    def test_a_stop_told_to_one_rank_stops_all(self):
        fresh("one-told")
        p = b.start_mpi(2, "one-told", "--set", "steps=100000", "--set", "run.checkpoint_every=1000")
        bed.until(lambda: len(b.rows("one-told")) >= 2)
        os.kill(bed.children(p.pid)[-1], signal.SIGTERM)
        _, text = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 75, text)
        self.assertEqual(b.checkpoints("one-told"), ["step-%06d" % len(b.rows("one-told"))])

    def test_usr2_to_mpirun_stops_the_job(self):
        fresh("usr2")
        p = b.start_mpi(2, "usr2", "--set", "steps=100000", "--set", "run.checkpoint_every=1000")
        bed.until(lambda: len(b.rows("usr2")) >= 2)
        code, text = bed.stop(p, signal.SIGUSR2)
        self.assertEqual(code, 75, text)
        self.assertEqual(b.checkpoints("usr2"), ["step-%06d" % len(b.rows("usr2"))])

    def test_a_dead_rank_ends_the_job_and_a_requeue_goes_on(self):
        for victim in (0, 1):
            out = "dead-%d" % victim
            p = b.start_mpi(2, out, "--set", "steps=100000")
            bed.until(lambda: len(b.rows(out)) >= 4)
            begin = time.monotonic()
            os.kill(bed.children(p.pid)[-2 + victim], signal.SIGKILL)
            _, text = p.communicate(timeout=60)
            self.assertLess(time.monotonic() - begin, 10.0)
            self.assertEqual(p.returncode, 76, text)
            shutil.copytree(b.path(out), b.path(out + "-on"))
            b.mpi(2, out + "-on", "--resume", "--override", "steps")
            self.assert_close(self.losses(out + "-on")[:4], self.losses("whole")[:4], 0.2)

    def test_a_rank_that_hangs_ends_the_job_within_the_deadline(self):
        p = b.start_mpi(2, "hung", "--set", "steps=100000", "--set", "run.collective_seconds=2")
        bed.until(lambda: len(b.rows("hung")) >= 2)
        begin = time.monotonic()
        os.kill(bed.children(p.pid)[-1], signal.SIGSTOP)
        _, text = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 76, text)
        self.assertIn("not all ranks came in 2 s", text)
        self.assertLess(time.monotonic() - begin, 12.0)


class Refusals(unittest.TestCase):
    def test_checkpoints_are_not_trained_over(self):
        r = b.train("whole", code=64)
        self.assertIn("--resume", r.stderr)
        self.assertEqual(b.states("whole"), whole)

    def test_resume_where_nothing_is_starts_at_step_0(self):
        b.train("nothing", "--resume", "--steps", 2)
        self.assertEqual(b.states("nothing"), whole[:2])

    def test_a_changed_recipe_is_shown_and_refused_unless_named(self):
        fresh("changed")
        b.train("changed", "--steps", 3)
        change = ["--set", "optimizer.lr=1e-3", "--set", "loss.img=4"]
        r = b.train("changed", "--resume", "--steps", 4, *change, code=64)
        self.assertIn("; loss.img: 5, here 4; optimizer.lr: 3e-3, here 1e-3\n", r.stderr)
        r = b.train("changed", "--resume", "--steps", 4, *change, "--override", "optimizer.lr", code=64)
        self.assertNotIn("optimizer.lr:", r.stderr)
        b.train("changed", "--resume", "--steps", 4, *change, "--override", "optimizer.lr", "--override", "loss.img")
        with open(b.path("changed", "recipe.yaml")) as f:
            self.assertIn("lr: 1e-3", f.read())
        r = b.train("changed", "--resume", "--override", "optimizer.no_such", code=64)
        self.assertIn("optimizer.no_such", r.stderr)

    def test_another_dataset_is_refused_by_name(self):
        fresh("data")
        other = b.path("other-web")
        bed.deem("ingest", "mmc4", "--out", other, "--tokenizer", bed.dump.TOKENIZER, "--quiet", *bed.SIZES,
                 "--seed", "1", "--images", b.path("raw", "pictures"), b.path("raw", "docs"))
        b.train("data", "--steps", 3)
        moved = b.path("moved-web")
        shutil.copytree(b.path("web"), moved)
        r = b.train("data", "--resume", "--set", "data.web.datasets=" + other, code=65)
        self.assertIn("other-web", r.stderr)
        b.train("data", "--resume", "--set", "data.web.datasets=" + moved)
        self.assertEqual(b.states("data"), whole)

    def test_a_second_run_in_the_same_folder_is_refused(self):
        fresh("locked")
        p = b.start("locked", "--set", "steps=100000")
        bed.until(lambda: len(b.rows("locked")) >= 1)
        r = b.train("locked", "--resume", code=69)
        self.assertIn(str(p.pid), r.stderr)
        bed.stop(p)


if __name__ == "__main__":
    unittest.main()

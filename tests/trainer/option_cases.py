#!/usr/bin/env python3
"""option_cases.py DEEM STAGE1_CASE: options that no reference case sets, judged by cases that do not set
them: inputs or expected losses are changed so that an option must give the numbers we have. Standard
library only."""
import json
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from damage_cases import FILES, read_tensors, write_tensors  # noqa: E402


def floats(tensor):
    return list(struct.unpack("<%df" % (len(tensor[2]) // 4), tensor[2]))


def changed(tensor, values, code="f"):
    return tensor[0], tensor[1], struct.pack("<%d%s" % (len(values), code), *values)


def failures(deem, folder, config, tensors):
    """Names that fail once the case's configuration and tensors are replaced."""
    with tempfile.TemporaryDirectory() as at:
        with open(os.path.join(folder, "case.json")) as f:
            case = json.load(f)
        case["config"].update(config)
        with open(os.path.join(at, "case.json"), "w") as f:
            json.dump(case, f)
        for name in FILES:
            write_tensors(os.path.join(at, name), tensors[name])
        done = subprocess.run([deem, "golden", at], capture_output=True, text=True)
        rows = [line.split() for line in done.stdout.splitlines()[1:-1]]
        if not rows:
            raise SystemExit(done.stderr)
        return {row[0] for row in rows if row[-1] != "pass"}


def main():
    deem, folder = sys.argv[1], sys.argv[2]
    whole = {n: read_tensors(os.path.join(folder, n)) for n in FILES}
    weights, inputs, expected = (whole[n] for n in FILES)
    faults = []

    def expect(what, holds):
        if not holds:
            faults.append(what)

    # 4x - 3 of a picture (x + 1) / 2 is 2x - 1: NIP's latents are those we have, CSR's are not.
    picture = changed(inputs["image_dec"], [(x + 1) / 2 for x in floats(inputs["image_dec"])])
    bad = failures(deem, folder, {"nip_double_normalise": True},
                   {FILES[0]: weights, FILES[1]: {**inputs, "image_dec": picture}, FILES[2]: expected})
    expect("nip_double_normalise: NIP sees 4x - 3", not [n for n in bad if n.startswith(("nip.", "loss.nip"))])
    expect("nip_double_normalise: CSR sees 2x - 1", "csr.z0" in bad)

    # Without the remap, timesteps that were remapped already give the same everywhere.
    used = expected["csr.t_used"]
    timesteps = {**inputs, "csr.t": used}
    tensors = {FILES[0]: weights, FILES[1]: timesteps, FILES[2]: expected}
    expect("csr_t_remap: uniform", not failures(deem, folder, {"csr_t_remap": False}, tensors))

    # The mean over pictures that count is larger by their share, and so is its gradient.
    lengths = struct.unpack("<%di" % (len(expected["nip.context_len"][2]) // 4), expected["nip.context_len"][2])
    share = len(lengths) / sum(n > 2 for n in lengths)
    assert share > 1
    loss = changed(expected["loss.nip"], [floats(expected["loss.nip"])[0] * share])
    bad = failures(deem, folder, {"nip_norm": "valid"},
                   {FILES[0]: weights, FILES[1]: inputs, FILES[2]: {**expected, "loss.nip": loss}})
    expect("nip_norm: the mean over pictures that count", "loss.nip" not in bad and "loss.total" in bad)
    expect("nip_norm: gradients follow", "grad.image_decoder.perceiver_resampler.queries" in bad)
    for fault in faults:
        print("FAIL", fault)
    print("%d passed, %d failed" % (5 - len(faults), len(faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

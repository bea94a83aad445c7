"""``python -m benchmarks``: CPU time of each variant against the bare one, in the same rounds of one run.

All variants live at once, each in a process of its own, and take their turns in random order; the 10th percentile of CPU
time over the rounds is the steadiest figure on a shared machine. "bare again" is the control: how far it is from 1.00 is
the noise, and smaller differences mean nothing. At the end :mod:`benchmarks.contention`, in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from benchmarks.canned import canned_server
from benchmarks.rounds import measure
from benchmarks.variants import GROUPS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each comparison (default 20)")
    parser.add_argument("--times", type=int, default=200, help="pieces of work in a round (default 200)")
    options = parser.parse_args()
    if options.rounds < 2 or options.times < 1:
        parser.error("--rounds must be at least 2 and --times at least 1")
    with canned_server() as uri:
        for group in GROUPS:
            taken = measure(group, uri, options.rounds, options.times)
            least = {variant: statistics.quantiles(values, n=10)[0] for variant, values in taken.items()}
            print(f"{group}: CPU, p10 of {options.rounds} rounds of {options.times}")
            for variant, value in least.items():
                print(f"  {variant:<18} {value:8.1f} us   x {value / least['bare']:.2f}")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "benchmarks.contention"], check=True)


if __name__ == "__main__":
    main()

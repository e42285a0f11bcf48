"""Runs openSMILE in a process of its own: it crashes in one that has loaded TensorFlow.

Usage: opensmile_worker.py CONFIG. Each line of standard input, a rate in Hz and the path of an .npy waveform, is
answered by the path of an .npy with the features.
"""

import sys

import numpy as np
import opensmile


def main() -> None:
    smile = opensmile.Smile(feature_set=sys.argv[1], feature_level="log")
    for line in sys.stdin:
        rate, path = line.rstrip("\n").split(" ", maxsplit=1)
        # openSMILE reads int16 / 32767 and multiplies by 32767 again
        features = smile.process_signal(np.load(path) / np.float32(32768), int(rate))
        np.save(path + ".features.npy", features.to_numpy())
        print(path + ".features.npy", flush=True)


if __name__ == "__main__":
    main()

"""What runs in openSMILE's process; see opensmile_process.py.

Usage: opensmile_worker.py CONFIG LEVEL. Each line of standard input, a rate in Hz, a number of calls and the path of an
.npy waveform, is answered by the seconds that each call took and the path of an .npy with the features.
"""

import sys
import time

import numpy as np
import opensmile


def main() -> None:
    smile = opensmile.Smile(feature_set=sys.argv[1], feature_level=sys.argv[2])
    for line in sys.stdin:
        rate, calls, path = line.rstrip("\n").split(" ", maxsplit=2)
        # openSMILE reads int16 / 32767 and multiplies by 32767 again
        audio = np.load(path) / np.float32(32768)
        start = time.perf_counter()
        for _ in range(int(calls)):
            features = smile.process_signal(audio, int(rate))
        seconds = (time.perf_counter() - start) / int(calls)
        np.save(path + ".features.npy", features.to_numpy())
        print(seconds, path + ".features.npy", flush=True)


if __name__ == "__main__":
    main()

"""relin's random numbers: Philox-4x32-10, where each draw is a pure function of (seed, stream, counter).

Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFF_FFFF)
HALF = np.uint64(32)
# Streams that relin keeps for the vectors of a basis and for the starts of training windows.
BASIS_STREAM = 1
WINDOW_STREAM = int.from_bytes(b"windows\0", "little")


def blocks(seed, stream, counters):
    """Four 32-bit words a counter, as uint64 `[n, 4]`."""
    counters = np.asarray(counters, dtype=np.uint64)
    fill = lambda word: np.full_like(counters, word & 0xFFFF_FFFF)
    x = [counters & LOW, counters >> HALF, fill(stream), fill(stream >> 32)]
    key = [seed & 0xFFFF_FFFF, seed >> 32 & 0xFFFF_FFFF]
    for _ in range(10):
        a, b = (np.uint64(m) * word for m, word in zip(MULTIPLIERS, (x[0], x[2])))
        x = [b >> HALF ^ x[1] ^ np.uint64(key[0]), b & LOW, a >> HALF ^ x[3] ^ np.uint64(key[1]), a & LOW]
        key = [(k + w) & 0xFFFF_FFFF for k, w in zip(key, WEYL)]
    return np.stack(x, axis=-1)


def words(seed, stream, counters):
    """Uniform 64-bit words."""
    block = blocks(seed, stream, counters)
    return block[:, 0] | block[:, 1] << HALF


def normals(seed, stream, count):
    """Standard normals of the counters `0..count` (Box-Muller)."""
    block = blocks(seed, stream, np.arange(count))
    unit = lambda low, high: ((low | high << HALF) >> np.uint64(11)).astype(np.float64) / 2.0**53
    radius = np.sqrt(-2.0 * np.log(1.0 - unit(block[:, 0], block[:, 1])))
    return radius * np.cos(2.0 * np.pi * unit(block[:, 2], block[:, 3]))


def below(seed, stream, counters, n):
    """Uniform integers in `0..n`; Python's integers, because the product has 128 bits."""
    return [int(word) * n >> 64 for word in words(seed, stream, counters)]


def permutation(seed, stream, n):
    """A random permutation of `0..n` (Fisher-Yates, from the end)."""
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        (j,) = below(seed, stream, [i], i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def hash_name(name):
    """FNV-1a: the stream of a weight's initial values."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value

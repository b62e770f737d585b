"""MurmurHash3, of 32 bits, by Austin Appleby."""

from __future__ import annotations

__all__ = ("murmur3_32",)

_MASK = 0xFFFFFFFF
_SIGN = 0x80000000


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """Return the hash of bytes as a signed integer of 32 bits."""
    state = seed
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        state ^= _scrambled(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _MASK
    if whole < len(data):
        state ^= _scrambled(int.from_bytes(data[whole:], "little"))
    return _finished(state ^ len(data))


def _scrambled(block: int) -> int:
    return _rotated(block * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def _finished(state: int) -> int:
    state = (state ^ state >> 16) * 0x85EBCA6B & _MASK
    state = (state ^ state >> 13) * 0xC2B2AE35 & _MASK
    state ^= state >> 16
    return state - 2 * (state & _SIGN)

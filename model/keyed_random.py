"""Random numbers that are a function of what they are for, so that all workers draw the same."""

from __future__ import annotations

import tensorflow as tf


def mix(number: tf.Tensor) -> tf.Tensor:
    """A hash of 32 bits, of which each bit changes half of the result's (lowbias32, C. Wellons)."""
    shift, xor = tf.bitwise.right_shift, tf.bitwise.bitwise_xor
    number = xor(number, shift(number, word(16))) * word(0x7FEB352D)
    number = xor(number, shift(number, word(15))) * word(0x846CA68B)
    return xor(number, shift(number, word(16)))


def word(number: int) -> tf.Tensor:
    """A uint32 constant."""
    return tf.constant(number, tf.uint32)


def draw(key: tf.Tensor, *numbers: tf.Tensor) -> tf.Tensor:
    """A key, uint32 [], and integers of shapes that fit → a random uint32 for each place."""
    drawn = key
    for number in numbers:
        drawn = mix(drawn + tf.cast(number, tf.uint32))
    return drawn

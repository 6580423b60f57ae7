"""The ids that a learned vocabulary leaves free: what every reader of ids has to agree on."""

PADDING_ID = 0  # fills sentences up to the length of their batch
UNKNOWN_ID = 1  # a token that the vocabulary does not hold
FIRST_ID = 2  # the vocabulary's most frequent token

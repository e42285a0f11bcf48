"""The TFLite Micro file: a step of a stream in integers throughout, what its host does, and the C header."""

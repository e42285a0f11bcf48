"""The suite for a GPU: operations and whole model against their peers, parity first, shares of the roofline."""

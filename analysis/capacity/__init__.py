"""How much load a target carries: found by a search, fitted to a curve, turned into a number of instances."""

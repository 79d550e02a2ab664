"""Files that `fdbench submission new` copies; fdbench itself imports none of them."""

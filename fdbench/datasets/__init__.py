"""The data sets behind fdbench.data: one file for each way that images are kept."""
